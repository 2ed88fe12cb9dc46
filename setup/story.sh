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
docker image inspect agent-kit/log-watch:dev >/dev/null 2>&1 || die "agent-kit/log-watch:dev is not built yet: make up."
# What Compose says of networks and volumes is of no interest here; what the program says is.
exec docker --log-level error compose --progress quiet run --rm --no-deps --no-TTY --quiet-pull story story "$id"
