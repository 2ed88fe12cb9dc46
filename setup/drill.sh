#!/usr/bin/env bash
# drill.sh [SCENARIO] [--fast] [--until-told]: breaks something on purpose and follows its alert to Slack and the mailbox and back; without a
# scenario it lists them. Drills the stack that `make up` started.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"
# shellcheck source=kit.sh
. "$here/kit.sh"

if is_native; then
  # shellcheck source=stack.sh
  . "$here/stack.sh"
  exec cargo run --quiet --locked -p kit -- drill "$@"
fi
have_kit
in_stack
with_engine
# What `make up` has generated is what some drills change.
written "$KIT_STATE"
run_kit drill "$@"
