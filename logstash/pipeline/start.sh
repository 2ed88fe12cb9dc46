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

# Who may send audit events over the network. A short key could be guessed, and of two names with one key only one would be written.
senders=${LOGSTASH_AUDIT_SENDERS_FILE:-/run/secrets/logstash_audit_senders}
if [ -e "$senders" ]; then
  wrong=$(awk '/^[[:space:]]*(#|$)/ { next }
    NF != 2 { print "line " NR " is not a name and a key"; exit }
    length($2) < 24 { print "the key of " $1 " (line " NR ") is shorter than 24 characters"; exit }
    seen[$2]++ { print "the key of " $1 " (line " NR ") is that of another sender too"; exit }' "$senders") ||
    wrong="it cannot be read"
  if [ -n "$wrong" ]; then
    echo "logstash: $senders: $wrong" >&2
    exit 64
  fi
fi
exec "${LOGSTASH_ENTRYPOINT:-/usr/local/bin/docker-entrypoint}" "$@"
