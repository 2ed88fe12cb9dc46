#!/bin/bash
# Makes the certificate by which the nodes of a cluster know one another, once, in Elasticsearch's image. Its authority is of its own
# (a certificate that signs itself is trusted by none) and is forgotten with this container.
set -euo pipefail

out=${CERTIFICATE:-/usr/share/elasticsearch/data/certificate.p12}
if [ -s "$out" ]; then
  echo "The nodes' certificate is there."
  exit
fi
# Ten years: the default of three ends the cluster at a date that nobody remembers.
elasticsearch-certutil ca --silent --days 3650 --pass "" --out /tmp/authority.p12
elasticsearch-certutil cert --silent --days 3650 --ca /tmp/authority.p12 --ca-pass "" --pass "" --out /tmp/certificate.p12
# Whole or not at all.
cp /tmp/certificate.p12 "$out.new"
mv "$out.new" "$out"
echo "Made the nodes' certificate."
