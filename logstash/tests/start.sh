#!/usr/bin/env bash
# start.sh: hands the password on in the environment of what it starts, and starts nothing without one.
set -euo pipefail
cd "$(dirname "$0")/.."

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
passed=0 failed=0

check() { # WANTED-EXIT-CODE WANTED-OUTPUT FILE
  local code=0 said
  said=$(LOGSTASH_ELASTICSEARCH_PASSWORD_FILE=$3 LOGSTASH_ENTRYPOINT=/usr/bin/printenv \
    pipeline/start.sh LOGSTASH_ELASTICSEARCH_PASSWORD 2>&1) || code=$?
  if [ "$code" -eq "$1" ] && [[ $said == *"$2"* ]]; then
    passed=$((passed + 1))
    echo "ok: $3 ends with $code"
  else
    failed=$((failed + 1))
    echo "FAILED: $3 ended with $code, not $1: $said"
  fi
}

# shellcheck disable=SC2016 # the characters themselves
printf '%s' 'a $(b) "c" \d' >"$scratch/odd"
printf 'with a newline\n' >"$scratch/newline"
: >"$scratch/empty"
# shellcheck disable=SC2016
check 0 'a $(b) "c" \d' "$scratch/odd"
check 0 'with a newline' "$scratch/newline"
check 64 'no password' "$scratch/empty"
check 64 'no password' "$scratch/missing"

# check_senders WANTED-EXIT-CODE WANTED-OUTPUT TEXT: the file of who may send audit events.
check_senders() {
  local code=0 said
  printf '%s' "$3" >"$scratch/senders"
  said=$(LOGSTASH_ELASTICSEARCH_PASSWORD_FILE=$scratch/odd LOGSTASH_AUDIT_SENDERS_FILE=$scratch/senders LOGSTASH_ENTRYPOINT=/bin/echo \
    pipeline/start.sh started 2>&1) || code=$?
  if [ "$code" -eq "$1" ] && [[ $said == *"$2"* ]] && [ "$(wc -l <<<"$said")" -eq 1 ] && [[ $said != *0123456789abcdef* ]]; then
    passed=$((passed + 1))
    echo "ok: audit senders: $2"
  else
    failed=$((failed + 1))
    echo "FAILED: audit senders ended with $code, not $1: $said"
  fi
}
check_senders 0 started ''
check_senders 0 started $'# a comment\n\nfilebeat key-0123456789abcdef01234567\nother key-0123456789abcdef01234568\n'
check_senders 64 'line 2 is not a name and a key' $'filebeat key-0123456789abcdef01234567\nalone\n'
check_senders 64 'the key of filebeat (line 1) is shorter than 24 characters' 'filebeat short'
check_senders 64 'the key of other (line 2) is that of another sender too' $'filebeat key-0123456789abcdef01234567\nother key-0123456789abcdef01234567'

printf '\n%d passed, %d failed, 0 skipped\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
