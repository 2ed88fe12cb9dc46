#!/usr/bin/env bash
# down.sh           stops and removes the containers; data stays in the volumes
# down.sh --volumes asks (YES=1 does not), then removes the volumes too
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"

docker version >/dev/null 2>&1 || { say "No Docker engine is running, so nothing of the stack is."; exit; }

if [ "${1:-}" = --volumes ] && [ "${YES:-}" != 1 ]; then
  [ -t 0 ] || die "make reset removes all metrics, logs, traces and dashboards of the stack: say make reset YES=1."
  printf 'Remove all metrics, logs, traces and dashboards of this stack? [y/N] '
  read -r reply
  case $reply in [yY] | [yY][eE][sS]) ;; *) die "Nothing was removed." ;; esac
fi
# Every profile, so that parts which were enabled once and no longer are go too.
exec docker compose --profile '*' down --remove-orphans "$@"
