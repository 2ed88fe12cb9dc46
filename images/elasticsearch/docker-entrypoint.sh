#!/bin/bash
# What the official image's entry point of this name does with the variables that are used here.
set -eo pipefail
umask 0002

if [ "$1" != eswrapper ]; then exec "$@"; fi
shift
# shellcheck source=/dev/null # the distribution's own: *_FILE, with its strict look at the file's mode
source /usr/share/elasticsearch/bin/elasticsearch-env-from-file
if [ -n "$ELASTIC_PASSWORD" ]; then
  elasticsearch-keystore add --force --stdin bootstrap.password <<<"$ELASTIC_PASSWORD"
fi
exec elasticsearch "$@"
