#!/usr/bin/env bash
# inventory.sh: prints what the running stack is made of: the state and health of each service, and the digest of each image. Exits 1
# where a service does not run, is not healthy, or has ended with an error.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"

services=$(docker compose ps --all --format '{{.Service}}|{{.State}}|{{or .Health "-"}}|{{.ExitCode}}|{{.Image}}' | sort)
[ -n "$services" ] || die "Nothing of this stack runs: make up."
echo "Services"
awk -F '|' '{ printf "  %-24s %-8s %-10s %s\n", $1, $2, $3, $5 }' <<<"$services"
echo "Images"
cut -d '|' -f 5 <<<"$services" | sort -u | while read -r image; do
  # Built here, an image is in no registry, and has an id alone.
  docker image inspect --format "  $image {{if .RepoDigests}}{{index .RepoDigests 0}}{{else}}{{.Id}}{{end}}" "$image"
done
awk -F '|' '$2 == "exited" && $4 == 0 { next } $2 != "running" || $3 == "unhealthy" || $3 == "starting" { bad = 1; print "not well: " $1 }
  END { exit bad }' <<<"$services"
