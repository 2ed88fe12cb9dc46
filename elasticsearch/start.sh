#!/bin/bash
# Starts Elasticsearch as its image does, on a read-only image and with the password out of a file.
#
# The configuration is a copy in memory, made anew at each start: the image's own with ours on top, and a keystore with
# the password that the file holds now. (The image has ELASTIC_PASSWORD_FILE for that; it refuses files that others may
# read, and the file of a Compose secret has to be one.)
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
secret=${PASSWORD_FILE:-/run/secrets/elasticsearch_password}
image_config=/usr/share/elasticsearch/config
export ES_PATH_CONF=${ES_PATH_CONF:-/tmp/elasticsearch}

if [ ! -s "$secret" ]; then
  echo "There is no password for the user elastic in $secret: write one, of six characters at least." >&2
  exit 64
fi
rm -rf "$ES_PATH_CONF"
cp -R "$image_config" "$ES_PATH_CONF"
chmod -R u+w "$ES_PATH_CONF"
cp "$here/elasticsearch.yml" "$ES_PATH_CONF/elasticsearch.yml"
cp "$here/jvm.options" "$ES_PATH_CONF/jvm.options.d/kit.options"

ELASTIC_PASSWORD=$(cat "$secret")
export ELASTIC_PASSWORD
exec /bin/tini -- /usr/local/bin/docker-entrypoint.sh eswrapper
