# shellcheck shell=bash
# Where the parts of the stack that `make up` started are, for the programs that ask them: each STACK_… unless the environment
# says otherwise. Sourced after lib.sh.

address() { # VARIABLE SETTING DEFAULT
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
address STACK_JAEGER_URL JAEGER_PORT 16686
address STACK_GRAFANA_URL GRAFANA_PORT 3000
address STACK_ELASTICSEARCH_URL ELASTICSEARCH_PORT 9200
address STACK_KIBANA_URL KIBANA_PORT 5601
export STACK_SECRETS_DIR=${STACK_SECRETS_DIR:-$(setting SECRETS_DIR "$KIT_ROOT/secrets")}
export STACK_COMPOSE_PROJECT=${STACK_COMPOSE_PROJECT:-${COMPOSE_PROJECT_NAME:-agent-observability-kit}}
STACK_MISSING=${STACK_MISSING-$(cat "$KIT_STATE/missing" 2>/dev/null || true)}
export STACK_MISSING
