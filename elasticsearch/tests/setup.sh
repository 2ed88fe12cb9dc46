#!/usr/bin/env bash
# setup.sh: what it says where Elasticsearch is not as it should be. curl is a stub; a real one is asked by the stack's tests.
set -euo pipefail
cd "$(dirname "$0")/.."

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
passed=0 failed=0

# Answers with $STATUS to everything, but that it is well with 503 first for each line of the file $NOT_YET, and shows that no password is among its arguments.
cat >"$scratch/curl" <<'STUB'
#!/usr/bin/env bash
case "$*" in *the-password*) echo "a password on the command line" >&2; exit 99 ;; esac
asked=$*
while [ $# -gt 0 ]; do
  if [ "$1" = --output ]; then printf '%s' "${ANSWER:-}" >"$2"; fi
  shift
done
if [ -s "${NOT_YET:-}" ] && [[ $asked != *_cluster/health* ]]; then
  sed -i.before 1d "$NOT_YET"
  STATUS=503
fi
printf '%s' "$STATUS"
STUB
chmod +x "$scratch/curl"
printf '#!/bin/sh\n' >"$scratch/sleep"
chmod +x "$scratch/sleep"

secrets=$scratch/secrets
mkdir "$secrets"
while read -r _ _ secret; do [ -z "$secret" ] || printf the-password >"$secrets/$secret"; done < <(grep -v '^#' users)

# check TEST WANTED-TEXT NAME=VALUE…: it fails with one line that has the text.
check() {
  local test=$1 wanted=$2 code=0 said
  shift 2
  said=$(env SECRETS="$secrets" PATH="$scratch:$PATH" "$@" ./setup.sh 2>&1) || code=$?
  if [ "$code" = 1 ] && [ "$(wc -l <<<"$said")" -eq 1 ] && [[ $said == "Elasticsearch is not set up: "*"$wanted"* ]]; then
    passed=$((passed + 1))
    echo "ok: $test"
  else
    failed=$((failed + 1))
    echo "FAILED: $test: exit code $code: $said"
  fi
}

check "no password at all" "secrets/elasticsearch_password is missing or empty" STATUS=200
printf the-password >"$secrets/elasticsearch_password"
check "another password holds" 'see "Passwords" in elasticsearch/README.md' STATUS=401
check "nobody there" "was not well within 0 s (last status 000)" STATUS=000 SETUP_TIMEOUT=0
check "not well in time" "was not well within 0 s (last status 503)" STATUS=503 SETUP_TIMEOUT=0

# Who takes some of the files away has folders with nothing in them, or none.
part=$scratch/part
mkdir -p "$part/policies" "$part/roles"
cp setup.sh "$part" && cp policies/agent-traces.json "$part/policies"
echo "someone some_role someones_password" >"$part/users"
printf the-password >"$secrets/someones_password"
wanted="Elasticsearch is set up: 2 made, 0 changed, 0 as they were."
if said=$(env SECRETS="$secrets" PATH="$scratch:$PATH" STATUS=200 "$part/setup.sh" 2>&1) && [[ $said == *"$wanted" ]]; then
  passed=$((passed + 1))
  echo "ok: a part of the files, and a user whose password is nowhere to be seen"
else
  failed=$((failed + 1))
  echo "FAILED: a part of the files: $said"
fi

printf 'once\ntwice\nthrice\n' >"$scratch/not-yet"
if said=$(env SECRETS="$secrets" PATH="$scratch:$PATH" STATUS=200 NOT_YET="$scratch/not-yet" "$part/setup.sh" 2>&1) &&
  [[ $said == *"$wanted" ]] && [ ! -s "$scratch/not-yet" ]; then
  passed=$((passed + 1))
  echo "ok: what cannot be answered yet is asked again"
else
  failed=$((failed + 1))
  echo "FAILED: what cannot be answered yet is asked again: $said"
fi

printf '\n%d passed, %d failed, 0 skipped\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
