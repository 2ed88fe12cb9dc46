#!/bin/bash
# Starts Kibana with its secrets out of files. (The image has no _FILE variables, and what it takes from ELASTICSEARCH_PASSWORD it
# puts on its command line, where every list of processes shows it.)
set -euo pipefail

secrets=${SECRETS:-/run/secrets}
read_secret() { # NAME MIN-LENGTH
  local value
  value=$(cat "$secrets/$1" 2>/dev/null) || :
  if [ "${#value}" -lt "$2" ]; then
    echo "kibana: $secrets/$1 must hold at least $2 characters: \`make secrets\` writes it where it is missing." >&2
    exit 64
  fi
  printf '%s' "$value"
}

KIBANA_ES_PASSWORD=$(read_secret kibana_elasticsearch_password 6)
KIBANA_ENCRYPTION_KEY=$(read_secret kibana_encryption_key 32)
export KIBANA_ES_PASSWORD KIBANA_ENCRYPTION_KEY
exec "${KIBANA_START:-/usr/local/bin/kibana-docker}" "$@"
