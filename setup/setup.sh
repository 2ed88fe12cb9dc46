#!/usr/bin/env bash
# make setup: finds out what this machine has and makes up what is missing, saying each step. Safe to repeat: what is
# there already is used, and a second run takes seconds.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"

if ! "$here/engine.sh" ensure; then
  "$here/tools.sh" || :
  die "Without Docker there are still: make demo, make check."
fi
"$here/secrets.sh"
# Where tests run unattended, that of deploy/jaeger-kafka too: it is made from packages within seconds.
with_kafka() {
  [ "${CI:-}" = true ] && [ -z "${COMPOSE_FILE:-}" ] || return
  COMPOSE_FILE=docker-compose.yml:deploy/jaeger-kafka/docker-compose.yml "$here/images.sh" && return
  warn "Once more without Kafka: the test of deploy/jaeger-kafka is skipped."
  return 1
}
with_kafka || "$here/images.sh"
"$here/tools.sh" || warn "Without them \`make check\` skips the rules and the alert routes."
say "Set up. Next: make up"
