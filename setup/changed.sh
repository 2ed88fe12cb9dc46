#!/usr/bin/env bash
# What runs with files that were changed since: a container reads them when it starts, and Compose compares settings, not files.
# Sourced by up.sh, after lib.sh.

# files_of CONTAINER: the files and folders of ours that it has mounted, but for those that it looks at again by itself.
files_of() {
  local source secrets
  secrets=$(cd "$KIT_ROOT" && cd "$(setting SECRETS_DIR ./secrets)" && pwd)
  docker inspect --format '{{range .Mounts}}{{if eq .Type "bind"}}{{println .Source}}{{end}}{{end}}' "$1" |
    while read -r source; do
      case $source in
        "$KIT_ROOT/docs/"* | "$KIT_ROOT/grafana/dashboards" | "$KIT_STATE/targets/"*) ;;
        "$KIT_ROOT/"* | "$secrets/"*) [ ! -e "$source" ] || printf '%s\n' "$source" ;;
      esac
    done
}

# changed_services STAMP: the services that run and have a file that is newer than this one.
changed_services() {
  local service id file
  [ -e "$1" ] || return 0
  docker compose ps --format '{{.Service}} {{.ID}}' | while read -r service id; do
    while read -r file; do
      if [ -n "$(find "$file" -newer "$1" -print -quit)" ]; then
        echo "$service"
        break
      fi
    done < <(files_of "$id" </dev/null)
  done
}
