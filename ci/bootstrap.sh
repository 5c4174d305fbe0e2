# What is needed before the first line of Rust runs: cargo, and a C compiler
# and linker for it. Everything else `ci` installs itself.
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if ! command -v cargo >/dev/null; then
    echo "error: cargo is not there; install a Rust toolchain (1.91 or newer) with rustup first" >&2
    exit 1
fi
if ! command -v cc >/dev/null; then
    if [ "$(id -u)" -ne 0 ]; then
        echo "error: cc is not there; as root: apt-get install --yes gcc libc6-dev" >&2
        exit 1
    fi
    for try in 1 2 3; do
        apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && break
        [ "$try" -lt 3 ]
    done
fi

# Everything that runs on this machine is always built in one selection, so that
# cargo builds each dependency once.
cargo build --release --quiet --workspace --features slipway-formats/bundle
ci="${CARGO_TARGET_DIR:-target}/release/ci"
