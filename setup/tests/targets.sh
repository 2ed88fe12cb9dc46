#!/usr/bin/env bash
# What Prometheus is told to ask: the parts that are started, and what the user has added.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$scratch/kit/setup" "$scratch/kit/prometheus/targets" "$scratch/bin"
cp "$here/../lib.sh" "$here/../targets.sh" "$here/../env.sh" "$scratch/kit/setup/"
for name in agent grafana mine; do echo "- targets: [$name]" >"$scratch/kit/prometheus/targets/$name.yml"; done
printf '#!/bin/sh\nprintf "agent\\ngrafana\\n"\n' >"$scratch/bin/docker"
chmod +x "$scratch/bin/docker"

# choose SERVICE…: what Prometheus then has; $given is the folder that the environment names.
# shellcheck disable=SC2016 # for the shell that is started
choose() {
  env -u PROMETHEUS_CONFIG_DIR -u COMPOSE_PROJECT_NAME -u COMPOSE_PROFILES PATH="$scratch/bin:$PATH" HOME="$scratch" \
    AGENT_KIT_CACHE="$scratch/cache" PROMETHEUS_TARGETS_DIR="${given:-}" bash -euo pipefail -c '
      . "$0/setup/lib.sh"; . "$0/setup/targets.sh"; choose_targets "$@"
      ls "$PROMETHEUS_TARGETS_DIR" | tr "\n" " "' "$scratch/kit" "$@"
}

# shellcheck source=expect.sh
. "$here/expect.sh"

own=$scratch/kit/.kit/targets/agent-observability-kit
expect "what is missing is not asked; what is no service of ours stays" "$(choose agent)" "agent.yml mine.yml "
before=$(ls -di "$own")
expect "what is started later is asked" "$(choose agent grafana)" "agent.yml grafana.yml mine.yml "
expect "in the folder that is mounted already" "$(ls -di "$own")" "$before"
expect "as named by make env" "$(given=$own choose grafana)" "grafana.yml mine.yml "
mkdir "$scratch/theirs"
expect "a folder of the user's own is left alone" "$(given=$scratch/theirs choose agent)" ""
# shellcheck disable=SC2016 # for the shell that evaluates it
expect "a shell keeps it" "$(env -u PROMETHEUS_TARGETS_DIR -u COMPOSE_PROJECT_NAME AGENT_KIT_CACHE="$scratch/cache" \
  bash -c 'eval "$("$0/setup/env.sh")"; echo "$PROMETHEUS_TARGETS_DIR"' "$scratch/kit")" "$own"
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" = 0 ]
