#!/usr/bin/env bash
# export.sh […]: one component of the kit for somebody else's infrastructure. What follows is for the program:
#   export.sh --part prometheus --out /tmp/rules --metrics agent_requests_total=llm_requests_total
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"

command -v cargo >/dev/null 2>&1 || die "To export a part needs Rust: https://rustup.rs, then again."
cargo build --quiet --locked -p export
exec "${CARGO_TARGET_DIR:-target}/debug/export" "$@"
