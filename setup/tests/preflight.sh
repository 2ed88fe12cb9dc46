#!/usr/bin/env bash
# What engine.sh and preflight.sh say, and that they say it before anything starts: with a docker that is a stub, on a PATH
# that has nothing else to install or start an engine with.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
setup=$(dirname "$here")
scratch=$(mktemp -d)
listener=
trap '[ -z "$listener" ] || kill "$listener"; rm -rf "$scratch"' EXIT
passed=0 failed=0 skipped=0

# A PATH of its own: no apt-get, no dockerd, no sudo.
mkdir -p "$scratch/bin" "$scratch/secrets" "$scratch/mounted"
for tool in awk bash basename cat chmod cut date df dirname env find grep head id mkdir mktemp ps rm sed setsid sh sleep sort tail tr uname wc; do
  path=$(command -v $tool) && ln -s "$path" "$scratch/bin/$tool"
done

# Answers as STUB_* say.
cat >"$scratch/docker" <<'STUB'
#!/usr/bin/env bash
case "$1 ${2:-}" in
  "--version ") if [ -n "${STUB_PODMAN:-}" ]; then echo "podman version 5.4.0"; else echo "Docker version 28.5.2, build 1"; fi ;;
  "version "*)
    if [ -n "${STUB_DOWN:-}" ]; then echo "$STUB_DOWN" >&2; exit 1; fi
    echo "${STUB_VERSION:-28.5.2}" ;;
  "compose version") [ -z "${STUB_NO_COMPOSE:-}" ] && echo 2.40.3 ;;
  "compose config")
    if [ -n "${STUB_BAD_CONFIG:-}" ]; then echo "$STUB_BAD_CONFIG" >&2; exit 1; fi
    cat "$STUB_CONFIG" ;;
  "info "*) case $* in *MemTotal*) echo "${STUB_MEMORY:-17179869184}" ;; *) echo "$STUB_ROOT" ;; esac ;;
  "ps "*) [ -z "${STUB_OWNER:-}" ] || echo "$STUB_OWNER" ;;
  *) echo "this would have started something: docker $*" >&2; exit 99 ;;
esac
STUB
chmod +x "$scratch/docker"

config() { # PORT SOURCE
  cat >"$scratch/config.yml" <<YAML
name: kit-under-test
services:
  prometheus:
    image: prom/prometheus:v3
    deploy:
      resources:
        limits:
          memory: "3221225472"
        reservations:
          memory: "1073741824"
    ports:
      - mode: ingress
        host_ip: 127.0.0.1
        target: 9090
        published: "$1"
        protocol: tcp
    volumes:
      - type: bind
        source: $2
        target: /etc/prometheus
        read_only: true
      - type: volume
        source: prometheus-data
        target: /prometheus
  pushgateway:
    image: prom/pushgateway:v1
    deploy:
      resources:
        limits:
          memory: "1073741824"
networks:
  kit:
    name: kit
YAML
}

# run SCRIPT NAME=VALUE…: its output in $said, its exit in $status. Settings of a real .env are overridden.
run() {
  local script=$1
  shift
  status=0
  said=$(env -i HOME="$scratch" PATH="$scratch/bin" AGENT_KIT_CACHE="$scratch/cache" SECRETS_DIR="$scratch/secrets" \
    STUB_CONFIG="$scratch/config.yml" STUB_ROOT="$scratch" AGENT_KIT_MIN_DISK_MB=1 \
    AGENT_KIT_MIN_MEMORY_MB='' BIND_ADDRESS=127.0.0.1 PROMETHEUS_PORT=9090 "$@" "$setup/$script" 2>&1) || status=$?
}

# one_line TEXT: that was all it said, in one line; nothing at all where TEXT is empty.
one_line() {
  if [ -z "$1" ]; then [ -z "$said" ]; else [[ $said == *"$1"* && $said != *$'\n'* ]]; fi
}

# expect TEST STATUS TEXT
expect() {
  if [ "$status" = "$2" ] && one_line "$3"; then
    passed=$((passed + 1))
    echo "ok   $1"
  else
    failed=$((failed + 1))
    printf 'FAIL %s: exit %s, said:\n%s\n' "$1" "$status" "$said"
  fi
}

