#!/bin/sh
# Starts elasticsearch-exporter with its password out of a file: it takes one from its environment only.
set -eu

file=${PASSWORD_FILE:-/run/secrets/metrics_elasticsearch_password}
if [ ! -s "$file" ]; then
  echo "elasticsearch-exporter: there is no password for the user log_metrics in $file: \`make secrets\` writes it." >&2
  exit 64
fi
ES_USERNAME=${ELASTICSEARCH_USER:-log_metrics}
ES_PASSWORD=$(cat "$file")
export ES_USERNAME ES_PASSWORD
exec /bin/elasticsearch_exporter --es.uri="${ELASTICSEARCH_URL:-http://elasticsearch:9200}" --es.all --collector.clustersettings "$@"
