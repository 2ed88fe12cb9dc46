#!/usr/bin/env bash
# backup.sh save [FOLDER]   copies all volumes of the stack, and the passwords they know, into a new folder. What keeps its data in
#                           a volume stands still meanwhile; the agent goes on serving.
# backup.sh restore FOLDER  asks (YES=1 does not), then puts them back in place of what is there, and starts the stack
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"
# It holds passwords, and what users have asked.
umask 077

what=${1:?save or restore}
folder=${2:-}
project=${COMPOSE_PROJECT_NAME:-agent-observability-kit}
secrets=$(setting SECRETS_DIR ./secrets)
use_compose
docker version >/dev/null 2>&1 || die "No Docker engine answers: make setup."
image=$(setting LOG_WATCH_IMAGE agent-kit/log-watch:dev)
docker image inspect "$image" >/dev/null 2>&1 || die "$image is not built yet: make up."

# The passwords that volumes know: with others what is restored lets nobody in.
passwords() { # FOLDER: the names of those that are in it
  local path
  for path in "$1"/*elasticsearch_password "$1"/grafana_*_password "$1/kibana_encryption_key"; do
    [ ! -f "$path" ] || basename "$path"
  done
}
# Without the copies of secrets: the service `secrets` makes them anew at each start.
volumes() { docker compose --profile '*' config --volumes | grep -v '^secrets-' | sort; }
exists() { docker volume inspect "${project}_$1" >/dev/null 2>&1; }
# What was in it, by name: data of a newer version cannot be read by an older one.
images() { docker compose --profile '*' config --images | sort -u; }

# in_volume VOLUME MODE CAPABILITY… -- COMMAND…: with nothing but the volume, and no more rights than it needs.
in_volume() {
  local volume=$1 mode=$2 rights=()
  shift 2
  while [ "$1" != -- ]; do
    rights+=(--cap-add "$1")
    shift
  done
  shift
  docker run --rm --interactive --network none --read-only --cap-drop ALL "${rights[@]}" --security-opt no-new-privileges --user 0:0 \
    --volume "${project}_$volume:/volume:$mode" --entrypoint "$1" "$image" "${@:2}"
}

stopped=
start_again() {
  # shellcheck disable=SC2086 # a list of words
  [ -z "$stopped" ] || docker start $stopped >/dev/null
  stopped=
}

# The time of the last backup, for the alert BackupOld. The Pushgateway may have been started again a moment ago.
record_backup() {
  local metric='# HELP backup_completed_timestamp_seconds When the last backup was completed, in Unix seconds.
# TYPE backup_completed_timestamp_seconds gauge'
  [ -n "$(docker compose ps --quiet --status running pushgateway 2>/dev/null)" ] || return 0
  for _ in $(seq 30); do
    docker compose exec -T pushgateway wget -q -O /dev/null --post-data="$metric
backup_completed_timestamp_seconds $(date +%s)
" http://localhost:9091/metrics/job/backup 2>/dev/null && return
    sleep 1
  done
  warn "The Pushgateway does not take the time of this backup: the alert BackupOld does not know of it."
}

save() {
  local id uses volume size status
  [ -n "$folder" ] || folder=backups/$(date -u +%Y-%m-%dT%H-%M-%SZ)
  [ ! -e "$folder" ] || die "$folder is there already: name another folder."
  mkdir -p "$folder/secrets"
  trap 'start_again; stop_children' EXIT
  for id in $(docker compose --profile '*' ps --quiet --status running); do
    uses=$(docker inspect --format '{{range .Mounts}}{{if and (eq .Type "volume") .RW}}{{.Name}} {{end}}{{end}}' "$id")
    # The agent only adds to its files: a copy of them is whole while it writes.
    case " $uses" in *" ${project}_"*) [ "$uses" = "${project}_agent-logs " ] || stopped="$stopped $id" ;; esac
  done
  # shellcheck disable=SC2086 # a list of words
  if [ -n "$stopped" ]; then
    say "Stopping what writes to its volume: $(docker inspect --format '{{index .Config.Labels "com.docker.compose.service"}}' $stopped | paste -sd ' ' -)"
    docker stop --time 60 $stopped >/dev/null
  fi
  for volume in $(volumes); do
    exists "$volume" || continue
    status=0
    in_volume "$volume" ro DAC_READ_SEARCH -- tar -C /volume --warning=no-file-changed -czf - . >"$folder/$volume.tar.gz" || status=$?
    # With 1 tar says that a file was written to meanwhile: those of the agent may be.
    case $status:$volume in
      0:* | 1:agent-logs) ;;
      *) die "$volume could not be copied into $folder." ;;
    esac
    size=$(wc -c <"$folder/$volume.tar.gz" | tr -d ' ')
    say "$volume: $size bytes"
  done
  start_again
  passwords "$secrets" | while read -r name; do cp "$secrets/$name" "$folder/secrets/"; done
  images >"$folder/images"
  (cd "$folder" && cksum ./*.tar.gz >checksums)
  record_backup
  say "Saved to $folder. It holds passwords: keep it as safe as $secrets."
}

restore() {
  local archive volume reply differ
  [ -n "$folder" ] || die "make restore FROM=<folder of make backup>"
  [ -f "$folder/checksums" ] || die "$folder is no backup: it has no checksums."
  (cd "$folder" && cksum ./*.tar.gz) | cmp -s - "$folder/checksums" || die "$folder is damaged: its files do not fit its checksums."
  differ=$(images | diff "$folder/images" - | sed -n 's/^< /  it was saved with /p' || :)
  [ -z "$differ" ] || warn "Other versions now; newer ones read what older ones wrote, but not the other way round:
$differ"
  if [ "${YES:-}" != 1 ]; then
    [ -t 0 ] || die "make restore replaces all data of the stack: say make restore FROM=$folder YES=1."
    printf 'Replace all metrics, logs, traces and dashboards of this stack by %s? [y/N] ' "$folder"
    read -r reply
    case $reply in [yY] | [yY][eE][sS]) ;; *) die "Nothing was changed." ;; esac
  fi
  docker compose --profile '*' down --remove-orphans >/dev/null 2>&1
  for archive in "$folder"/*.tar.gz; do
    volume=$(basename "$archive" .tar.gz)
    exists "$volume" || docker volume create --label "com.docker.compose.project=$project" \
      --label "com.docker.compose.volume=$volume" "${project}_$volume" >/dev/null
    in_volume "$volume" rw CHOWN DAC_OVERRIDE FOWNER -- sh -c 'find /volume -mindepth 1 -delete && tar -C /volume -xzf -' <"$archive" ||
      die "$volume could not be restored; $folder is as it was: again, once the cause is found."
    say "$volume is back"
  done
  mkdir -p "$secrets"
  passwords "$folder/secrets" | while read -r name; do
    install -m 600 "$folder/secrets/$name" "$secrets/$name"
  done
  umask 022
  exec "$here/up.sh"
}

case $what in
  save) save ;;
  restore) restore ;;
  *) die "backup.sh save [FOLDER] or backup.sh restore FOLDER" ;;
esac
