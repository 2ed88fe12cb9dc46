#!/usr/bin/env bash
# start.sh: which addresses it publishes with which password. It goes on with the image's /run.sh, which is not here:
# exit code 127 says that it got that far.
set -euo pipefail
cd "$(dirname "$0")/.."

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
passed=0 failed=0

check() { # WANTED-EXIT-CODE ADDRESS PASSWORD
  local code=0 said
  printf '%s' "$3" >"$scratch/password"
  said=$(BIND_ADDRESS=$2 GF_SECURITY_ADMIN_PASSWORD__FILE=$scratch/password ./start.sh 2>&1) || code=$?
  if [ "$code" -eq "$1" ] && { [ "$code" -ne 64 ] || [ "$(wc -l <<<"$said")" -eq 1 ]; }; then
    passed=$((passed + 1))
    echo "ok: $2 with password '$3' ends with $code"
  else
    failed=$((failed + 1))
    echo "FAILED: $2 with password '$3' ended with $code, not $1: $said"
  fi
}

check 127 127.0.0.1 admin
check 127 '' admin
check 127 localhost admin
check 64 0.0.0.0 admin
check 64 192.168.1.5 ''
check 64 0.0.0.0 $'admin\n'
check 127 0.0.0.0 'one of my own'

# The password for Elasticsearch: out of its file into the environment, as it is.
password() { # WANTED-EXIT-CODE WANTED-TEXT FILE VARIABLE
  local code=0 said
  said=$(env GF_SECURITY_ADMIN_PASSWORD__FILE="$scratch/password" "${4:-ELASTICSEARCH_PASSWORD_FILE}=$3" GRAFANA_START=/usr/bin/env ./start.sh 2>&1) || code=$?
  if [ "$code" -eq "$1" ] && [[ $said == *"$2"* ]]; then
    passed=$((passed + 1))
    echo "ok: password file '$3' ends with $code"
  else
    failed=$((failed + 1))
    echo "FAILED: password file '$3' ended with $code, not $1: $said"
  fi
}
# shellcheck disable=SC2016 # a password as people make them
printf '%s\n' 'a$b "c"' >"$scratch/elasticsearch"
# shellcheck disable=SC2016 # as above
password 0 'ELASTICSEARCH_PASSWORD=a$b "c"' "$scratch/elasticsearch"
password 64 'is missing or empty' /no/such/file
password 0 '' ''
# shellcheck disable=SC2016 # as above
password 0 'ELASTICSEARCH_AUDIT_PASSWORD=a$b "c"' "$scratch/elasticsearch" ELASTICSEARCH_AUDIT_PASSWORD_FILE
password 64 'ELASTICSEARCH_AUDIT_PASSWORD_FILE names, is missing or empty' /no/such/file ELASTICSEARCH_AUDIT_PASSWORD_FILE

printf '\n%d passed, %d failed, 0 skipped\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
