#!/usr/bin/env bash
# Which services `make up` restarts: those that have a file mounted that was changed since the last time.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
scratch=$(cd "$(mktemp -d)" && pwd -P)
trap 'rm -rf "$scratch"' EXIT
kit=$scratch/kit
mkdir -p "$kit/setup" "$kit/secrets" "$kit/prometheus/rules" "$kit/grafana/dashboards" "$kit/docs/runbooks" "$kit/prometheus/targets" \
  "$scratch/host" "$scratch/bin"
cp "$here/../lib.sh" "$here/../changed.sh" "$here/../write-secrets.sh" "$kit/setup/"
# Three services run; the last one has mounted what is not ours.
cat >"$scratch/bin/docker" <<END
#!/bin/sh
case "\$*" in
  'compose ps '*) printf 'prometheus 1\nalertmanager 2\nnode-exporter 3\n' ;;
  *' 1') printf '%s\n' "$kit/prometheus/rules" "$kit/docs/runbooks" "$kit/prometheus/targets" "$kit/grafana/dashboards" ;;
  *' 2') printf '%s\n' "$kit/gone" '' ;;
  *' 3') printf '%s\n' "$scratch/host" ;;
esac
END
chmod +x "$scratch/bin/docker"

stamp=$scratch/stamp
# shellcheck disable=SC2016 # for the shell that is started
changed() {
  env -u SECRETS_DIR -u COMPOSE_PROJECT_NAME -u COMPOSE_PROFILES PATH="$scratch/bin:$PATH" HOME="$scratch" \
    AGENT_KIT_CACHE="$scratch/cache" bash -euo pipefail -c '
      . "$0/setup/lib.sh"; . "$0/setup/changed.sh"; changed_services "$1" | tr "\n" " "' "$kit" "$stamp"
}
# With times of their own: whether something is newer must not hang on how fast this runs.
old() { touch -t 202601010000 "$@"; }
new() { touch -t 202601020000 "$@"; }

# shellcheck source=expect.sh
. "$here/expect.sh"

rule=$kit/prometheus/rules/agent.yml secret=$kit/secrets/slack_webhook_url
unwatched=("$kit/docs/runbooks/A.md" "$kit/prometheus/targets/a.yml" "$kit/grafana/dashboards/a.json" "$scratch/host/a")
new "$rule" "$secret" "${unwatched[@]}"
expect "nobody was started before" "$(changed)" ""
old "$rule" "$secret" "$kit/prometheus/rules"
touch -t 202601011200 "$stamp"
expect "what is looked at again by itself, and what is not ours, restarts nobody" "$(changed)" ""
new "$rule"
expect "a changed rule" "$(changed)" "prometheus "
new "$secret"
expect "a changed secret too" "$(changed)" "prometheus alertmanager "
old "$rule" "$secret"
new "$kit/prometheus/rules"
expect "a file that is gone has changed its folder" "$(changed)" "prometheus "
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" = 0 ]
