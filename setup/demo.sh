#!/usr/bin/env bash
# The agent, its provider, its Slack and some traffic as plain processes: no container, no account. Ctrl-C ends them.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo build --quiet -p example-agent -p simulators -p load-test
bin=${CARGO_TARGET_DIR:-target}/debug
logs=${CARGO_TARGET_DIR:-target}/demo
mkdir -p "$logs"

# The same settings as in .env.example move the ports.
api=${AGENT_PORT:-8080} admin=${AGENT_ADMIN_PORT:-8000} llm=${LLM_PORT:-8081} slack=${SLACK_PORT:-8082}

pids=()
# shellcheck disable=SC2317,SC2329 # called by the traps
finish() {
  trap - EXIT INT TERM
  kill "${pids[@]}" 2>/dev/null || true
  wait
}
trap finish EXIT
trap 'exit 0' INT TERM

start() { # NAME COMMAND…: runs it in the background, what it prints goes to a file
  local name=$1
  shift
  "$@" >"$logs/$name.out" 2>&1 &
  pids+=("$!")
}

answers() { # PORT: whether something there says it is well
  curl --silent --fail --output /dev/null --max-time 2 --noproxy '*' "http://127.0.0.1:$1/healthz"
}

wait_for() { # NAME PORT: until it answers, or its process is gone
  local pid=${pids[${#pids[@]} - 1]}
  until answers "$2"; do
    if ! kill -0 "$pid" 2>/dev/null; then
      echo "demo: $1 did not start: $(tail -n 1 "$logs/$1.out")" >&2
      exit 1
    fi
    sleep 0.1
  done
}

start simulators-llm "$bin/simulators" llm --listen "127.0.0.1:$llm"
wait_for simulators-llm "$llm"
start simulators-slack "$bin/simulators" slack --listen "127.0.0.1:$slack"
wait_for simulators-slack "$slack"
start example-agent env AGENT_LOG_DIR="$logs" "$bin/example-agent" --api-addr "127.0.0.1:$api" \
  --admin-addr "127.0.0.1:$admin" --llm-base-url "http://127.0.0.1:$llm/v1"
wait_for example-agent "$api"
start load "$bin/load-test" base --url "http://127.0.0.1:$api" --rate 2

cat <<EOF
The agent answers. Try:
  curl -s http://localhost:$api/v1/query -H 'content-type: application/json' \\
    -d '{"tenant_id": "acme", "query": "What is slow?"}'
  curl -s http://localhost:$admin/metrics | grep agent_api_cost_usd_total
  tail -f $logs/agent.*.ndjson
Slack's inbox: http://localhost:$slack   Ctrl-C ends all of it.
EOF
all_run() {
  local pid
  # One by one: for several at once `kill` is content with any of them.
  for pid in "${pids[@]}"; do kill -0 "$pid" 2>/dev/null || return 1; done
}
# One that ends by itself ends the rest: a demo with a part missing only puzzles.
while all_run; do sleep 1; done
echo "demo: a process ended by itself; its last words are in $logs" >&2
exit 1
