#!/usr/bin/env bash
# What doctor.sh notices, with a docker that is a stub.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$scratch/kit/setup" "$scratch/kit/elasticsearch" "$scratch/bin" "$scratch/secrets"
cp "$here/../lib.sh" "$here/../doctor.sh" "$scratch/kit/setup/"
# shellcheck disable=SC2016 # for the shell that runs it
printf '#!/bin/sh\nexit "${STUB_PREFLIGHT:-0}"\n' >"$scratch/kit/setup/preflight.sh"
printf '# user role secret\nreader reader reader_password\n' >"$scratch/kit/elasticsearch/users"
printf 'right' >"$scratch/secrets/elasticsearch_password"
# Curl's own quoting must bring this through.
printf 'a "b" \\c' >"$scratch/secrets/reader_password"
cat >"$scratch/bin/docker" <<'STUB'
#!/bin/sh
case "$1 ${2:-}" in
  "version --format") echo "${STUB_VERSION:-28.2.2}" ;;
  "version "*) exit "${STUB_DOWN:-0}" ;;
  "compose version") exit "${STUB_NO_COMPOSE:-0}" ;;
  "buildx version") exit "${STUB_NO_BUILDX:-0}" ;;
  "compose config")
    case $3 in
      --services) printf 'prometheus\ngrafana\nkibana-setup\n' ;;
      --images) echo "image-of-$4" ;;
    esac ;;
  "image inspect") [ "$3" != "image-of-${STUB_NO_IMAGE:-}" ] ;;
  "info --format") date -u -d "@$(($(date +%s) + ${STUB_CLOCK:-0}))" +%Y-%m-%dT%H:%M:%S.123456789Z ;;
  "compose port") echo "127.0.0.1:1" ;;
  "compose ps")
    case $* in
      *--format*) echo "${STUB_SERVICES:-agent running healthy 0}" ;;
      *" ${STUB_RUNS:-elasticsearch}") echo "${STUB_RUNNING:-}" ;;
    esac ;;
  "compose exec")
    read -r line
    case $line in
      'user = "elastic:right"' | 'user = "reader:a \"b\" \\c"') printf '%s' "${STUB_STATUS:-200}" ;;
      *) printf 401 ;;
    esac ;;
esac
STUB
# Grafana's side: takes only this.
cat >"$scratch/bin/curl" <<'STUB'
#!/bin/sh
read -r line
[ "$line" = 'user = "admin:ad\"min"' ] && printf 200 || printf 401
STUB
printf 'ad"min' >"$scratch/secrets/grafana_admin_password"
chmod +x "$scratch/bin/docker" "$scratch/bin/curl" "$scratch/kit/setup/preflight.sh"

doctor() { # VARIABLE=VALUE…: what it says, and how it ends
  env -u COMPOSE_PROJECT_NAME -u COMPOSE_PROFILES -u http_proxy -u HTTP_PROXY -u no_proxy -u NO_PROXY -u DOCKER_CONFIG PATH="$scratch/bin:$PATH" HOME="$scratch" AGENT_KIT_CACHE="$scratch/cache" \
    SECRETS_DIR="$scratch/secrets" "$@" "$scratch/kit/setup/doctor.sh" 2>&1 && echo "ends with 0" || echo "ends with $?"
}

# shellcheck source=expect.sh
. "$here/expect.sh"

expect "no engine" "$(doctor STUB_DOWN=1)" "No Docker engine answers*ends with 1"
expect "nothing runs" "$(doctor)" "*Nothing wrong was found*ends with 0"
expect "what preflight finds" "$(doctor STUB_PREFLIGHT=1)" "ends with 1"
expect "all passwords are taken" "$(doctor STUB_RUNNING=id)" "*Nothing wrong was found*ends with 0"
printf 'old' >"$scratch/secrets/reader_password"
expect "an old volume keeps an old password" "$(doctor STUB_RUNNING=id)" \
  "Elasticsearch does not take reader_password for its user reader:*ends with 1"
