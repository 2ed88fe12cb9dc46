#!/usr/bin/env bash
# release.sh names TAG    prints the variables that give the kit's own images their names in this repository's registry
# release.sh images TAG   prints those names alone
# release.sh services     prints a service of docker-compose.yml for each of them
# Used by .github/workflows/release.yml, which sets GITHUB_REPOSITORY to owner/name.
set -euo pipefail
cd "$(dirname "$0")/.."

# VARIABLE SERVICE NAME: Compose's own defaults are agent-kit/NAME:dev.
own() {
  awk '/^  [^ ].*:$/ { service = $1; sub(/:$/, "", service) }
    match($0, /\$\{[A-Z_]+_IMAGE:-agent-kit\/[a-z-]+:dev\}/) {
      split(substr($0, RSTART + 2, RLENGTH - 3), parts, /:-agent-kit\/|:/)
      print parts[1], service, parts[2]
    }' docker-compose.yml
}
registry() { printf 'ghcr.io/%s' "${GITHUB_REPOSITORY:?owner/name}" | tr '[:upper:]' '[:lower:]'; }

case ${1:-} in
  names) own | while read -r variable _ name; do echo "export $variable=$(registry)/$name:${2:?a tag}"; done ;;
  images) own | while read -r _ _ name; do echo "$(registry)/$name:${2:?a tag}"; done ;;
  services) own | awk '{ print $2 }' ;;
  *)
    echo "release.sh names TAG, images TAG or services" >&2
    exit 64
    ;;
esac
