#!/usr/bin/env bash
# secrets.sh: writes the secret files that are missing; never touches one that is there. secrets/README.md says what each is.
# Folder and files are closed to other users of this machine: the service `secrets` hands each container its own copies.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"

folder=$(setting SECRETS_DIR ./secrets)
if [ ! -d "$folder" ] || [ "$folder" = ./secrets ]; then
  mkdir -p "$folder"
  chmod 700 "$folder"
fi
exec sh "$here/write-secrets.sh" "$folder"
