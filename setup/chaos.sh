#!/usr/bin/env bash
# chaos.sh [run | list] [--fault KIND] [--service NAME] [--quick]: breaks the parts of the stack that `make up` started, under load,
# makes each whole again, and prints what was seen and lost: docs/faults.md.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"

command -v cargo >/dev/null 2>&1 || die "The fault suite needs Rust: https://rustup.rs, then again."
# shellcheck source=stack.sh
. "$here/stack.sh"
exec cargo run --quiet --locked -p stack-tests --bin chaos -- --report "${CARGO_TARGET_DIR:-target}/chaos" "$@"
