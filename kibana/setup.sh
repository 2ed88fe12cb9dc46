#!/bin/bash
# Waits for Kibana and gives it the data views, searches and the dashboard in saved-objects.ndjson, replacing those of an
# earlier time. Safe to repeat: so it is at each start. Needs bash and curl. Exits 1 with one line that says why.
#
#   KIBANA_URL      default http://kibana:5601
#   KIBANA_USER     default elastic; may create saved objects
#   PASSWORD_FILE   that user's password, default /run/secrets/elasticsearch_password
#   JAEGER_LINK     where people open Jaeger: a line's trace id leads there, default http://localhost:16686
#   SETUP_TIMEOUT   how many seconds Kibana may take to be available, default 300
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
url=${KIBANA_URL:-http://kibana:5601}
user=${KIBANA_USER:-elastic}
password_file=${PASSWORD_FILE:-/run/secrets/elasticsearch_password}
timeout=${SETUP_TIMEOUT:-300}
link=${JAEGER_LINK:-http://localhost:16686}

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

die() {
  printf 'Kibana is not set up: %s\n' "$*" >&2
  exit 1
}

[ -s "$password_file" ] || die "$password_file is missing or empty. \`make secrets\` writes it."
password=$(cat "$password_file")

# ask CURL-ARGUMENT…: prints the status, keeps the body. The password goes in by standard input, where no list of processes
# shows it.
ask() {
  local quoted
  quoted=$(sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' <<<"$password")
  curl --silent --max-time 60 --output "$scratch/answer" --write-out '%{http_code}' --header 'kbn-xsrf: kit' \
    --config - "$@" <<<"user = \"$user:$quoted\"" || :
}

# What of a JSON answer can be told in one line.
said() { tr -s '[:cntrl:] ' ' ' <"$scratch/answer" 2>/dev/null | head -c 600; }

status=000
# 200 means that Kibana serves; one of its plugins may still say `degraded`, for minutes on a slow machine.
until status=$(ask "$url/api/status") && [ "$status" = 200 ]; do
  [ "$status" != 401 ] || die "the password in $password_file is not that of $user."
  [ $SECONDS -lt "$timeout" ] || die "$url was not available within $timeout s (last status $status). See its log."
  sleep 2
done

sed "s|http://localhost:16686|$link|g" "$here/saved-objects.ndjson" >"$scratch/saved-objects.ndjson"
wanted=$(grep -c . "$scratch/saved-objects.ndjson")
status=$(ask --form "file=@$scratch/saved-objects.ndjson" "$url/api/saved_objects/_import?overwrite=true")
# 200 also where some objects were refused: then "success" is false and "errors" says which.
if [ "$status" != 200 ] || ! grep -q '"success":true' "$scratch/answer"; then
  die "the saved objects were refused with status $status: $(said)"
fi
grep -q "\"successCount\":${wanted}[,}]" "$scratch/answer" || die "not all $wanted saved objects arrived: $(said)"

# What Discover opens with, unless somebody has chosen already.
status=$(ask --header 'content-type: application/json' --data '{"data_view_id":"agent-logs","force":false}' "$url/api/data_views/default")
[ "$status" = 200 ] || die "the default data view was refused with status $status: $(said)"

printf 'Kibana is set up: %s saved objects (%s data views, %s searches, %s charts, %s dashboard).\n' "$wanted" \
  "$(grep -c '^{"type":"index-pattern"' "$scratch/saved-objects.ndjson")" "$(grep -c '^{"type":"search"' "$scratch/saved-objects.ndjson")" \
  "$(grep -c '^{"type":"lens"' "$scratch/saved-objects.ndjson")" "$(grep -c '^{"type":"dashboard"' "$scratch/saved-objects.ndjson")"
