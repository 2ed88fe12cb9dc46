#!/usr/bin/env bash
# panels.sh […]: asks every query of every dashboard and prints what came back, from the stack that `make up` started: through
# Grafana where it runs. What follows is for the program: panels.sh --last 1h --after-drills
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"
# shellcheck source=kit.sh
. "$here/kit.sh"

# with_sources …: sets `arguments` to these, and to where the data is asked for.
arguments=()
with_sources() {
  arguments=("$@")
  STACK_GRAFANA_PASSWORD=${STACK_GRAFANA_PASSWORD:-$(cat "$STACK_SECRETS_DIR/grafana_admin_password" 2>/dev/null || true)}
  export STACK_GRAFANA_PASSWORD
  # Without a Logstash nothing else brings lines.
  if missing logstash && ! missing elasticsearch; then arguments+=(--load-lines); fi
  if ! missing grafana; then arguments+=(--grafana); fi
}
missing() { grep -q "^$1$(printf '\t')" <<<"$STACK_MISSING"; }

if is_native; then
  # shellcheck source=stack.sh
  . "$here/stack.sh"
  with_sources "$@"
  exec cargo run --quiet --locked -p kit -- panels ${arguments[@]+"${arguments[@]}"}
fi
have_kit
in_stack
with_sources "$@"
options+=(--env STACK_GRAFANA_PASSWORD)
run_kit panels ${arguments[@]+"${arguments[@]}"}
