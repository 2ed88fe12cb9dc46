# shellcheck shell=bash
# Where the parts of the stack that `make up` started are, for the programs that ask them: each STACK_… unless the environment
# says otherwise. With STACK_INSIDE=1 for a program in a container on the stack's network. Sourced after lib.sh.

address() { # VARIABLE SETTING SERVICE PORT
  if [ "${STACK_INSIDE:-}" = 1 ]; then
    # A loopback address, from a shell that asks from outside, would be the container's own.
    case ${!1:-} in '' | http://127.0.0.1:* | http://localhost:*) export "$1=http://$3:$4" ;; esac
  else
    [ -n "${!1:-}" ] || export "$1=http://127.0.0.1:$(setting "$2" "$4")"
  fi
}
address STACK_AGENT_URL AGENT_PORT example-agent 8080
address STACK_AGENT_ADMIN_URL AGENT_ADMIN_PORT example-agent 8000
address STACK_LLM_URL LLM_PORT simulators-llm 8081
address STACK_SLACK_URL SLACK_PORT simulators-slack 8082
address STACK_PROMETHEUS_URL PROMETHEUS_PORT prometheus 9090
address STACK_ALERTMANAGER_URL ALERTMANAGER_PORT alertmanager 9093
address STACK_PUSHGATEWAY_URL PUSHGATEWAY_PORT pushgateway 9091
address STACK_MAILDEV_URL MAILDEV_PORT maildev 1080
address STACK_JAEGER_URL JAEGER_PORT jaeger 16686
address STACK_GRAFANA_URL GRAFANA_PORT grafana 3000
address STACK_ELASTICSEARCH_URL ELASTICSEARCH_PORT elasticsearch 9200
address STACK_KIBANA_URL KIBANA_PORT kibana 5601
export STACK_SECRETS_DIR=${STACK_SECRETS_DIR:-$(setting SECRETS_DIR "$KIT_ROOT/secrets")}
export STACK_COMPOSE_PROJECT=${STACK_COMPOSE_PROJECT:-${COMPOSE_PROJECT_NAME:-agent-observability-kit}}
STACK_MISSING=${STACK_MISSING-$(cat "$KIT_STATE/missing" 2>/dev/null || true)}
export STACK_MISSING
