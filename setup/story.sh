#!/usr/bin/env bash
# story.sh ID: prints what is known of a request, by its id or that of its trace. Exits 1 with one line if that is nothing.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"

id=${1:-}
if [ -z "$id" ]; then
  warn "make story REQUEST=<id>: the id is in the header x-request-id of each answer, that of its trace in x-trace-id."
  exit 64
fi
docker version >/dev/null 2>&1 || die "No Docker engine is running, so nothing of the stack is: make up."
image=$(setting LOG_WATCH_IMAGE agent-kit/log-watch:dev)
docker image inspect "$image" >/dev/null 2>&1 || die "$image is not built yet: make up."
# What Compose says of networks and volumes is of no interest here; what the program says is. After one that fails Compose
# prints an empty line.
status=0
{ said=$(docker --log-level error compose --progress quiet run --rm --no-deps --no-TTY story story "$id" 2>&1 1>&3) || status=$?; } 3>&1
[ -z "$said" ] || warn "$said"
exit $status
