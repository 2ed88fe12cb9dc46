#!/usr/bin/env bash
# What doctor.sh notices, with a docker that is a stub.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$scratch/kit/setup" "$scratch/kit/elasticsearch" "$scratch/bin" "$scratch/secrets"
cp "$here/../lib.sh" "$here/../doctor.sh" "$scratch/kit/setup/"
# shellcheck disable=SC2016 # for the shell that runs it
printf '#!/bin/sh\nexit "${STUB_PREFLIGHT:-0}"\n' >"$scratch/kit/setup/preflight.sh"
printf '# user role secret\nreader reader reader_password\n' >"$scratch/kit/elasticsearch/users"
printf 'right' >"$scratch/secrets/elasticsearch_password"
# Curl's own quoting must bring this through.
printf 'a "b" \\c' >"$scratch/secrets/reader_password"
cat >"$scratch/bin/docker" <<'STUB'
#!/bin/sh
case "$1 ${2:-}" in
  "version "*) exit "${STUB_DOWN:-0}" ;;
  "compose ps") echo "${STUB_RUNNING:-}" ;;
  "compose exec")
    read -r line
    case $line in
      'user = "elastic:right"' | 'user = "reader:a \"b\" \\c"') printf '%s' "${STUB_STATUS:-200}" ;;
      *) printf 401 ;;
    esac ;;
esac
STUB
chmod +x "$scratch/bin/docker" "$scratch/kit/setup/preflight.sh"

doctor() { # VARIABLE=VALUE…: what it says, and how it ends
  env -u COMPOSE_PROJECT_NAME -u COMPOSE_PROFILES PATH="$scratch/bin:$PATH" HOME="$scratch" AGENT_KIT_CACHE="$scratch/cache" \
    SECRETS_DIR="$scratch/secrets" "$@" "$scratch/kit/setup/doctor.sh" 2>&1 && echo "ends with 0" || echo "ends with $?"
}

passed=0 failed=0
expect() { # WHAT GOT PATTERN
  # shellcheck disable=SC2254 # a pattern
  case $2 in
    $3) passed=$((passed + 1)) ;;
    *)
      failed=$((failed + 1))
      echo "failed: $1: got \`$2\`"
      ;;
  esac
}

expect "no engine" "$(doctor STUB_DOWN=1)" "No Docker engine answers*ends with 1"
expect "nothing runs" "$(doctor)" "*Nothing wrong was found*ends with 0"
expect "what preflight finds" "$(doctor STUB_PREFLIGHT=1)" "ends with 1"
expect "all passwords are taken" "$(doctor STUB_RUNNING=id)" "*Nothing wrong was found*ends with 0"
printf 'old' >"$scratch/secrets/reader_password"
expect "an old volume keeps an old password" "$(doctor STUB_RUNNING=id)" \
  "Elasticsearch does not take reader_password for its user reader:*ends with 1"
expect "it does not answer" "$(doctor STUB_RUNNING=id STUB_STATUS=000)" "Elasticsearch does not answer (status 000)*ends with 1"
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" = 0 ]