run engine.sh
expect "no docker: where to get it" 1 "https://docs.docker.com/engine/install/"
ln -s "$scratch/docker" "$scratch/bin/docker"
run engine.sh STUB_DOWN="Cannot connect to the Docker daemon"
expect "docker not running: start it" 1 "missing or not running"
run engine.sh STUB_DOWN="permission denied while trying to connect to the Docker daemon socket"
expect "no rights: the group" 1 "usermod -aG docker"
run engine.sh STUB_DOWN="Cannot connect" DOCKER_HOST=tcp://192.0.2.1:2375
expect "a DOCKER_HOST that does not answer is named" 1 "tcp://192.0.2.1:2375"
run engine.sh STUB_VERSION=24.0.7
expect "an engine without start_interval is too old" 1 "24.0.7 is too old"
run engine.sh STUB_PODMAN=1
expect "Podman under Docker's name is refused" 1 "docker is Podman here"
run engine.sh STUB_NO_COMPOSE=1
expect "no Compose v2: where to get it" 1 "https://docs.docker.com/compose/install/"
run engine.sh STUB_VERSION=25.0.0
expect "the oldest engine that will do" 0 "Docker Engine 25.0.0, Compose 2.40.3"

config 1 "$scratch/mounted"
run preflight.sh
expect "nothing in the way" 0 ""

if command -v perl >/dev/null; then
  perl -MIO::Socket::INET -e '$| = 1; $s = IO::Socket::INET->new(LocalAddr => "127.0.0.1", Listen => 1); print $s->sockport, "\n"; sleep 600' \
    >"$scratch/port" &
  listener=$!
  until [ -s "$scratch/port" ]; do sleep 0.05; done
  port=$(cat "$scratch/port")
  config "$port" "$scratch/mounted"
  run preflight.sh PROMETHEUS_PORT="$port"
  expect "a taken port, its service and its setting" 1 "Port $port for prometheus is taken by another program: stop it, or set PROMETHEUS_PORT"
  run preflight.sh STUB_OWNER="kit-under-test-prometheus-1 kit-under-test"
  expect "our own running stack is not in our way" 0 ""
else
  skipped=$((skipped + 2))
  echo "skipped: a taken port (no perl to listen with)"
  echo "skipped: our own running stack (no perl to listen with)"
fi
config 9090 "$scratch/mounted"
run preflight.sh STUB_OWNER="someones-prometheus other-project"
expect "a port taken by another container, by its name" 1 "taken by the container someones-prometheus: stop it, or set PROMETHEUS_PORT"
run preflight.sh STUB_OWNER="lone-container "
expect "a container without a project" 1 "taken by the container lone-container"

config 1 "$scratch/mounted"
run preflight.sh STUB_MEMORY=1073741824
expect "too little memory for the limits of the services" 1 "has 1024 MiB of memory, the stack needs 3276"
run preflight.sh STUB_MEMORY=1073741824 COMPOSE_PROFILES=infra,logs
expect "too little memory, and what to do without" 1 "make up COMPOSE_PROFILES=infra"
run preflight.sh STUB_MEMORY=1073741824 AGENT_KIT_MIN_MEMORY_MB=512
expect "the least memory is a setting" 0 ""
run preflight.sh AGENT_KIT_MIN_DISK_MB=999999999
expect "too little disk" 1 "MiB free, the stack needs 999999999"
run preflight.sh AGENT_KIT_MIN_DISK_MB=999999999 STUB_ROOT="$scratch/not-on-this-machine"
expect "a data root that is elsewhere is not judged" 0 ""

printf admin >"$scratch/secrets/grafana_admin_password"
run preflight.sh BIND_ADDRESS=192.0.2.7
said=$(tail -n 1 <<<"$said")
expect "published with the default password of earlier versions" 1 "BIND_ADDRESS=192.0.2.7 would show Grafana with the password admin"
printf 'a long one' >"$scratch/secrets/grafana_admin_password"
run preflight.sh BIND_ADDRESS=0.0.0.0
expect "published with a password of one's own: a warning" 0 "Warning: BIND_ADDRESS=0.0.0.0 shows Prometheus"
run preflight.sh ADMIN_BIND_ADDRESS=0.0.0.0
expect "the admin side published: a warning" 0 "Warning: ADMIN_BIND_ADDRESS=0.0.0.0 lets everybody"

config 1 "$scratch/no-such.yml"
run preflight.sh
expect "a mounted file that is not there" 1 "no-such.yml is to be mounted but does not exist"
run preflight.sh STUB_BAD_CONFIG="services.x additional properties 'y' not allowed"
expect "a configuration that Compose refuses" 1 "additional properties 'y' not allowed"

echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
