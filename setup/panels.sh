#!/usr/bin/env bash
# panels.sh […]: asks every query of every dashboard and prints what came back, from the stack that `make up` started, at the
# ports that the settings say: through Grafana where it runs. What follows is for the program: panels.sh --last 1h --after-drills
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"

command -v cargo >/dev/null 2>&1 || die "The walk through the dashboards needs Rust: https://rustup.rs, then again."
# address VARIABLE SETTING DEFAULT: where a part is, unless the environment says otherwise.
address() {
  [ -n "${!1:-}" ] || export "$1=http://127.0.0.1:$(setting "$2" "$3")"
}
address STACK_PROMETHEUS_URL PROMETHEUS_PORT 9090
address STACK_JAEGER_URL JAEGER_PORT 16686
address STACK_GRAFANA_URL GRAFANA_PORT 3000
address STACK_ELASTICSEARCH_URL ELASTICSEARCH_PORT 9200
STACK_SECRETS_DIR=${STACK_SECRETS_DIR:-$(setting SECRETS_DIR "$KIT_ROOT/secrets")}
STACK_GRAFANA_PASSWORD=${STACK_GRAFANA_PASSWORD:-$(cat "$STACK_SECRETS_DIR/grafana_admin_password" 2>/dev/null || true)}
STACK_MISSING=${STACK_MISSING-$(cat "$KIT_STATE/missing" 2>/dev/null || true)}
export STACK_SECRETS_DIR STACK_GRAFANA_PASSWORD STACK_MISSING
missing() { grep -q "^$1$(printf '\t')" <<<"$STACK_MISSING"; }
# Without a Logstash nobody else brings lines.
if missing logstash && ! missing elasticsearch; then set -- --load-lines "$@"; fi
if ! missing grafana; then set -- --grafana "$@"; fi
exec cargo run --quiet --locked -p stack-tests --bin panels -- "$@"
