#!/usr/bin/env bash
# load.sh [FLAG…]: a load test of the agent that `make up` started, with a report in target/load; the flags are those of
# `load-test run`. LOAD_TEST_URL names another agent.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"
# shellcheck source=kit.sh
. "$here/kit.sh"

target=${CARGO_TARGET_DIR:-$KIT_ROOT/target}
if is_native; then
  cargo build --quiet --release --locked -p load-test
  # shellcheck source=stack.sh
  . "$here/stack.sh"
  export LOAD_TEST_URL=${LOAD_TEST_URL:-$STACK_AGENT_URL}
  exec "$target/release/load-test" run --report "$target/load" "$@"
fi
image=$(setting LOAD_TEST_IMAGE agent-kit/load-test:dev)
have_image load "$image" || exit 1
if [ -n "${LOAD_TEST_URL:-}" ]; then
  reach "$LOAD_TEST_URL"
else
  in_stack
  url=$STACK_AGENT_URL
fi
written "$target/load"
run_image "$image" run --url "$url" --report "$target/load" "$@"
