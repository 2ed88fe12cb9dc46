# shellcheck shell=bash
# The user's verbs run in containers of the kit's own images, so that they need Docker alone; KIT_NATIVE=1 runs them with this
# machine's Rust. Sourced after lib.sh.

is_native() {
  [ "$(setting KIT_NATIVE '')" = 1 ] || return 1
  command -v cargo >/dev/null 2>&1 || die "KIT_NATIVE=1 needs Rust: https://rustup.rs. Without it Docker alone is enough."
}

# The options for docker run, and the engine's name and kinds.
options=() engine=''

# have_image SERVICE IMAGE: builds an image of ours; pulls one that a setting names, unless it is here.
have_image() {
  engine=$(docker info --format '{{.OperatingSystem}} {{.SecurityOptions}}' 2>/dev/null) ||
    die "No Docker engine answers: make setup. With Rust on this machine: KIT_NATIVE=1."
  case $2 in
    agent-kit/*:dev) step "image-$1" "Building $2" docker compose --profile '*' build "$1" >&2 ;;
    *) docker image inspect "$2" >/dev/null 2>&1 || step "image-$1" "Pulling $2" docker pull "$2" >&2 ;;
  esac
}

# In Docker Desktop and the like the engine runs in a virtual machine.
is_virtual() { [ "$(uname -s)" != Linux ] || case $engine in "Docker Desktop"*) ;; *) return 1 ;; esac }

absolute() { # PATH: of a file or folder that is there
  local folder
  if [ -d "$1" ]; then (cd "$1" && pwd); else folder=$(cd "$(dirname "$1")" && pwd) && printf '%s/%s\n' "${folder%/}" "$(basename "$1")"; fi
}

# mounted PATH [readonly]: at the same path as here, so that what the program says of it is true here. Quoted as CSV, because a path
# may have commas.
mounted() {
  local path
  path=$(absolute "$1") || die "$1 cannot be read."
  path=${path//\"/\"\"}
  options+=(--mount "type=bind,\"source=$path\",\"target=$path\"${2:+,$2}")
}

# written FOLDER: a folder that the program writes to.
written() {
  mkdir -p "$1" || die "$1 cannot be written."
  mounted "$1"
}

# stack_network: the network of the running stack, if there is one.
stack_network() {
  docker network ls --filter "label=com.docker.compose.project=${COMPOSE_PROJECT_NAME:-agent-observability-kit}" \
    --filter label=com.docker.compose.network=kit --format '{{.Name}}' | head -n 1
}

# in_stack: on the network of the stack, where services have names; without a stack on none, and the program says what it misses.
in_stack() {
  local network name
  network=$(stack_network)
  options+=(--network "${network:-none}")
  STACK_INSIDE=1
  # shellcheck source=stack.sh
  . "$KIT_ROOT/setup/stack.sh"
  STACK_SECRETS_DIR=$(absolute "$STACK_SECRETS_DIR") || STACK_SECRETS_DIR=$KIT_ROOT/secrets
  export STACK_INSIDE STACK_SECRETS_DIR STACK_REPOSITORY=$KIT_ROOT
  for name in "${!STACK_@}"; do options+=(--env "$name"); done
  case $STACK_SECRETS_DIR/ in "$KIT_ROOT"/*) ;; *) mounted "$STACK_SECRETS_DIR" readonly ;; esac
}

# reach URL: joins a network from which its host can be reached, and sets `url` to what it is called there. A loopback address is
# this machine's, not the container's.
url=''
# shellcheck disable=SC2034 # for those that source this
reach() {
  local pattern='^(https?)://(localhost|127\.0\.0\.1|\[::1\])(:([0-9]+))?(/.*)?$' scheme port rest container service inside
  url=$1
  [[ $1 =~ $pattern ]] || return 0
  scheme=${BASH_REMATCH[1]} port=${BASH_REMATCH[4]} rest=${BASH_REMATCH[5]}
  if [ -z "$port" ]; then if [ "$scheme" = https ]; then port=443; else port=80; fi; fi
  container=$(docker ps --quiet --filter "publish=$port" \
    --filter "label=com.docker.compose.project=${COMPOSE_PROJECT_NAME:-agent-observability-kit}" | head -n 1)
  if [ -n "$container" ]; then
    service=$(docker inspect --format '{{index .Config.Labels "com.docker.compose.service"}}' "$container")
    inside=$(docker port "$container" | awk -v port=":$port" '$0 ~ port "$" { split($1, inside, "/"); print inside[1]; exit }')
    options+=(--network "$(stack_network)")
    url=$scheme://$service:$inside$rest
  elif is_virtual || case $engine in *name=rootless*) ;; *) false ;; esac; then
    options+=(--add-host host.docker.internal:host-gateway)
    url=$scheme://host.docker.internal:$port$rest
  else
    options+=(--network host)
  fi
}

# with_engine: with the engine's socket, for what stops and starts containers.
socket=''
with_engine() {
  local host=${DOCKER_HOST:-}
  [ -n "$host" ] || host=$(docker context inspect --format '{{.Endpoints.docker.Host}}' 2>/dev/null) || host=
  # In a virtual machine, and on another machine, it is where it is by default.
  socket=/var/run/docker.sock
  case $host in unix://*) is_virtual || socket=${host#unix://} ;; esac
  options+=(--mount "type=bind,source=$socket,target=/var/run/docker.sock" --env DOCKER_HOST=unix:///var/run/docker.sock
    --env DOCKER_CONFIG=/tmp)
}

# run_image IMAGE ARGUMENT…: replaces this script by `docker run` with the options, so that signals reach the program and its exit code
# is that of the script. Files that it writes belong to the user: root of a rootless engine is that user, and the shared folders of a
# virtual machine belong to the user in any case.
run_image() {
  local image=$1 user
  shift
  user=$(id -u):$(id -g)
  case $engine in
    *name=rootless*) user=0:0 ;;
    *name=userns*) options+=(--userns host) ;;
  esac
  if [ -n "$socket" ]; then
    if is_virtual; then user=0:0; elif [ "$user" != 0:0 ]; then options+=(--group-add "$(stat -c %g "$socket")"); fi
  fi
  # Root, where it is that, may write to the user's files. With SELinux a mounted file would have to be labelled otherwise.
  exec docker run --rm --read-only --tmpfs /tmp --user "$user" --cap-drop ALL --cap-add DAC_OVERRIDE \
    --security-opt no-new-privileges --security-opt label=disable --workdir "$KIT_ROOT" "${options[@]}" "$image" "$@"
}

# run_kit VERB ARGUMENT…: runs a verb of the kit's own program.
run_kit() { run_image "$(setting KIT_IMAGE agent-kit/kit:dev)" "$@"; }
have_kit() {
  have_image kit "$(setting KIT_IMAGE agent-kit/kit:dev)" || exit 1
  mounted "$KIT_ROOT" readonly
}
