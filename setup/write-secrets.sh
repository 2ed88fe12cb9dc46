#!/bin/sh
# Writes the secret files that a folder lacks, and hands each service a copy of those that it reads.
#
#   write-secrets.sh FOLDER            writes what is missing in FOLDER; never touches a file that is there
#   write-secrets.sh FOLDER HANDOUT    the same, then copies to HANDOUT/<service> what that service reads
#   write-secrets.sh --readers NAME    prints the services that read the secret NAME
#
# Runs on the host (`make secrets`) and in the one-shot service `secrets` of docker-compose.yml, so it is POSIX sh and needs
# no more than busybox has. secrets/README.md says what each file is. Exit code 64: a file or folder to be mended by hand.
set -eu

# Services, the user id that their container runs as, and the secrets that each of them reads.
readers='
example-agent           10001  llm_api_key
alertmanager            65534  slack_webhook_url smtp_password pagerduty_routing_key webhook_url deadman_url
jaeger                  10001  jaeger_elasticsearch_password
grafana                 472    grafana_admin_password grafana_elasticsearch_password grafana_audit_password
elasticsearch           1000   elasticsearch_password
elasticsearch-setup     1000   elasticsearch_password logstash_elasticsearch_password grafana_elasticsearch_password grafana_audit_password jaeger_elasticsearch_password metrics_elasticsearch_password log_watch_elasticsearch_password kibana_elasticsearch_password
logstash                1000   logstash_elasticsearch_password logstash_audit_senders
kibana                  1000   kibana_elasticsearch_password kibana_encryption_key
kibana-setup            1000   elasticsearch_password
elasticsearch-exporter  65534  metrics_elasticsearch_password
log-watch               10001  log_watch_elasticsearch_password
story                   10001  grafana_elasticsearch_password
'

fail() {
  echo "secrets: $*" >&2
  exit 64
}

if [ "$1" = --readers ]; then
  echo "$readers" | while read -r service _ names; do
    case " $names " in *" $2 "*) echo "$service" ;; esac
  done
  exit
fi

folder=$1
handout=${2:-}
owner=$(stat -c %u:%g "$folder" 2>/dev/null || stat -f %u:%g "$folder") || fail "$folder is not a folder that can be read"

random() { head -c 512 /dev/urandom | LC_ALL=C tr -dc 'A-Za-z0-9' | cut -c 1-32; }

# secret NAME DEFAULT: without a newline at the end, which some readers would take as part of the value.
secret() {
  if [ -d "$folder/$1" ]; then
    # Compose before 2.29.7 makes an empty folder where a file to be mounted is missing.
    rmdir "$folder/$1" 2>/dev/null ||
      fail "$folder/$1 is a folder, made by an earlier docker compose in the place of a secret file: remove it, then start again"
    echo "secrets: removed the empty folder $1, which an earlier docker compose made in the place of a secret file"
  fi
  [ ! -e "$folder/$1" ] || return 0
  (umask 077 && printf '%s' "$2" >"$folder/$1") ||
    fail "cannot write $folder/$1: run \`make secrets\` on the host first (with SELinux also: chcon -Rt container_file_t secrets)"
  # In a container this is root; the file belongs to the owner of the folder, who edits it.
  chown "$owner" "$folder/$1" 2>/dev/null || :
  echo "secrets: wrote $1"
}

secret slack_webhook_url http://simulators-slack:8082/services/T00000000/B00000000/simulated
for name in smtp_password llm_api_key pagerduty_routing_key webhook_url deadman_url logstash_audit_senders; do secret "$name" ''; done
for user in elasticsearch logstash_elasticsearch grafana_elasticsearch jaeger_elasticsearch metrics_elasticsearch \
  log_watch_elasticsearch kibana_elasticsearch grafana_audit grafana_admin; do
  secret "${user}_password" "$(random)"
done
secret kibana_encryption_key "$(random)"

[ -n "$handout" ] || exit 0

# value NAME: without what editors add: a byte order mark, carriage returns, the newline at the end.
value() {
  [ -r "$folder/$1" ] || fail "cannot read $1: its owner must let root of the container read it (chmod 644 secrets/$1)"
  from=1
  case $(head -c 3 "$folder/$1" | od -An -tx1 | tr -d ' \n') in
    fffe* | feff*) fail "$1 is in UTF-16: save it as UTF-8" ;;
    efbbbf) from=4 ;;
  esac
  tail -c +"$from" "$folder/$1" | tr -d '\r'
}

echo "$readers" | while read -r service user names; do
  # A volume for each service that is part of this project.
  if [ -z "$service" ] || [ ! -d "$handout/$service" ]; then continue; fi
  for name in $names; do
    # The last newline goes with the command substitution.
    text=$(value "$name") || exit 64
    to=$handout/$service/$name
    if [ -e "$to" ] && [ "$(cat "$to")" = "$text" ]; then continue; fi
    # Never half a secret: the new file takes the place of the old one.
    (umask 077 && printf '%s' "$text" >"$to.new")
    chown "$user" "$to.new"
    mv "$to.new" "$to"
  done
done
echo "secrets: each service has its copies"
