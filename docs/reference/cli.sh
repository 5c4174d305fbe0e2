#!/bin/sh
# Writes cli.md anew from what the programs say of themselves. Takes the
# programs from out/bin, where ci/demo and ci/test put them, or from the folder
# that is named.
set -eu
bin=$(realpath "${1:-$(dirname "$0")/../../out/bin}")
cd "$(dirname "$0")/../.."

help() {
    echo
    echo "## $*"
    echo
    echo '```text'
    # with no terminal in sight, lines are broken at 100 characters
    PATH="$bin:$PATH" "$@" --help </dev/null 2>/dev/null | sed 's/ *$//'
    echo '```'
}

{
    cat <<'EOF'
# The commands

Generated; do not edit. `docs/reference/cli.sh` writes this file anew.

Both programs also print shell completions (`completions`) and write manual
pages (`man`).

| exit code | `slipway` | `slipway-installer` |
|---|---|---|
| 0 | done; `compare` and `rebuild --verify`: identical; `lock --check`: no change | done |
| 1 | failed: the network, a signature, a package, the disk, …; `store verify`: something is damaged; `store path`: there is no such blob | refused or failed; the slot in use is untouched |
| 2 | mistaken: the command line or the recipe says something impossible | wrong arguments, or no `--root` where one is needed |
| 3 | different: `lock --check` would change the lock, `compare` has found differences, `rebuild --verify` has not come to the same | |
| 130 | interrupted by Ctrl-C; nothing half-written is left | ended by Ctrl-C; run it again |

With `--json`, standard output is one JSON object and nothing else. Of `slipway`,
errors and progress are JSON lines on standard error, each with an `event`:
`begin`, `progress`, `end`, `note` or `error`. Of `slipway-installer`, an error is
an object with `error` and `causes` on standard output, and there is no progress.
With `-q`, nothing but errors comes on standard error.

On a terminal, long work shows a bar; elsewhere, a line when a step ends, and
every 20 seconds while one goes on. Results go to standard output, everything
else to standard error.

`slipway-agent`, which is inside an image, has three commands: `watch` (the
service), `healthy` (opens the health gate) and `status` (prints the state
record). See [boot](boot.md).
EOF
    help slipway
    for command in lock build keys "keys new" store "store path" "store gc" "store verify" \
        vendor rebuild compare schema completions man; do
        help slipway $command
    done
    help slipway-installer
    for command in verify plan install status rollback completions man; do
        help slipway-installer $command
    done
} >docs/reference/cli.md.new
mv docs/reference/cli.md.new docs/reference/cli.md
