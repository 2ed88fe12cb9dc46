#!/usr/bin/env bash
# The user's verbs against the running stack, on a machine without Rust: by `make`, as people call them. The drills, the walk through
# the dashboards and the fault suite of the tests run in the same image.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# A cargo that fails, in front of any other.
mkdir "$scratch/bin"
printf '#!/bin/sh\necho "cargo was called: $*" >&2\nexit 99\n' >"$scratch/bin/cargo"
chmod +x "$scratch/bin/cargo"
export PATH="$scratch/bin:$PATH"
unset KIT_NATIVE CARGO_TARGET_DIR "${!MAKE@}"
# shellcheck source=expect.sh
. "$here/expect.sh"

# said VERB…: what make says of it, and how it ends. make itself has one exit code for all that fails, and prints the recipe's.
said() { make "$@" 2>&1 </dev/null && echo "ends with 0"; }

expect "what can be drilled" "$(said drill)" "*HighAPICost*ends with 0"
expect "a drill that there is not" "$(said drill SCENARIO=nonsense)" '*no scenario "nonsense"*Error 64*'
expect "what can be broken" "$(said chaos LIST=1)" "*chaos::kill::example-agent*ends with 0"
expect "a fault that there is not" "$(said chaos FAULT=flood)" "*invalid value 'flood'*Error 64*"

out="$scratch/a folder, of mine/alerts"
expect "an export into a folder with a space" "$(said export PART=alertmanager "OUT=$out" LABELS=tenant_id=customer)" \
  "*amtool*Next: *a folder, of mine/alerts/README.md*ends with 0"
expect "what was exported" "$(cat "$out/alertmanager.yml")" "*customer*"
expect "whose it is" "$(find "$scratch" ! -user "$(id -u)" | head -n 1)" ""
expect "an export over another" "$(said export PART=alertmanager "OUT=$out")" "*is there and not empty*Error 64*"
expect "an export of what there is not" "$(said export PART=nonsense "OUT=$scratch/b/c")" "*invalid value 'nonsense'*Error 64*"
expect "what that leaves behind" "$([ -e "$scratch/b" ] && echo "a folder")" ""
# Without OUT nothing is kept; the address is this machine's.
expect "what an export needs of the stack's own Prometheus" \
  "$(setup/export.sh --part grafana --against "http://localhost:${PROMETHEUS_PORT:-9090}" 2>&1 || :)" \
  "*http://prometheus:9090/ has * series that are asked for*"

rm -rf target/load
expect "a load test" "$(said load RATE=20 DURATION=3s ERRORS=100%)" "*ends with 0"
expect "its page" "$(cat target/load/load.html)" "*<html*"
expect "whose that is" "$(find target/load ! -user "$(id -u)" | head -n 1)" ""
expect "a load test whose limit is broken" "$(said load RATE=20 DURATION=3s P95=1us)" "*Error 2*"
expect "a load test that makes no sense" "$(said load RATE=many)" "*'many'*Error 64*"

echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" = 0 ]
