#!/usr/bin/env bash
# secrets.sh: writes the secret files that are missing; never touches one that is there. secrets/README.md says what each is.
# The folder is closed to other users of this machine. The files in it are readable by all, because containers run
# under user ids of their own and Compose mounts each file with the mode it has here.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"

folder=$(setting SECRETS_DIR ./secrets)
if [ ! -d "$folder" ] || [ "$folder" = ./secrets ]; then
  mkdir -p "$folder"
  chmod 700 "$folder"
fi

# Without a newline at the end: some readers would take it as part of the value.
secret() { # NAME DEFAULT
  [ -e "$folder/$1" ] && return
  (umask 022 && printf '%s' "$2" >"$folder/$1")
  say "Wrote $folder/$1"
}
random() { head -c 512 /dev/urandom | LC_ALL=C tr -dc 'A-Za-z0-9' | cut -c 1-32; }

secret grafana_admin_password admin
secret slack_webhook_url http://simulators-slack:8082/services/T00000000/B00000000/simulated
secret smtp_password ''
secret llm_api_key ''
secret pagerduty_routing_key ''
secret webhook_url ''
secret deadman_url ''
# Users of Elasticsearch: nobody has to know these, so they are nobody's default.
for user in elasticsearch logstash_elasticsearch grafana_elasticsearch jaeger_elasticsearch metrics_elasticsearch log_watch_elasticsearch kibana_elasticsearch; do
  secret "${user}_password" "$(random)"
done
secret grafana_audit_password "$(random)"
secret kibana_encryption_key "$(random)"
