#!/usr/bin/env bash
# panels.sh […]: asks every query of every dashboard and prints what came back, from the stack that `make up` started, at the
# ports that the settings say: through Grafana where it runs. What follows is for the program: panels.sh --last 1h --after-drills
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"

command -v cargo >/dev/null 2>&1 || die "The walk through the dashboards needs Rust: https://rustup.rs, then again."
# shellcheck source=stack.sh
. "$here/stack.sh"
STACK_GRAFANA_PASSWORD=${STACK_GRAFANA_PASSWORD:-$(cat "$STACK_SECRETS_DIR/grafana_admin_password" 2>/dev/null || true)}
export STACK_GRAFANA_PASSWORD
missing() { grep -q "^$1$(printf '\t')" <<<"$STACK_MISSING"; }
# Without a Logstash nobody else brings lines.
if missing logstash && ! missing elasticsearch; then set -- --load-lines "$@"; fi
if ! missing grafana; then set -- --grafana "$@"; fi
exec cargo run --quiet --locked -p stack-tests --bin panels -- "$@"