expect "it does not answer" "$(doctor STUB_RUNNING=id STUB_STATUS=000)" "Elasticsearch does not answer (status 000)*ends with 1"
printf 'right' >"$scratch/secrets/reader_password"

expect "an old engine" "$(doctor STUB_VERSION=24.0.9)" "Docker Engine 24.0.9 is too old, 25 is needed*ends with 1"
expect "no Compose" "$(doctor STUB_NO_COMPOSE=1)" "There is no Compose v2*ends with 1"
expect "no buildx" "$(doctor STUB_NO_BUILDX=1)" "There is no buildx plugin*ends with 1"
expect "an image that is not there" "$(doctor STUB_NO_IMAGE=prometheus)" "The image image-of-prometheus*make setup*ends with 1"
mkdir -p "$scratch/kit/.kit"
printf 'kibana\tno registry answers\n' >"$scratch/kit/.kit/missing"
expect "one that cannot be had" "$(doctor STUB_NO_IMAGE=kibana-setup)" "*Nothing wrong was found*ends with 0"
expect "a proxy for this machine too" "$(doctor http_proxy=http://proxy:3128)" "http_proxy is http://proxy:3128 and no_proxy does not have localhost*ends with 1"
expect "a proxy for the others" "$(doctor HTTP_PROXY=http://proxy:3128 NO_PROXY="example.org, localhost")" "*Nothing wrong was found*ends with 0"
mkdir -p "$scratch/.docker"
echo '{"proxies": {"default": {"httpProxy": "http://proxy:3128", "noProxy": "localhost"}}}' >"$scratch/.docker/config.json"
expect "a proxy for containers" "$(doctor)" "*config.json gives every container a proxy*ends with 1"
echo '{"proxies": {"default": {"httpProxy": "http://proxy:3128", "noProxy": "localhost,example-agent"}}}' >"$scratch/.docker/config.json"
expect "a proxy for containers, but not among them" "$(doctor)" "*Nothing wrong was found*ends with 0"
expect "a clock that is late" "$(doctor STUB_CLOCK=-90)" "The engine's clock is -[89]? s off*ends with 1"
expect "a clock that is early" "$(doctor STUB_CLOCK=90)" "The engine's clock is [89]? s off*ends with 1"
expect "a clock that is nearly right" "$(doctor STUB_CLOCK=5)" "*Nothing wrong was found*ends with 0"
expect "a service that is not well" "$(doctor STUB_SERVICES="jaeger running unhealthy 0")" "jaeger is not well: make logs SERVICE=jaeger*ends with 1"
expect "one that ends again and again" "$(doctor STUB_SERVICES="jaeger restarting - 3")" "jaeger ends again and again (exit code 3)*ends with 1"
expect "one that has failed" "$(doctor STUB_SERVICES="kibana-setup exited - 1")" "kibana-setup has ended with exit code 1*ends with 1"
expect "one that has done its work" "$(doctor STUB_SERVICES="kibana-setup exited - 0")" "*Nothing wrong was found*ends with 0"
expect "Grafana takes the password" "$(doctor STUB_RUNS=grafana STUB_RUNNING=id)" "*Nothing wrong was found*ends with 0"
printf 'another' >"$scratch/secrets/grafana_admin_password"
expect "Grafana's volume keeps another" "$(doctor STUB_RUNS=grafana STUB_RUNNING=id)" "Grafana does not take grafana_admin_password*ends with 1"
: >"$scratch/secrets/jaeger_elasticsearch_password"
expect "an empty password" "$(doctor)" "*jaeger_elasticsearch_password is empty*ends with 1"
rm "$scratch/secrets/jaeger_elasticsearch_password"
mkdir "$scratch/secrets/llm_api_key"
expect "a folder in the place of a secret" "$(doctor)" "*llm_api_key is a folder, made by an earlier docker compose*ends with 1"
rmdir "$scratch/secrets/llm_api_key"
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" = 0 ]
