#!/usr/bin/env bash
# setup.sh and start.sh, without a Kibana: against a curl that answers as Kibana would, and a Kibana that shows its environment.
set -euo pipefail
cd "$(dirname "$0")/.."

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
passed=0 failed=0
count=$(grep -c . saved-objects.ndjson)

mkdir "$scratch/bin" "$scratch/secrets"
# Answers by the address; keeps what was sent, and its own arguments.
cat >"$scratch/bin/curl" <<'STUB'
#!/usr/bin/env bash
url=${*: -1} out='' file=''
printf '%s\n' "$*" >>"$STUB_DIR/arguments"
cat >"$STUB_DIR/config"
while [ $# -gt 0 ]; do
  case $1 in --output) out=$2; shift ;; --form) file=${2#file=@}; shift ;; esac
  shift
done
case $url in
  */api/status) printf '{"status":{"overall":{"level":"%s"}}}' "${STUB_LEVEL:-available}" >"$out"; printf '%s' "${STUB_STATUS:-200}" ;;
  */_import*) cp "$file" "$STUB_DIR/imported"; printf '%s' "$STUB_IMPORT" >"$out"; printf 200 ;;
  */api/data_views/default) printf '{"acknowledged":true}' >"$out"; printf 200 ;;
esac
STUB
printf '#!/bin/sh\nenv\n' >"$scratch/bin/kibana"
chmod +x "$scratch/bin/curl" "$scratch/bin/kibana"
# shellcheck disable=SC2016 # a password as people make them
printf '%s' 'a"b\c$d e' >"$scratch/password"

check() { # NAME WANTED-EXIT-CODE WANTED-TEXT COMMAND…
  local name=$1 wanted=$2 text=$3 code=0 said
  shift 3
  said=$(env PATH="$scratch/bin:$PATH" STUB_DIR="$scratch" PASSWORD_FILE="$scratch/password" SECRETS="$scratch/secrets" "$@" 2>&1) || code=$?
  if [ "$code" -eq "$wanted" ] && [[ $said == *"$text"* ]]; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    echo "FAILED: $name: exit $code, said: $said"
  fi
}
good="{\"successCount\":$count,\"success\":true}"

check "says what it did" 0 "$count saved objects" STUB_IMPORT="$good" JAEGER_LINK=https://traces.example ./setup.sh
check "the link to Jaeger is the one that was given" 0 "" grep -q 'https://traces.example/trace/' "$scratch/imported"
# shellcheck disable=SC2016 # as above
check "the password goes in by standard input, as it is" 0 "" grep -qxF 'user = "elastic:a\"b\\c$d e"' "$scratch/config"
check "and is no argument" 1 "" grep -qF 'b\c' "$scratch/arguments"
check "an object that is refused" 1 "missing_references" \
  STUB_IMPORT='{"successCount":1,"success":false,"errors":[{"id":"agent-logs","error":{"type":"missing_references"}}]}' ./setup.sh
check "an object that is missing" 1 "not all" STUB_IMPORT='{"successCount":1,"success":true}' ./setup.sh
check "a wrong password" 1 "is not that of elastic" STUB_STATUS=401 STUB_IMPORT="$good" ./setup.sh
check "a plugin that is not available yet" 0 "$count saved objects" STUB_LEVEL=degraded STUB_IMPORT="$good" ./setup.sh
check "a Kibana that does not get ready" 1 "not available within 1 s" STUB_LEVEL=critical STUB_STATUS=503 SETUP_TIMEOUT=1 STUB_IMPORT="$good" ./setup.sh
check "no password" 1 "is missing or empty" PASSWORD_FILE=/no/such/file STUB_IMPORT="$good" ./setup.sh

check "no secrets: says which" 64 "kibana_elasticsearch_password" KIBANA_START="$scratch/bin/kibana" ./start.sh
# shellcheck disable=SC2016 # as above
printf 'a pass$word' >"$scratch/secrets/kibana_elasticsearch_password"
printf short >"$scratch/secrets/kibana_encryption_key"
check "a key that is too short for Kibana" 64 "at least 32 characters" KIBANA_START="$scratch/bin/kibana" ./start.sh
printf '%032d' 7 >"$scratch/secrets/kibana_encryption_key"
# shellcheck disable=SC2016 # a password as people make them
check "secrets reach the process" 0 'KIBANA_ES_PASSWORD=a pass$word' KIBANA_START="$scratch/bin/kibana" ./start.sh

printf '%d passed, %d failed, 0 skipped\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
