#!/usr/bin/env bash
# evaluate.sh [FLAG…]: asks the agent that `make up` started questions with known answers, prints the wrong ones, and pushes the share of
# right ones to the Pushgateway; the flags are those of `example-agent evaluate`.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"

docker version >/dev/null 2>&1 || die "No Docker engine is running, so nothing of the stack is: make up."
# --no-TTY: cron has none.
exec docker compose exec --no-TTY example-agent example-agent evaluate --pushgateway-url http://pushgateway:9091 "$@"
