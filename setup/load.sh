#!/usr/bin/env bash
# load.sh [FLAG…]: a load test of the agent that `make up` started; the flags are those of `load-test run`. As a program where
# there is Rust, with a report in target/load; else in a container of the stack.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"

if command -v cargo >/dev/null 2>&1; then
  cargo build --quiet --release --locked -p load-test
  target=${CARGO_TARGET_DIR:-target}
  # shellcheck source=stack.sh
  . "$here/stack.sh"
  export LOAD_TEST_URL=${LOAD_TEST_URL:-$STACK_AGENT_URL}
  exec "$target/release/load-test" run --report "$target/load" "$@"
fi
eval "$("$here/env.sh")"
exec docker compose run --rm --no-deps load run --url http://example-agent:8080 "$@"
