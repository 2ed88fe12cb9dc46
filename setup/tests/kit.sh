#!/usr/bin/env bash
# How verbs are run in containers on engines of several kinds, with a docker that prints what it is asked for.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
scratch=$(cd "$(mktemp -d)" && pwd -P)
trap 'rm -rf "$scratch"' EXIT
# A path with a space; Compose takes no comma.
kit="$scratch/a kit"
mkdir -p "$kit/setup" "$kit/secrets" "$kit/.kit" "$scratch/bin" "$scratch/elsewhere"
cp "$here/../lib.sh" "$here/../kit.sh" "$here/../stack.sh" "$here/../drill.sh" "$here/../export.sh" "$here/../load.sh" "$kit/setup/"
: >"$scratch/engine.sock"
cat >"$scratch/bin/docker" <<'STUB'
#!/bin/sh
case "$1 ${2:-}" in
  "info "*) echo "${STUB_ENGINE:-Debian GNU/Linux 12} [name=seccomp,profile=builtin ${STUB_KIND:-}]" ;;
  "context "*) echo "unix://$STUB_SOCKET" ;;
  "image inspect") [ -n "${STUB_THERE:-}" ] ;;
  "network ls") [ -z "${STUB_UP:-}" ] || echo the_network ;;
  "ps "*) [ -z "${STUB_UP:-}" ] || case "$*" in *publish=9090*) echo id ;; esac ;;
  "inspect "*) echo prometheus ;;
  "port "*) echo "9090/tcp -> 127.0.0.1:9090" ;;
  "run "*)
    printf ' %s' "$@"
    exit "${STUB_STATUS:-0}"
    ;;
  *) echo "did: $*" >&2 ;;
esac
STUB
cat >"$scratch/bin/id" <<'STUB'
#!/bin/sh
case $1 in -u) echo 501 ;; -g) echo 20 ;; esac
STUB
cat >"$scratch/bin/uname" <<'STUB'
#!/bin/sh
echo "${STUB_SYSTEM:-Linux}"
STUB
printf '#!/bin/sh\necho 998\n' >"$scratch/bin/stat"
printf '#!/bin/sh\necho "cargo: $*"\n' >"$scratch/bin/cargo"
chmod +x "$scratch/bin/"*
export STUB_SOCKET="$scratch/engine.sock"
# shellcheck source=expect.sh
. "$here/expect.sh"

# run [NAME=VALUE…] SCRIPT ARGUMENT…
run() {
  local variables=()
  while case $1 in *=*) ;; *) false ;; esac; do
    variables+=("$1")
    shift
  done
  local script=$1
  shift
  env -i PATH="$scratch/bin:$PATH" HOME="$scratch" AGENT_KIT_CACHE="$scratch/cache" STUB_SOCKET="$STUB_SOCKET" \
    ${variables[@]+"${variables[@]}"} bash "$kit/setup/$script" "$@" 2>&1 || echo " ends with $?"
}

mount() { printf 'type=bind,"source=%s","target=%s"' "$1" "$1"; }
expect "a drill" "$(run STUB_UP=1 drill.sh list)" \
  "*run *--user 501:20 --cap-drop ALL*$(mount "$kit"),readonly*--network the_network*source=$scratch/engine.sock,target=/var/run/docker.sock*--group-add 998*agent-kit/kit:dev drill list"
expect "the engine's socket is for what stops containers" "$(run export.sh --part jaeger | grep -c docker.sock)" 0
expect "no network without a stack" "$(run drill.sh list)" "*--network none*"
expect "Docker Desktop" "$(run "STUB_ENGINE=Docker Desktop" drill.sh list)" "*--user 0:0*source=/var/run/docker.sock,*"
expect "an engine in a machine of macOS" "$(run STUB_SYSTEM=Darwin drill.sh list)" "*--user 0:0*source=/var/run/docker.sock,*"
expect "what it writes there belongs to the user" "$(run STUB_SYSTEM=Darwin export.sh --part jaeger)" "*--user 501:20*"
expect "a rootless engine" "$(run STUB_KIND=name=rootless drill.sh list)" "*--user 0:0*source=$scratch/engine.sock,*"
expect "an engine that gives containers other users" "$(run STUB_KIND=name=userns drill.sh list)" "*--user 501:20*--userns host*"
expect "an engine that DOCKER_HOST names" "$(run DOCKER_HOST=unix:///there.sock drill.sh list)" "*source=/there.sock,*"
expect "an engine over the network" "$(run DOCKER_HOST=tcp://127.0.0.1:2375 drill.sh list)" "*source=/var/run/docker.sock,*"
expect "an exit code" "$(run STUB_STATUS=64 drill.sh nonsense)" "*drill nonsense ends with 64"
expect "secrets elsewhere" "$(run "SECRETS_DIR=$scratch/elsewhere" drill.sh list)" "*$(mount "$scratch/elsewhere"),readonly*"
expect "an image that a setting names is pulled" "$(run KIT_IMAGE=registry.example/kit:v1 drill.sh list)" "*Pulling registry.example/kit:v1*registry.example/kit:v1 drill list"
expect "an image that is there is not" "$(run KIT_IMAGE=registry.example/kit:v1 STUB_THERE=1 drill.sh list | grep -c Pulling)" 0
expect "natively, when it is asked for" "$(run KIT_NATIVE=1 drill.sh list)" "cargo: run * -p kit -- drill list"

out="$scratch/elsewhere/an export, of mine"
expect "an export's folder" "$(run export.sh --part jaeger --out "$out")" "*$(mount "$out") *--network none*export --part jaeger --out $out"
expect "a folder in which nothing was written" "$([ -e "$out" ] && echo there)" ""
expect "a folder that was there" "$(run export.sh --part jaeger "--out=$scratch/elsewhere")" "*$(mount "$scratch/elsewhere") *"
expect "it stays" "$([ -e "$scratch/elsewhere" ] && echo there)" there
expect "the stack's own Prometheus" "$(run STUB_UP=1 export.sh --part jaeger --against http://localhost:9090/x)" \
  "*--network the_network*--against http://prometheus:9090/x"
expect "another Prometheus of this machine" "$(run export.sh --part jaeger --against http://127.0.0.1:9191)" "*--network host*--against http://127.0.0.1:9191"
expect "of the machine around the virtual one" "$(run STUB_SYSTEM=Darwin export.sh --part jaeger --against=http://localhost:9191)" \
  "*--add-host host.docker.internal:host-gateway*--against http://host.docker.internal:9191"
expect "a Prometheus elsewhere" "$(run export.sh --part jaeger --against https://prometheus.example)" "*--against https://prometheus.example"
expect "a load test" "$(run STUB_UP=1 load.sh --rate 5)" \
  "*--network the_network*$(mount "$kit/target/load") *agent-kit/load-test:dev run --url http://example-agent:8080 --report $kit/target/load --rate 5"
expect "an address of a shell that asks from outside" "$(run STUB_UP=1 STACK_AGENT_URL=http://127.0.0.1:17301 load.sh)" "*--url http://example-agent:8080*"
expect "an agent elsewhere" "$(run LOAD_TEST_URL=http://10.0.0.7:8080 load.sh)" "*--url http://10.0.0.7:8080*"

echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" = 0 ]
