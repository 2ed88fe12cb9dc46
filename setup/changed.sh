#!/usr/bin/env bash
# What runs with files that were changed since: a container reads them when it starts, and Compose compares settings, not files.
# Sourced by up.sh, after lib.sh.

# files_of CONTAINER: the files and folders of ours that it has mounted, but for those that it looks at again by itself.
files_of() {
  local source
  docker inspect --format '{{range .Mounts}}{{if eq .Type "bind"}}{{println .Source}}{{end}}{{end}}' "$1" |
    while read -r source; do
      case $source in
        "$KIT_ROOT/docs/"* | "$KIT_ROOT/grafana/dashboards" | "$KIT_ROOT/prometheus/targets") ;;
        "$KIT_ROOT/"*) [ ! -e "$source" ] || printf '%s\n' "$source" ;;
      esac
    done
}

# readers_of_changed_secrets STAMP: the services that read a secret that is newer than this file.
readers_of_changed_secrets() {
  local folder file
  folder=$(setting SECRETS_DIR ./secrets)
  [ -d "$folder" ] || return 0
  find "$folder" -type f -newer "$1" | while read -r file; do
    sh "$KIT_ROOT/setup/write-secrets.sh" --readers "$(basename "$file")"
  done
}

# changed_services STAMP: the services that run and have read a file that is newer than this one.
changed_services() {
  local service id file readers
  [ -e "$1" ] || return 0
  readers=$(readers_of_changed_secrets "$1")
  docker compose ps --format '{{.Service}} {{.ID}}' | while read -r service id; do
    if grep -qx -- "$service" <<<"$readers"; then
      echo "$service"
      continue
    fi
    while read -r file; do
      if [ -n "$(find "$file" -newer "$1" -print -quit)" ]; then
        echo "$service"
        break
      fi
    done < <(files_of "$id" </dev/null)
  done
}
