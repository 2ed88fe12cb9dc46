#!/usr/bin/env bash
# capacity.sh: how much the agent holds here, as processes of its own; then what log lines take in Elasticsearch, where there is
# one to start; then, where a stack runs, what each of its parts takes.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"
# shellcheck source=stack.sh
. "$here/stack.sh"

target=${CARGO_TARGET_DIR:-target}
broken=0
"$here/bench.sh" capacity "$@" || broken=$?
say "What log lines take in Elasticsearch"
cargo run --quiet --release --locked -p stack-tests --bin bench-storage
if [ -n "$(docker ps --quiet --filter "label=com.docker.compose.project=$STACK_COMPOSE_PROJECT" 2>/dev/null)" ]; then
  say "What each part of the stack takes"
  cargo run --quiet --release --locked -p stack-tests --bin capacity -- --load-test "$target/release/load-test"
else
  say "No stack runs: with one (make up) it goes on with what each of its parts takes."
fi
exit "$broken"
