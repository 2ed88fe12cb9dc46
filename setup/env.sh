#!/usr/bin/env bash
# env.sh: prints what a shell needs so that `docker compose …`, promtool and amtool work in it: eval "$(make -s env)"
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
outside=$PATH
# shellcheck source=lib.sh
. "$here/lib.sh"

for name in DOCKER_HOST DOCKER_CONFIG COMPOSE_ENV_FILES COMPOSE_PROFILES COMPOSE_PROJECT_NAME; do
  if [ -n "${!name:-}" ]; then printf 'export %s=%q\n' "$name" "${!name}"; fi
done
# Only what lib.sh put in front, and only once, however often this is evaluated.
added=${PATH%"$outside"}
case $outside in
  "$added"*) ;;
  *)
    # shellcheck disable=SC2016 # for the shell that evaluates it
    printf 'export PATH=%q"$PATH"\n' "$added"
    ;;
esac
