#!/usr/bin/env bash
# chaos.sh [run | list] [--fault KIND] [--service NAME] [--quick]: breaks the parts of the stack that `make up` started, under load,
# makes each whole again, and prints what was seen and lost: docs/faults.md.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"
# shellcheck source=kit.sh
. "$here/kit.sh"

report=${CARGO_TARGET_DIR:-$KIT_ROOT/target}/chaos
if is_native; then
  # shellcheck source=stack.sh
  . "$here/stack.sh"
  exec cargo run --quiet --locked -p kit -- chaos --report "$report" "$@"
fi
have_kit
in_stack
with_engine
written "$KIT_STATE"
written "$report"
run_kit chaos --report "$report" "$@"
