#!/bin/sh
# Starts Prometheus with the targets of the parts that run here. A part that is left out on purpose (its profile is off, or its
# image cannot be had) must not look like one that is down. Needs busybox.
#
#   COMPOSE_PROFILES   the profiles that are on, separated by commas; `*` is all of them
#   ABSENT_SERVICES    services that run nowhere, separated by commas; `make setup` names them where an image cannot be had
#
# targets/NAME.yml says where the service NAME is. A first line `# Profile: logs` says that it runs with that profile only.
set -eu

from=${TARGETS_FROM:-/etc/prometheus-kit/targets}
to=${TARGETS_TO:-/etc/prometheus/targets}

rm -f "$to"/*.yml
for file in "$from"/*.yml; do
  [ -e "$file" ] || continue
  name=${file##*/}
  case ",${ABSENT_SERVICES:-}," in *",${name%.yml},"*) continue ;; esac
  profile=$(sed -n '1s/^# Profile: *//p' "$file")
  case ",${COMPOSE_PROFILES:-}," in
    *,\*,* | *",$profile,"*) ;;
    *) [ -z "$profile" ] || continue ;;
  esac
  # A link: Prometheus reads the file itself again, every `refresh_interval` of prometheus.yml.
  ln -s "$file" "$to/$name"
done
exec /bin/prometheus "$@"
