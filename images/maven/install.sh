#!/bin/bash
# Maven, a compiler for Java, and for both the authorities that this machine trusts.
set -euo pipefail

# Java keeps a list of authorities of its own, which Debian makes from single certificates: ours are in one file.
# (And its packages want the folder for manual pages, which the base has left out.)
mkdir -p /usr/share/man/man1
cd /usr/local/share/ca-certificates
awk '/BEGIN CERTIFICATE/ { file = "this-machine-" ++n ".crt" } file { print > file }' /etc/ssl/certs/ca-certificates.crt
update-ca-certificates
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends maven openjdk-21-jdk-headless
