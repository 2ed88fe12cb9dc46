#!/usr/bin/env bash
# make up: starts all that can be had, waits until it is healthy, and says where it is and how to log in.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"

# NAME-setup and NAME-2 run in NAME's image, and what fills, shows and watches Elasticsearch is nothing without it.
is_missing() {
  case $1 in kibana* | logstash | log-watch | elasticsearch-exporter) is_missing elasticsearch && return ;; esac
  grep -qs -e "^$1$(printf '\t')" -e "^${1%%-*}$(printf '\t')" "$KIT_STATE/missing"
}

startable() {
  local service
  for service in $(docker compose config --services | sort); do is_missing "$service" || echo "$service"; done
}

# shellcheck disable=SC2046 # lists of words
images_present() { docker image inspect $(docker compose config --images $(startable)) >/dev/null 2>&1; }

"$here/engine.sh" ensure
use_engine
"$here/secrets.sh"
# What is changed from now on is for the next time.
stamp=$(own_state started)
mkdir -p "$(dirname "$stamp")"
touch "$stamp.new"
"$here/preflight.sh"
# Nobody ran `make setup` here yet, or a profile was enabled since.
if [ ! -f "$KIT_STATE/images.env" ] || ! images_present; then
  "$here/images.sh"
  use_compose
else
  # What was changed in our own programs since they were built; nothing to do takes a second.
  # shellcheck disable=SC2046 # a list of words
  step own "Building the agent, the simulators and the load test" docker compose --profile '*' build $(own_services)
fi
if [ "$(setting FAST '')" = 1 ]; then
  # shellcheck source=fast.sh
  . "$here/fast.sh"
fi

# Without Elasticsearch nothing of that profile is of use, and Jaeger keeps its traces in memory.
if is_missing elasticsearch; then
  COMPOSE_PROFILES=$(tr ',' '\n' <<<"$COMPOSE_PROFILES" | grep -vx logs | paste -sd , -) || :
fi

# What did not become healthy, or has ended with an error, with its last words.
explain() {
  local service
  for service in $(docker compose ps --all --format '{{.Service}} {{.State}} {{.Health}} {{.ExitCode}}' |
    awk '$2 == "exited" && $NF == 0 { next } $2 != "running" || $3 == "unhealthy" || $3 == "starting" { print $1 }'); do
    warn "--- $service: $(docker compose ps --all --format '{{.Status}}' "$service")"
    docker compose logs --no-log-prefix --tail 15 "$service" >&2
  done
  die "The stack did not become healthy. More: make logs; to begin again: make down up."
}

# Its progress is for eyes; in a log only what goes wrong is of use.
[ -t 1 ] || export COMPOSE_PROGRESS=quiet
services=$(startable)
# What runs here decides what is expected: without Logstash lines stop at the file, without Kibana there is no link to it.
has() { grep -qx -- "$1" <<<"$services"; }
if [ -z "$(setting LOG_SHIPPING '')" ] && ! has logstash; then export LOG_SHIPPING=off; fi
if [ -z "$(setting KIBANA_LINK '')" ] && ! has kibana; then export KIBANA_LINK=; fi
# shellcheck source=changed.sh
. "$here/changed.sh"
changed=$(changed_services "$stamp")
if [ -n "$changed" ]; then
  # shellcheck disable=SC2086 # a list of words
  say "Restarting what runs with files of before:" $changed
  # shellcheck disable=SC2086
  docker compose restart $changed
fi
say "Starting $(wc -w <<<"$services" | tr -d ' ') services"
# Those that do one thing and end are started after the others: `--wait` takes their end for a failure, even with exit code 0, if no
# other service depends on it. Their dependencies are healthy by then.
ending=$(grep -x -e secrets -e '.*-setup' <<<"$services" || :)
# shellcheck disable=SC2046 # lists of words
docker compose up --detach --wait --wait-timeout 1500 --remove-orphans $(grep -vx -e secrets -e '.*-setup' <<<"$services") || explain
# shellcheck disable=SC2086 # a list of words
docker compose up --detach $ending || explain
for service in $ending; do
  [ "$(docker wait "$(docker compose ps --all --quiet "$service")")" = 0 ] || explain
done

mv "$stamp.new" "$stamp"

# address SERVICE PORT WHAT: the address that is really published, under the name that people use.
host=$(setting PUBLIC_HOST localhost)
address() {
  local published
  published=$(docker compose port "$1" "$2" 2>/dev/null) || return 0
  [ -z "$published" ] || printf '  %-32s %s\n' "${4:-http}://$host:${published##*:}" "$3"
}

say "All healthy"
echo
address grafana 3000 "Grafana: user admin, password $(cat "$(setting SECRETS_DIR ./secrets)/grafana_admin_password")"
address example-agent 8080 "the agent's API"
address example-agent 8000 "the agent's metrics and health"
address prometheus 9090 "Prometheus"
address alertmanager 9093 "Alertmanager"
address pushgateway 9091 "Pushgateway"
address jaeger 16686 "Jaeger"
address jaeger 4317 "Jaeger, OTLP over gRPC"
address jaeger 4318 "Jaeger, OTLP over HTTP"
address jaeger 9411 "Jaeger, Zipkin"
address elasticsearch 9200 "Elasticsearch: user elastic, the password is in $(setting SECRETS_DIR ./secrets)/elasticsearch_password"
address logstash 5044 "Logstash: lines from Beats" tcp
address logstash 5000 "Logstash: lines over TCP" tcp
address logstash 8080 "Logstash: lines over HTTP"
address logstash 9600 "Logstash's own API"
address simulators-slack 8082 "what arrived in Slack (simulated)"
address maildev 1080 "what arrived by e-mail"
address maildev 1025 "where e-mail is sent to" smtp
address kibana 5601 "Kibana: user elastic, the password is in $(setting SECRETS_DIR ./secrets)/elasticsearch_password"
address simulators-llm 8081 "the model provider (simulated)"
if [ -s "$KIT_STATE/missing" ]; then
  echo
  while IFS="$(printf '\t')" read -r service reason; do echo "  Missing: $service ($reason)"; done <"$KIT_STATE/missing"
fi
if is_missing logstash; then
  echo "  Log lines stop at the files in the agent's volume: without Logstash nobody brings them to Elasticsearch."
  echo "  make story REQUEST=<x-request-id> reads them there."
fi
