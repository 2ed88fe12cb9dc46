#!/usr/bin/env bash
# preflight.sh: what would keep the stack from starting, each as one line, before anything is started. Exits 1 if it
# found something. AGENT_KIT_MIN_MEMORY_MB and AGENT_KIT_MIN_DISK_MB move the bounds.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"

# Images and their volumes while they are young; Prometheus bounds itself (PROMETHEUS_RETENTION_SIZE).
min_disk=$(setting AGENT_KIT_MIN_DISK_MB 5120)

problems=0
problem() {
  warn "$*"
  problems=$((problems + 1))
}

# Compose's own view: variables, .env and profiles are resolved, and its YAML always has this shape.
config=$(docker compose config 2>&1) || die "docker-compose.yml and .env do not fit together: $(tail -n 1 <<<"$config")"
project=$(awk '$1 == "name:" { print $2; exit }' <<<"$config")

# SERVICE HOST_IP PORT for each published port.
published() {
  awk '
    /^services:/ { inside = 1; next }
    /^[^ ]/ { inside = 0 }
    !inside { next }
    /^  [^ ]/ { service = $1; sub(/:$/, "", service); ip = "" }
    /^      - mode:/ { ip = "0.0.0.0" }
    /^        host_ip:/ { ip = $2 }
    /^        published:/ { gsub(/"/, "", $2); print service, ip, $2 }' <<<"$config"
}

# variable_for PORT: the setting that moves it, found by its value now.
# shellcheck disable=SC2016 # patterns, not expansions
variable_for() {
  local name default
  while IFS=' ' read -r name default; do
    if [ "$(setting "$name" "$default")" = "$1" ]; then
      printf '%s' "$name"
      return
    fi
  done < <(grep -o '\${[A-Z0-9_]*PORT:-[0-9]*}' docker-compose.yml | sort -u | sed 's/^\${\(.*\):-\(.*\)}$/\1 \2/')
  printf 'its port in docker-compose.yml'
}

accepts() { # HOST_IP PORT: somebody listens there
  local ip=$1
  case $ip in 0.0.0.0 | '::') ip=127.0.0.1 ;; esac
  (exec 3<>"/dev/tcp/$ip/$2") 2>/dev/null
}

check_ports() {
  local service ip port container
  while read -r service ip port; do
    [ -n "$port" ] || continue
    # Our own stack is up already: fine. Another container can be named; anything else only be found.
    container=$(docker ps --filter "publish=$port" --format '{{.Names}} {{.Label "com.docker.compose.project"}}' | head -n 1)
    [ "${container#* }" = "$project" ] && [ -n "$container" ] && continue
    if [ -n "$container" ]; then
      problem "Port $port for $service is taken by the container ${container%% *}: stop it, or set $(variable_for "$port") in .env."
    elif accepts "$ip" "$port"; then
      problem "Port $port for $service is taken by another program: stop it, or set $(variable_for "$port") in .env."
    fi
  done < <(published)
}

check_memory() {
  local limits need have less=
  case ",${COMPOSE_PROFILES:-}," in *,logs,*) less=', or leave logs out: make up COMPOSE_PROFILES=infra' ;; esac
  limits=$(awk '/^        limits:/ { inside = 1; next } /^        [^ ]/ { inside = 0 } inside && $1 == "memory:" { gsub(/"/, "", $2); sum += $2 }
    END { printf "%d", sum / 1048576 }' <<<"$config")
  # The enabled services never reach their limits all at once; four fifths leave them, and the machine, room to live.
  need=$(setting AGENT_KIT_MIN_MEMORY_MB $((limits * 4 / 5)))
  have=$(docker info -f '{{.MemTotal}}')
  have=$((have / 1048576))
  if [ "$have" -lt "$need" ]; then
    problem "The Docker engine has $have MiB of memory, the stack needs $need: give it more (Docker Desktop: Settings, Resources)$less."
  fi
}

check_disk() {
  local root free
  root=$(docker info -f '{{.DockerRootDir}}')
  # In Docker Desktop's virtual machine, or behind a remote DOCKER_HOST, the folder is not here to be looked at.
  free=$(df -Pk "$root" 2>/dev/null | awk 'NR == 2 { print int($4 / 1024) }') || return 0
  if [ -n "$free" ] && [ "$free" -lt "$min_disk" ]; then
    problem "$root has $free MiB free, the stack needs $min_disk: make room (docker system prune), or move Docker's data-root."
  fi
}

is_loopback() { case $1 in 127.* | ::1 | '[::1]' | localhost) ;; *) return 1 ;; esac }

check_exposure() {
  local address password
  address=$(setting ADMIN_BIND_ADDRESS 127.0.0.1)
  if ! is_loopback "$address"; then
    warn "Warning: ADMIN_BIND_ADDRESS=$address lets everybody who reaches this machine break the agent: its faults, log policy and simulators have no log-in."
  fi
  address=$(setting BIND_ADDRESS 127.0.0.1)
  if is_loopback "$address"; then return; fi
  warn "Warning: BIND_ADDRESS=$address shows Prometheus, Alertmanager, Jaeger and the mailbox to everybody who reaches this machine: they have no log-in. See docs/security.md."
  password=$(setting SECRETS_DIR ./secrets)/grafana_admin_password
  # Earlier versions of the kit wrote this default.
  if [ -e "$password" ] && [ "$(cat "$password")" = admin ]; then
    problem "BIND_ADDRESS=$address would show Grafana with the password admin: write one of your own into $password first."
  fi
}

# Docker would make an empty folder out of each file that is not there.
check_mounts() {
  local source
  while read -r source; do
    [ -e "$source" ] || problem "$source is to be mounted but does not exist: see the settings THRESHOLDS and *_CONFIG_DIR in .env.example."
  done < <(awk '/^      - type: bind/ { bind = 1; next } /^      - / { bind = 0 } bind && /^        source:/ { sub(/^        source: /, ""); print; bind = 0 }' <<<"$config")
}

check_ports
check_memory
check_disk
check_exposure
check_mounts
[ $problems = 0 ]
