#!/usr/bin/env bash
# Runs the tests: `test.sh check` what needs no container engine, `test.sh all` that and then the whole stack.
# Closes with one line: N passed, N failed, N skipped. What was skipped, and what failed, is listed by name above it.
set -euo pipefail
cd "$(dirname "$0")/.."

scope=${1:?check or all}
log=$(mktemp)
passed=0 failed=0 skipped=0 step_status=0
skips=() failures=()

# step NAME COMMAND…: runs it and counts what its output says; without counts it counts as one test itself.
step() {
  local name=$1 status=0 counts p f s
  shift
  printf '\n== %s\n' "$name"
  "$@" 2>&1 | tee "$log" || status=1
  counts=$(awk '
    function number(word) { for (i = 2; i <= NF; i++) if ($i ~ "^" word) return $(i - 1) + 0; return 0 }
    /^test result: / || /^[0-9]+ passed, [0-9]+ failed/ {
      p += number("passed"); f += number("failed"); s += number("ignored") + number("skipped")
    }
    END { print p + 0, f + 0, s + 0 }' "$log")
  read -r p f s <<<"$counts"
  if [ "$status" -ne 0 ] && [ "$f" -eq 0 ]; then
    f=1
  elif [ $((p + f + s)) -eq 0 ]; then
    p=1
  fi
  passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
  while IFS= read -r line; do
    skips+=("$line")
  done < <(sed -n -e 's/^test  *\(.*[^ ]\) *\.\.\. ignored.*/\1/p' -e 's/^skipped: //p' "$log")
  while IFS= read -r line; do
    failures+=("$name: $line")
  done < <(sed -n -e 's/^test  *\(.*[^ ]\) *\.\.\. FAILED.*/\1/p' -e 's/^ *FAILED: *//p' -e 's/^failed: *//p' -e 's/^FAIL //p' "$log")
  # What ended badly without naming a test is known by its last line.
  if [ "$f" -gt 0 ] && ! grep -q -e '^test .*\.\.\. FAILED' -e '^ *FAILED: ' -e '^failed: ' -e '^FAIL ' "$log"; then
    failures+=("$name: $(tail -n 1 "$log")")
  fi
  step_status=$status
}

# skip NAME WHY: for what cannot run at all here.
skip() {
  skips+=("$1: $2")
  skipped=$((skipped + 1))
}

finish() {
  rm -f "$log"
  if [ "${#skips[@]}" -gt 0 ]; then
    printf '\nSkipped:\n'
    printf '  %s\n' "${skips[@]}"
  fi
  if [ "${#failures[@]}" -gt 0 ]; then
    printf '\nFailed:\n'
    printf '  %s\n' "${failures[@]}"
  fi
  printf '\n%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
  [ "$failed" -eq 0 ]
}

# have COMMAND STEP…: a step that needs a command; in CI it must be there.
have() {
  local command=$1
  shift
  if command -v "$command" >/dev/null 2>&1; then
    step "$@"
  elif [ "${CI:-}" = true ]; then
    step "$1" sh -c "echo '$command is not installed: run make setup' >&2; exit 1"
  else
    skip "$1" "$command is not installed"
  fi
}

check() {
  step "rustfmt" cargo fmt --all --check
  step "clippy" cargo clippy --workspace --all-targets --locked -- -D warnings
  step "cargo test" cargo test --workspace --locked --no-fail-fast
  if command -v cargo-deny >/dev/null 2>&1; then
    # Not the advisories: their database comes over the network, and changes under an unchanged commit.
    step "cargo deny" cargo deny --all-features check bans licenses sources
  else
    skip "cargo deny" "cargo-deny is not installed: cargo install cargo-deny"
  fi
  have shellcheck "shellcheck" setup/shellcheck.sh
  step "grafana start" grafana/tests/start.sh
  step "jaeger start" jaeger/tests/start.sh
  step "elasticsearch setup" elasticsearch/tests/setup.sh
  step "logstash start" logstash/tests/start.sh
  step "images" setup/tests/images.sh
  step "logstash send" logstash/tests/send.sh
  step "preflight" setup/tests/preflight.sh
  step "prometheus start" prometheus/tests/start.sh
  step "settings" setup/tests/settings.sh
  step "secrets" setup/tests/secrets.sh
  step "verbs in containers" setup/tests/kit.sh
  step "changed files" setup/tests/changed.sh
  step "doctor" setup/tests/doctor.sh
  step "upgrade" setup/tests/upgrade.sh
  step "kibana" kibana/tests/setup.sh
  step "demo" setup/tests/demo.sh
}

# The stack under test: its own project, ports, secrets and volumes, so that a stack in use is left alone; rules with
# all durations divided by 20, so that an alert's end can be waited for; and nothing from .env but images.
test_stack_environment() {
  export COMPOSE_PROJECT_NAME=agent-kit-test COMPOSE_PROFILES=infra,logs
  export BIND_ADDRESS=127.0.0.1 ADMIN_BIND_ADDRESS=127.0.0.1 PUBLIC_HOST=localhost THRESHOLDS=default
  # A block that nothing well-known uses, below the range from which the kernel takes ports for clients.
  export AGENT_PORT=17301 AGENT_ADMIN_PORT=17302 LLM_PORT=17303 SLACK_PORT=17304 PROMETHEUS_PORT=17305
  export ALERTMANAGER_PORT=17306 PUSHGATEWAY_PORT=17307 GRAFANA_PORT=17308 MAILDEV_PORT=17309 MAILDEV_SMTP_PORT=17310
  export JAEGER_PORT=17311 OTLP_GRPC_PORT=17312 OTLP_HTTP_PORT=17313 ZIPKIN_PORT=17314
  export ELASTICSEARCH_PORT=17315 KIBANA_PORT=17316
  export LOGSTASH_BEATS_PORT=17317 LOGSTASH_TCP_PORT=17318 LOGSTASH_HTTP_PORT=17319 LOGSTASH_API_PORT=17320
  export AGENT_LLM_BASE_URL=http://simulators-llm:8081/v1 AGENT_LLM_TIMEOUT=10s AGENT_LOG=info AGENT_LLM_MODEL=gpt-5.4-mini
  export AGENT_LLM_TIER_MODELS=vip=gpt-5.6-terra,free=gpt-5.6-luna AGENT_LLM_FALLBACK_MODEL=gpt-5.6-luna
  export OTEL_EXPORTER_OTLP_ENDPOINT=http://jaeger:4318 OTEL_TRACES_SAMPLER_ARG=1.0 AGENT_LOG_SAMPLE_RATIO=1.0 BASE_TRAFFIC_RATE=1
  export AGENT_LOG_FILES=48 AGENT_LOG_MAX_BYTES=1073741824
  export SECRETS_DIR=$PWD/.kit/test/secrets FAST=1
  # Addresses of a stack in use must not be taken for this one's.
  unset "${!STACK_@}"
  export STACK_FAST=1
}

# As lib.sh has it for stack.sh, but of the environment alone.
setting() { printf '%s' "${!1:-$2}"; }
KIT_ROOT=$PWD KIT_STATE=$PWD/.kit

take_down() {
  docker compose down --volumes --timeout 10 >/dev/null 2>&1 || true
}

skip_stack() { # WHY: each of its tests, by name
  local name
  while read -r name; do
    skip "$name" "$1"
  done < <(
    cargo run --quiet --locked -p stack-tests -- --list 2>/dev/null | sed -n -e 's/^\[.*\] //' -e 's/: test$//p'
    cargo run --quiet --locked -p kit -- drill list 2>/dev/null | awk '{ print "drill::" $1 }'
    cargo run --quiet --locked -p kit -- chaos list --quick 2>/dev/null
    echo "verbs without Rust"
    echo "dashboards after the drills"
  )
}

stack() {
  test_stack_environment
  trap take_down EXIT
  take_down
  step "the stack comes up" setup/up.sh
  # shellcheck source=stack.sh
  . setup/stack.sh
  if [ "$step_status" -eq 0 ]; then
    # First, while nothing has happened yet that alerts remember: a new stack with ordinary traffic tells nobody anything.
    step "a calm hour" setup/drill.sh calm --fast
    step "the stack under test" cargo run --quiet --locked -p stack-tests -- --skip backup::
    # Every other alert that can be brought about, from fault to Slack and mail and back: make drill SCENARIO=all FAST=1.
    step "drills" setup/drill.sh all --skip calm --fast
    step "verbs without Rust" setup/tests/verbs.sh
    step "dashboards after the drills" setup/panels.sh --last 1h --after-drills --patience 3m
    # What says most of the fault suite in its time; all of it is `make chaos`.
    step "faults under load" setup/chaos.sh --quick
    # Last, because it starts everything anew.
    step "backup" cargo run --quiet --locked -p stack-tests -- backup::
  else
    skip_stack "the stack did not come up"
  fi
  if [ "$failed" -gt 0 ]; then
    docker compose logs --timestamps --tail 100 >.kit/test/containers.log 2>&1 || true
    echo "The containers' last lines are in .kit/test/containers.log"
  fi
}

# promtool and amtool, and the engine, are where `make setup` has put them.
eval "$(setup/env.sh)"
# It takes minutes, and an Elasticsearch besides the Logstash.
[ "$scope" != all ] || export LOGSTASH_ACCOUNTING=1
# Two of each and three Elasticsearch nodes, in containers of their own; and what each image holds, against images/official.toml.
if [ "$scope" = all ] && docker info >/dev/null 2>&1; then export SCALING_IN_CONTAINERS=1 IMAGES_AS_LISTED=1; fi
# Requests that are made up are the same each time, so that a failure is this tree's: FUZZ_SEED=2 make test has others.
export FUZZ_SEED=${FUZZ_SEED:-1}
export PROPTEST_RNG_SEED=$FUZZ_SEED
check
if [ "$scope" = all ]; then
  if docker info >/dev/null 2>&1; then
    stack
  elif [ "${CI:-}" = true ]; then
    step "a container engine" sh -c 'echo "no container engine answers: run make setup" >&2; exit 1'
  else
    echo "No container engine answers: the stack is not tested. \`make setup\` says what is missing."
    skip_stack "no container engine answers"
  fi
fi
finish
