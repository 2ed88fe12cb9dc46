#!/usr/bin/env bash
# start.sh: which targets it picks. It goes on with the image's program, which is not here: exit code 127 says that it got that far.
set -euo pipefail
cd "$(dirname "$0")/.."

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/from" "$scratch/to"
echo "- targets: [own:1]" >"$scratch/from/own.yml"
echo "- targets: [grafana:3000]" >"$scratch/from/grafana.yml"
printf '# Profile: logs\n- targets: [log-watch:9598]\n' >"$scratch/from/log-watch.yml"
printf '# Profile: infra\n- targets: [node-exporter:9100]\n' >"$scratch/from/node-exporter.yml"

passed=0 failed=0
expect() { # WHAT GOT WANTED
  if [ "$2" = "$3" ]; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    echo "failed: $1: got \`$2\`, wanted \`$3\`"
  fi
}

# picked NAME=VALUE…: the names of the target files, and the exit code.
picked() {
  local code=0
  env -u COMPOSE_PROFILES -u ABSENT_SERVICES TARGETS_FROM="$scratch/from" TARGETS_TO="$scratch/to" "$@" sh start.sh 2>/dev/null || code=$?
  (cd "$scratch/to" && printf '%s ' *.yml)
  printf '%s' "$code"
}

expect "no profile" "$(picked)" "grafana.yml own.yml 127"
expect "one profile" "$(picked COMPOSE_PROFILES=infra)" "grafana.yml node-exporter.yml own.yml 127"
expect "both profiles" "$(picked COMPOSE_PROFILES=infra,logs)" "grafana.yml log-watch.yml node-exporter.yml own.yml 127"
expect "all profiles" "$(picked COMPOSE_PROFILES='*')" "grafana.yml log-watch.yml node-exporter.yml own.yml 127"
expect "a profile whose name begins alike" "$(picked COMPOSE_PROFILES=logstash)" "grafana.yml own.yml 127"
expect "an image that cannot be had" "$(picked COMPOSE_PROFILES=logs ABSENT_SERVICES=kibana,grafana)" "log-watch.yml own.yml 127"
expect "a target is the file itself, so that a change is seen" "$(readlink "$scratch/to/own.yml")" "$scratch/from/own.yml"

# The kit's own targets: those of optional services name the profile of docker-compose.yml.
for file in targets/*.yml; do
  service=$(basename "$file" .yml)
  [ -f ../docker-compose.yml ] || break
  profile=$(awk -v service="  $service:" '$0 == service { inside = 1; next } /^  [a-z]/ { inside = 0 } inside && $1 == "profiles:" { gsub(/[][]/, ""); print $2 }' ../docker-compose.yml)
  expect "the profile of $service" "$(sed -n '1s/^# Profile: *//p' "$file")" "$profile"
done
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" = 0 ]
