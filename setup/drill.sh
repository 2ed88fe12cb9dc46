#!/usr/bin/env bash
# drill.sh [SCENARIO] [--fast] [--until-told]: breaks something on purpose and follows its alert to Slack and the mailbox and back; without a
# scenario it lists them. Drills the stack that `make up` started, at the ports that the settings say.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"

command -v cargo >/dev/null 2>&1 || die "Drills need Rust: https://rustup.rs, then again."
# shellcheck source=stack.sh
. "$here/stack.sh"
exec cargo run --quiet --locked -p stack-tests --bin drill -- "$@"
