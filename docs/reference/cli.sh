#!/bin/sh
# Writes cli.md anew from what the programs say of themselves. Takes the
# programs from out/bin, where ci/demo and ci/test put them.
set -eu
cd "$(dirname "$0")/../.."

help() {
    echo
    echo "## $*"
    echo
    echo '```text'
    # with no terminal in sight, lines are broken at 100 characters
    PATH="out/bin:$PATH" "$@" --help </dev/null 2>/dev/null | sed 's/ *$//'
    echo '```'
}

{
    cat <<'EOF'
# The commands

Generated; do not edit. `docs/reference/cli.sh` writes this file anew.

Both programs also print shell completions (`completions`) and manual pages
(`man`). With `--json`, results are one JSON object on standard output.

`slipway-agent`, which is inside an image, has three commands: `watch` (the
service), `healthy` (opens the health gate) and `status` (prints the state
record). See [boot](boot.md).
EOF
    help slipway
    for command in lock build "keys new" store "store path" "store gc" "store verify" vendor rebuild compare completions man; do
        help slipway $command
    done
    help slipway-installer
    for command in verify plan install status rollback completions man; do
        help slipway-installer $command
    done
} >docs/reference/cli.md.new
mv docs/reference/cli.md.new docs/reference/cli.md
