#!/usr/bin/env bash
# write-secrets.sh: what it writes, what it leaves alone, and what it hands out.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
secrets=$scratch/secrets handout=$scratch/handout
mkdir -p "$secrets" "$handout/grafana" "$handout/example-agent" "$handout/alertmanager" "$scratch/bin"
# Only root may give files away.
printf '#!/bin/sh\n' >"$scratch/bin/chown"
chmod +x "$scratch/bin/chown"

# shellcheck source=expect.sh
. "$here/expect.sh"

write() { # ARGUMENT…: what it says, and its exit code
  local code=0
  PATH="$scratch/bin:$PATH" sh "$here/../write-secrets.sh" "$@" 2>&1 || code=$?
  printf '%s' "$code"
}

printf 'mine' >"$secrets/slack_webhook_url"
mkdir "$secrets/smtp_password"
printf '\357\273\277sk-key\r\n' >"$secrets/llm_api_key"
expect "a first start" "$(write "$secrets" "$handout")" "*removed the empty folder smtp_password*wrote grafana_admin_password*0"
expect "what was there stays" "$(cat "$secrets/slack_webhook_url")" mine
expect "a password is random and 32 characters long" "$(grep -cE '^[A-Za-z0-9]{32}$' "$secrets/grafana_admin_password")" 1
expect "two passwords differ" "$(cmp -s "$secrets/grafana_admin_password" "$secrets/elasticsearch_password" || echo differ)" differ
expect "files are closed to others" "$(find "$secrets" "$handout" -type f -perm -004 ! -name slack_webhook_url ! -name llm_api_key)" ""
expect "each service has what it reads" "$(cd "$handout" && printf '%s ' */*)" \
  "alertmanager/deadman_url alertmanager/pagerduty_routing_key alertmanager/slack_webhook_url alertmanager/smtp_password alertmanager/webhook_url example-agent/llm_api_key grafana/grafana_admin_password grafana/grafana_audit_password grafana/grafana_elasticsearch_password "
expect "without what an editor added" "$(od -An -c "$handout/example-agent/llm_api_key" | tr -d ' \n')" sk-key
expect "a second start changes nothing" "$(write "$secrets" "$handout")" "secrets: each service has its copies
0"
printf 'yours\n' >"$secrets/slack_webhook_url"
expect "a changed secret" "$(write "$secrets" "$handout")" "*0"
expect "is handed out" "$(cat "$handout/alertmanager/slack_webhook_url")" yours
mkdir -p "$scratch/broken/llm_api_key/x"
expect "a folder that is not empty in the place of a file" "$(write "$scratch/broken")" "*llm_api_key is a folder*64"
printf '\377\376k\000' >"$secrets/llm_api_key"
expect "UTF-16" "$(write "$secrets" "$handout")" "*llm_api_key is in UTF-16: save it as UTF-8*64"
expect "who reads a secret" "$(write --readers elasticsearch_password | tr '\n' ' ')" "elasticsearch elasticsearch-setup kibana-setup 0"

# docker-compose.yml and the script agree: a volume for each reader, mounted where the script puts its copies.
compose=$here/../../docker-compose.yml
readers=$(sed -n "/^readers='/,/^'/p" "$here/../write-secrets.sh" | awk 'NF > 2 { print $1 }' | sort)
expect "each reader has a volume" "$(sed -n 's/^      - secrets-\(.*\):\/handout\/\1$/\1/p' "$compose" | sort)" "$readers"
expect "and mounts it" "$(sed -n 's/.*[" -]secrets-\([a-z-]*\):\/run\/secrets:ro.*/\1/p' "$compose" | sort)" "$readers"
while read -r service user; do
  expect "the user of $service" "$(awk -v service="  $service:" '$0 == service { inside = 1; next } /^  [a-z]/ { inside = 0 } inside && $1 == "user:" { gsub(/"/, ""); split($2, id, ":"); print id[1] }' "$compose")" "$user"
done < <(sed -n "/^readers='/,/^'/p" "$here/../write-secrets.sh" | awk 'NF > 2 && $1 !~ /^(example-agent|log-watch|story)$/ { print $1, $2 }')
expect "the user of the kit's own images" "$(sed -n 's/^USER \([0-9]*\):.*/\1/p' "$here/../../Dockerfile" | sort -u)" 10001
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" = 0 ]
