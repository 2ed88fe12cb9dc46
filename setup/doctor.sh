#!/usr/bin/env bash
# doctor.sh: what is wrong here and what to do about it, a line each: what preflight.sh finds, and passwords that a running
# Elasticsearch does not take. Changes nothing. Exits 1 if it found something.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"

docker version >/dev/null 2>&1 || die "No Docker engine answers: \`make setup\` says why, or starts one."

problems=0
"$here/preflight.sh" || problems=1

# status_of USER SECRET: what Elasticsearch says to it, 000 where it does not answer. The password goes in by standard input,
# where no list of processes shows it.
status_of() {
  local password
  password=$(sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' "$(setting SECRETS_DIR ./secrets)/$2")
  docker compose exec --no-TTY elasticsearch curl --silent --max-time 10 --output /dev/null --write-out '%{http_code}' \
    --config - http://127.0.0.1:9200/_security/_authenticate <<<"user = \"$1:$password\"" || :
}

# An old volume keeps old passwords: those that were changed inside Elasticsearch, or in a file that it has not read since.
check_passwords() {
  local user secret status
  while read -r user _ secret; do
    status=$(status_of "$user" "$secret")
    case $status in
      200) ;;
      401)
        warn "Elasticsearch does not take $secret for its user $user: \`make down up\` gives it the file's, or see \"Passwords\" in elasticsearch/README.md."
        problems=1
        ;;
      *)
        warn "Elasticsearch does not answer (status $status): make logs SERVICE=elasticsearch"
        problems=1
        return
        ;;
    esac
  done < <(echo "elastic superuser elasticsearch_password"; grep -v '^#' elasticsearch/users)
}
if [ -n "$(docker compose ps --quiet --status running elasticsearch 2>/dev/null)" ]; then check_passwords; fi

if [ $problems = 0 ]; then say "Nothing wrong was found"; fi
exit $problems
