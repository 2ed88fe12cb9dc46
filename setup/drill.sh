#!/usr/bin/env bash
# drill.sh [SCENARIO] [--fast] [--until-told]: breaks something on purpose and follows its alert to Slack and the mailbox and back; without a
# scenario it lists them. Drills the stack that `make up` started, at the ports that the settings say.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"

command -v cargo >/dev/null 2>&1 || die "Drills need Rust: https://rustup.rs, then again."
# address VARIABLE SETTING DEFAULT: where a part is, unless the environment says otherwise.
address() {
  [ -n "${!1:-}" ] || export "$1=http://127.0.0.1:$(setting "$2" "$3")"
}
address STACK_AGENT_URL AGENT_PORT 8080
address STACK_AGENT_ADMIN_URL AGENT_ADMIN_PORT 8000
address STACK_LLM_URL LLM_PORT 8081
address STACK_SLACK_URL SLACK_PORT 8082
address STACK_PROMETHEUS_URL PROMETHEUS_PORT 9090
address STACK_ALERTMANAGER_URL ALERTMANAGER_PORT 9093
address STACK_PUSHGATEWAY_URL PUSHGATEWAY_PORT 9091
address STACK_MAILDEV_URL MAILDEV_PORT 1080
address STACK_ELASTICSEARCH_URL ELASTICSEARCH_PORT 9200
STACK_SECRETS_DIR=${STACK_SECRETS_DIR:-$(setting SECRETS_DIR ./secrets)}
export STACK_SECRETS_DIR
export STACK_COMPOSE_PROJECT=${STACK_COMPOSE_PROJECT:-${COMPOSE_PROJECT_NAME:-agent-observability-kit}}
STACK_MISSING=$(cat "$KIT_STATE/missing" 2>/dev/null || true)
export STACK_MISSING
exec cargo run --quiet --locked -p stack-tests --bin drill -- "$@"
