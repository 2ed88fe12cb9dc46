#!/bin/sh
# Starts Jaeger with the storage that there is: JAEGER_STORAGE says which, memory or elasticsearch. Unset, it is
# Elasticsearch where Compose's profile `logs` is on, or where Compose knows a container of that name (which is how
# `--profile logs` on the command line is noticed: Compose does not pass that on).
set -eu

folder=${JAEGER_CONFIG_DIR:-/etc/jaeger}
storage=${JAEGER_STORAGE:-}
if [ -z "$storage" ]; then
  case ",${COMPOSE_PROFILES:-}," in
    *,logs,* | *,\*,*) storage=elasticsearch ;;
    *) if getent hosts elasticsearch. >/dev/null; then storage=elasticsearch; else storage=memory; fi ;;
  esac
fi

case $storage in
  memory) set -- --config "$folder/config.yaml" "$@" ;;
  elasticsearch) set -- --config "$folder/config.yaml" --config "$folder/elasticsearch.yaml" "$@" ;;
  *)
    echo "JAEGER_STORAGE=$storage: it can be memory or elasticsearch." >&2
    exit 64
    ;;
esac
echo "Traces are kept in $storage."
exec /cmd/jaeger/jaeger-linux "$@"
