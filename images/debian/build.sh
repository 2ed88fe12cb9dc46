#!/usr/bin/env bash
# build.sh runtime|build SUITE [MIRROR]: a small Debian as a tar stream on stdout. `runtime` stands in for debian:*-slim under the
# kit's own programs: the same packages, and so no certificates. `build` is what the other images here are made in: with a static
# busybox, time zones, and the authorities that this machine trusts. Needs mmdebstrap and root.
set -euo pipefail
kind=$1
suite=$2
mirror=${3:-}

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# How this machine's apt reaches its mirror (a proxy, a frozen snapshot whose dates have passed) holds inside too.
apt-config dump --no-empty Acquire | grep -E '::(Proxy|Check-Valid-Until)( |::)' >"$scratch/apt.conf" || :

# So do the authorities this machine trusts: builds inside reach their registries through the same gateways.
authorities=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}
hooks=() packages=()
if [ "$kind" = runtime ]; then
  # /bin is a link, as there; with the package that makes it one in bookworm, all of Perl would come along.
  if [ "$suite" = bookworm ]; then hooks=(--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr); fi
else
  packages=("--include=ca-certificates,busybox-static,tzdata")
fi
if [ "$kind" = build ] && [ -s "$authorities" ]; then
  cp "$authorities" "$scratch/ca-certificates.crt"
  hooks=("--customize-hook=copy-in $scratch/ca-certificates.crt /etc/ssl/certs")
fi

mmdebstrap --quiet --variant=minbase ${packages[@]+"${packages[@]}"} \
  --aptopt="$scratch/apt.conf" --aptopt='Acquire::Retries "3"' \
  --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
  ${hooks[@]+"${hooks[@]}"} "$suite" - ${mirror:+"$mirror"}
