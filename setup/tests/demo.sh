#!/usr/bin/env bash
# `make demo`: it answers and counts, a part that ends takes the rest with it, and being ended leaves nothing behind.
set -euo pipefail
cd "$(dirname "$0")/../.."

export AGENT_PORT=17321 AGENT_ADMIN_PORT=17322 LLM_PORT=17323 SLACK_PORT=17324
scratch=$(mktemp -d)
demo=
trap 'kill "$demo" 2>/dev/null || true; rm -rf "$scratch"' EXIT
passed=0 failed=0

check() { # NAME COMMAND…
  local name=$1
  shift
  if "$@"; then
    passed=$((passed + 1))
    echo "ok: $name"
  else
    failed=$((failed + 1))
    echo "FAILED: $name"
    sed 's/^/  /' "$scratch/out"
  fi
}

# until_true COMMAND…: within a minute, which is far more than it takes.
until_true() {
  local begun=$SECONDS
  until "$@"; do
    [ $((SECONDS - begun)) -lt 60 ] || return 1
    sleep 0.1
  done
}

# On a clean checkout it first compiles, which no minute bounds: until it is ready, or gone, or a quarter of an hour is over.
until_ready() {
  local begun=$SECONDS
  until ready; do
    if ended || [ $((SECONDS - begun)) -ge 900 ]; then return 1; fi
    sleep 0.1
  done
}

run() {
  # Here, not in the background: what the last one said must not be taken for this one's word.
  : >"$scratch/out"
  setup/demo.sh >>"$scratch/out" 2>&1 &
  demo=$!
}

get() { curl --silent --fail --max-time 2 --noproxy '*' "$@"; }
ready() { grep -qs 'Ctrl-C' "$scratch/out"; }
answers() { get "http://127.0.0.1:$AGENT_PORT/healthz" >/dev/null; }
counted() { get "http://127.0.0.1:$AGENT_ADMIN_PORT/metrics" | grep -q '^agent_requests_total{.*status="success".*} [1-9]'; }
ended() { ! kill -0 "$demo" 2>/dev/null; }
silent() {
  local port
  for port in $AGENT_PORT $AGENT_ADMIN_PORT $LLM_PORT $SLACK_PORT; do
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then return 1; fi
  done
}
child_of() { ps -e -o pid=,ppid=,args= | awk -v demo="$1" -v name="$2" '$2 == demo && index($0, name) { print $1; exit }'; }

run
check "it says that it answers" until_ready
check "it does" until_true answers
check "its traffic is counted" until_true counted
kill "$demo"
check "told to end, it ends" until_true ended
check "and nothing goes on listening" silent

run
check "it starts again" until_ready
kill "$(child_of "$demo" "simulators slack")"
check "a part that ends takes the rest with it" until_true ended
check "and says where to look" grep -q 'ended by itself' "$scratch/out"
check "and nothing goes on listening" silent

printf '\n%d passed, %d failed, 0 skipped\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
