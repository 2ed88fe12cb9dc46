#!/bin/bash
# Puts into Elasticsearch what the folders beside it hold (policies, components, templates, roles) and the users in
# `users`, and says of each whether it made it, changed it or found it as it was. Safe to repeat: so it is at each start.
# Needs bash, sed and curl. Exits 1 with one line that says why and what to do.
#
#   ELASTICSEARCH_URL   default http://elasticsearch:9200
#   SECRETS             the folder with the passwords, default /run/secrets
#   SETUP_TIMEOUT       how many seconds Elasticsearch may take to be well, default 300
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
url=${ELASTICSEARCH_URL:-http://elasticsearch:9200}
secrets=${SECRETS:-/run/secrets}
timeout=${SETUP_TIMEOUT:-300}

answer=$(mktemp)
# What is sent, where it has a password in it: what a command is given, everybody on the machine can read.
sent=$(mktemp)
trap 'rm -f "$answer" "$sent"' EXIT

die() {
  printf 'Elasticsearch is not set up: %s\n' "$*" >&2
  exit 1
}

secret() { # NAME
  [ -s "$secrets/$1" ] || die "$secrets/$1 is missing or empty. \`make secrets\` writes it."
  cat "$secrets/$1"
}

quoted() { sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' <<<"$1"; }

# ask USER PASSWORD CURL-ARGUMENT…: prints the status, keeps the body in $answer. The password goes in by standard
# input, where no list of processes shows it. Asks again where Elasticsearch says that it cannot answer yet: a node may be well
# before the index of its users is.
ask() {
  local user=$1 password=$2 status
  shift 2
  while
    status=$(curl --silent --max-time 30 --output "$answer" --write-out '%{http_code}' --header 'Content-Type: application/json' \
      --config - "$@" <<<"user = \"$user:$(quoted "$password")\"") || :
    [ "$status" = 503 ] && [ $SECONDS -lt "$timeout" ]
  do sleep 1; done
  printf '%s' "$status"
}

as_elastic() { # METHOD PATH [BODY]
  if [ $# = 3 ]; then
    ask elastic "$elastic_password" --request "$1" "$url$2" --data-binary "$3"
  else
    ask elastic "$elastic_password" --request "$1" "$url$2"
  fi
}

wait_until_well() {
  local status refused=0
  until status=$(as_elastic GET '/_cluster/health?wait_for_status=yellow&timeout=5s'); [ "$status" = 200 ]; do
    # Not at once: for a moment after its start a node knows no users yet.
    if [ "$status" = 401 ]; then refused=$((refused + 1)); else refused=0; fi
    if [ $refused = 5 ]; then
      die "the password in secrets/elasticsearch_password is not that of its user elastic. It was changed inside" \
        "Elasticsearch, whose data volume keeps it: see \"Passwords\" in elasticsearch/README.md."
    fi
    [ $SECONDS -lt "$timeout" ] || die "$url was not well within $timeout s (last status $status). See its log."
    sleep 1
  done
}

made=0 changed=0 kept=0
tell() { # WHAT NAME made|changed|kept
  case $3 in
    made) made=$((made + 1)) ;;
    changed) changed=$((changed + 1)) ;;
    kept) kept=$((kept + 1)) ;;
  esac
  printf '%-9s %s %s\n' "${3/kept/as it was}" "$1" "$2"
}

must() { # WHAT METHOD PATH BODY
  local what=$1 status
  shift
  status=$(as_elastic "$@")
  case $status in 2??) ;; *) die "$what was refused with status $status: $(head -c 600 "$answer")" ;; esac
}

# Without what changes by itself, and without its order, which differs from node to node of a cluster.
now() { # PATH
  local status
  status=$(as_elastic GET "$1?filter_path=-**.version,-**.modified_date*,-**.created_date*,-**.in_use_by")
  case $status in 200) tr '{},' '\n' <"$answer" | sort ;; 404) ;; *) die "$1 cannot be read, status $status: $(head -c 600 "$answer")" ;; esac
}

# put WHAT PATH FILE…: what Elasticsearch gives out before and after tells whether the file has changed anything.
put() {
  local what=$1 path=$2 file name before after
  shift 2
  for file in "$@"; do
    name=$(basename "$file" .json)
    before=$(now "$path/$name")
    must "$what $name" PUT "$path/$name" "@$file"
    after=$(now "$path/$name")
    if [ -z "$before" ]; then
      tell "$what" "$name" made
    elif [ "$before" != "$after" ]; then
      tell "$what" "$name" changed
    else
      tell "$what" "$name" kept
    fi
  done
}

put_user() { # NAME ROLE SECRET
  local name=$1 role=$2 password before
  password=$(secret "$3")
  before=$(now "/_security/user/$name")
  if [ "$(ask "$name" "$password" "$url/_security/_authenticate")" = 200 ] &&
    { [ "$role" = built-in ] || grep -qF "\"roles\":[\"$role\"]" "$answer"; }; then
    tell user "$name" kept
    return
  fi
  if [ "$role" = built-in ]; then
    printf '{"password":"%s"}' "$(quoted "$password")" >"$sent"
    must "the password of $name" POST "/_security/user/$name/_password" "@$sent"
  else
    printf '{"password":"%s","roles":["%s"]}' "$(quoted "$password")" "$role" >"$sent"
    must "user $name" PUT "/_security/user/$name" "@$sent"
  fi
  if [ -z "$before" ]; then tell user "$name" made; else tell user "$name" changed; fi
}

elastic_password=$(secret elasticsearch_password)
# Whoever takes a part of the files away may have left a folder empty.
shopt -s nullglob
wait_until_well
put policy /_ilm/policy "$here"/policies/*.json
put component /_component_template "$here"/components/*.json
put template /_index_template "$here"/templates/*.json
put role /_security/role "$here"/roles/*.json
while read -r name role secret; do
  case $name in '' | '#'*) ;; *) put_user "$name" "$role" "$secret" ;; esac
done <"$here/users"
printf 'Elasticsearch is set up: %d made, %d changed, %d as they were.\n' $made $changed $kept
