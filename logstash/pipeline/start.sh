#!/bin/bash
# Starts Logstash with the password of its user from a file: here, not in the environment of the container, which everybody
# sees who may inspect it. (The image has no `_FILE` variables of its own.)
set -euo pipefail

file=${LOGSTASH_ELASTICSEARCH_PASSWORD_FILE:-/run/secrets/logstash_elasticsearch_password}
if ! LOGSTASH_ELASTICSEARCH_PASSWORD=$(cat "$file") || [ -z "$LOGSTASH_ELASTICSEARCH_PASSWORD" ]; then
  echo "logstash: there is no password in $file: write it there, or name another file in LOGSTASH_ELASTICSEARCH_PASSWORD_FILE" >&2
  exit 64
fi
export LOGSTASH_ELASTICSEARCH_PASSWORD
exec "${LOGSTASH_ENTRYPOINT:-/usr/local/bin/docker-entrypoint}" "$@"
