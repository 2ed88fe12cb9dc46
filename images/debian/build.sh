#!/usr/bin/env bash
# build.sh SUITE [MIRROR]: a small Debian as a tar stream on stdout: minbase with CA certificates and a static busybox.
# Stands in for debian:*-slim under the kit's own programs, and is what every other image here is made from.
# Needs mmdebstrap and root.
set -euo pipefail
suite=$1
mirror=${2:-}

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# How this machine's apt reaches its mirror (a proxy, a frozen snapshot whose dates have passed) holds inside too.
apt-config dump --no-empty Acquire | grep -E '::(Proxy|Check-Valid-Until)( |::)' >"$scratch/apt.conf" || :

# So do the authorities this machine trusts: builds inside reach their registries through the same gateways.
authorities=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}
hooks=()
if [ -s "$authorities" ]; then
  cp "$authorities" "$scratch/ca-certificates.crt"
  hooks=("--customize-hook=copy-in $scratch/ca-certificates.crt /etc/ssl/certs")
fi

mmdebstrap --quiet --variant=minbase --include=ca-certificates,busybox-static \
  --aptopt="$scratch/apt.conf" --aptopt='Acquire::Retries "3"' \
  --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
  ${hooks[@]+"${hooks[@]}"} "$suite" - ${mirror:+"$mirror"}
