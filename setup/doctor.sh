#!/usr/bin/env bash
# doctor.sh: what is wrong here and what to do about it, a line each: what preflight.sh finds, plugins and images that are not
# there, proxies, clocks, files that containers cannot read, services that are not well, and passwords that running services do
# not take. Changes nothing. Exits 1 if it found something.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"

docker version >/dev/null 2>&1 || die "No Docker engine answers: \`make setup\` says why, or starts one."

use_compose
problems=0
problem() {
  warn "$*"
  problems=1
}

# The same bounds as setup/engine.sh has.
check_engine() {
  local version
  version=$(docker version --format '{{.Server.Version}}')
  if [ "${version%%.*}" -lt 25 ] 2>/dev/null; then
    problem "Docker Engine $version is too old, 25 is needed: https://docs.docker.com/engine/install/"
  fi
  docker compose version >/dev/null 2>&1 || die "There is no Compose v2: https://docs.docker.com/compose/install/"
  docker buildx version >/dev/null 2>&1 ||
    problem "There is no buildx plugin, so nothing can be built: https://docs.docker.com/build/install-buildx/"
}
check_engine

"$here/preflight.sh" || problems=1

is_missing() { grep -qs -e "^$1$(printf '\t')" -e "^${1%%-*}$(printf '\t')" "$KIT_STATE/missing"; }

check_images() {
  local service images image known=' '
  for service in $(docker compose config --services | sort); do
    is_missing "$service" && continue
    images=$(docker compose config --images "$service" 2>/dev/null) || continue
    for image in $images; do
      case $known in *" $image "*) continue ;; esac
      known="$known$image "
      docker image inspect "$image" >/dev/null 2>&1 ||
        problem "The image $image (of $service or what it needs) is not here: \`make setup\` fetches it, or builds it where no registry answers."
    done
  done
}

# lists_host LIST: whether a list such as NO_PROXY has this machine in it.
lists_host() { case ",${1// /}," in *,localhost,* | *,127.0.0.1,* | *,127.0.0.0/8,* | *,\*,*) return ;; *) return 1 ;; esac }

check_proxy() {
  local proxy=${http_proxy:-${HTTP_PROXY:-}} none=${no_proxy:-${NO_PROXY:-}} file
  if [ -n "$proxy" ] && ! lists_host "$none"; then
    problem "http_proxy is $proxy and no_proxy does not have localhost: requests to the stack would go to the proxy. Add localhost,127.0.0.1 to no_proxy."
  fi
  # What stands there becomes each container's own environment.
  file=${DOCKER_CONFIG:-${HOME:-}/.docker}/config.json
  if grep -qs '"httpProxy"' "$file" && ! grep -qs '"noProxy".*example-agent' "$file"; then
    problem "$file gives every container a proxy: add example-agent,simulators-llm,simulators-slack,prometheus,alertmanager,jaeger,elasticsearch,pushgateway,maildev to its noProxy, or the parts do not reach each other."
  fi
}

# The engine's clock may be another: a virtual machine's stands still while the host sleeps.
check_clock() {
  local theirs ours off
  theirs=$(docker info --format '{{.SystemTime}}' 2>/dev/null | cut -c 1-19) || return 0
  # GNU's date and BSD's read a time in their own ways.
  theirs=$(date -u -d "$theirs" +%s 2>/dev/null || date -j -u -f %Y-%m-%dT%H:%M:%S "$theirs" +%s 2>/dev/null) || return 0
  ours=$(date +%s)
  off=$((theirs - ours))
  if [ "${off#-}" -gt 30 ]; then
    problem "The engine's clock is $off s off this machine's: metrics and traces are looked for at the wrong time. Restart Docker Desktop, or set the clocks."
  fi
}

check_secrets() {
  local folder path
  folder=$(setting SECRETS_DIR ./secrets)
  [ -d "$folder" ] || return 0
  while read -r path; do
    problem "$path is a folder, made by an earlier docker compose in the place of a secret file: rmdir $path"
  done < <(find "$folder" -mindepth 1 -type d | sort)
  while read -r path; do
    problem "$path is empty: remove it, and \`make secrets\` writes a new one."
  done < <(find "$folder" -type f -name '*elasticsearch_password' -size 0 | sort)
}

check_services() {
  local service state health code
  while read -r service state health code; do
    case $state/$health in
      running/unhealthy) problem "$service is not well: make logs SERVICE=$service" ;;
      restarting/*) problem "$service ends again and again (exit code $code): make logs SERVICE=$service" ;;
      exited/*) [ "$code" = 0 ] || problem "$service has ended with exit code $code: make logs SERVICE=$service" ;;
    esac
  done < <(docker compose ps --all --format '{{.Service}} {{.State}} {{or .Health "-"}} {{.ExitCode}}' 2>/dev/null)
}

check_images
check_proxy
check_clock
check_secrets
check_services

# status_of USER SECRET: what Elasticsearch says to it, 000 where it does not answer. The password goes in by standard input,
# where no list of processes shows it.
status_of() {
  local password
  password=$(sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' "$(setting SECRETS_DIR ./secrets)/$2")
  docker compose exec --no-TTY elasticsearch curl --silent --max-time 10 --output /dev/null --write-out '%{http_code}' \
    --config - http://127.0.0.1:9200/_security/_authenticate <<<"user = \"$1:$password\"" || :
}

# An old volume keeps old passwords: those that were changed inside Elasticsearch, or in a file that it has not read since.
check_passwords() {
  local user secret status
  while read -r user _ secret; do
    status=$(status_of "$user" "$secret")
    case $status in
      200) ;;
      401)
        problem "Elasticsearch does not take $secret for its user $user: \`make down up\` gives it the file's, or see \"Passwords\" in elasticsearch/README.md."
        ;;
      *)
        problem "Elasticsearch does not answer (status $status): make logs SERVICE=elasticsearch"
        return
        ;;
    esac
  done < <(echo "elastic superuser elasticsearch_password"; grep -v '^#' elasticsearch/users)
}
runs() { [ -n "$(docker compose ps --quiet --status running "$1" 2>/dev/null)" ]; }

# Its volume keeps the password of the first start.
check_grafana() {
  local address file
  file=$(setting SECRETS_DIR ./secrets)/grafana_admin_password
  address=$(docker compose port grafana 3000 2>/dev/null) && [ -f "$file" ] && command -v curl >/dev/null 2>&1 || return 0
  if [ "$(sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/^/user = "admin:/' -e 's/$/"/' "$file" |
    curl --silent --noproxy '*' --max-time 10 --output /dev/null --write-out '%{http_code}' --config - "http://$address/api/org")" = 401 ]; then
    problem "Grafana does not take grafana_admin_password: its volume keeps another. docker compose exec grafana grafana cli admin reset-admin-password NEW"
  fi
}
if runs elasticsearch; then check_passwords; fi
if runs grafana; then check_grafana; fi

if [ $problems = 0 ]; then say "Nothing wrong was found"; fi
exit $problems
