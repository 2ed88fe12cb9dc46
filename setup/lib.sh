#!/usr/bin/env bash
# What every script here shares: where things are, how it speaks, which engine it talks to. Sourced, never run.
# Shell, because it runs before any toolchain exists; bash 3.2, because that is what macOS has.

KIT_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Built and downloaded things live outside the checkout, so that a clean clone finds them again.
KIT_CACHE=${AGENT_KIT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/agent-observability-kit}
# What `make setup` found out about this machine; git ignores it.
KIT_STATE=$KIT_ROOT/.kit
KIT_ENGINE=$KIT_CACHE/engine
KIT_TOOLS=$KIT_CACHE/bin
cd "$KIT_ROOT" || exit 1

# Elapsed since the first of the scripts that call one another.
export KIT_BEGAN=${KIT_BEGAN:-$(date +%s)}
say() { printf '[%3ds] %s\n' $(($(date +%s) - KIT_BEGAN)) "$*"; }
warn() { printf '%s\n' "$*" >&2; }
die() {
  warn "$*"
  exit 1
}

case $KIT_ROOT in
  *,* | *:*) die "The path $KIT_ROOT has a comma or a colon, which Docker takes for a separator: move this folder." ;;
esac
case $KIT_CACHE/ in
  "$KIT_ROOT"/*) die "AGENT_KIT_CACHE=$KIT_CACHE is inside the checkout: choose a folder outside of it." ;;
esac

# A script that ends, by Ctrl-C too, takes with it what it started in the background: each is a process group of its own.
stop_children() {
  local pid
  for pid in $(jobs -p); do kill -- "-$pid" 2>/dev/null || :; done
}
trap stop_children EXIT

background_pid=
# background LOG COMMAND…: begins it; its process id is in $background_pid.
background() {
  local log=$1
  shift
  mkdir -p "$KIT_CACHE/logs"
  set -m
  "$@" >"$log" 2>&1 </dev/null &
  background_pid=$!
  set +m
}

log_of() { printf '%s/logs/%s.log' "$KIT_CACHE" "$1"; }

# wait_for NAME LABEL PID: a sign of life every 15 s; where PID fails, the end of its log.
wait_for() {
  local label=$2 log pid=$3 begun=$SECONDS next=15
  log=$(log_of "$1")
  while kill -0 "$pid" 2>/dev/null; do
    sleep 0.2
    if [ $((SECONDS - begun)) -ge $next ]; then
      if [ $next = 15 ]; then say "  … $label (log: $log)"; else say "  … $label"; fi
      next=$((next + 15))
    fi
  done
  wait "$pid" && return
  warn "$label failed. The end of $log:"
  tail -n 25 "$log" >&2
  return 1
}

# step NAME LABEL COMMAND…: runs it with its output in a log.
step() {
  local name=$1 label=$2
  shift 2
  say "$label"
  background "$(log_of "$name")" "$@"
  wait_for "$name" "$label" "$background_pid"
}

# bounded SECONDS COMMAND…: ends it when the time is up (macOS has no `timeout`).
bounded() {
  local limit=$1 pid begun=$SECONDS
  shift
  "$@" &
  pid=$!
  while kill -0 "$pid" 2>/dev/null; do
    if [ $((SECONDS - begun)) -ge "$limit" ]; then
      kill "$pid" 2>/dev/null || :
      break
    fi
    sleep 0.1
  done
  wait "$pid"
}

# setting NAME DEFAULT: as Compose sees it, the environment before .env.
setting() {
  local value=${!1:-}
  if [ -z "$value" ] && [ -f .env ]; then
    value=$(sed -n "s/^[[:space:]]*\(export[[:space:]][[:space:]]*\)\{0,1\}$1=//p" .env | tail -n 1 |
      sed -e 's/[[:space:]]#.*$//' -e 's/[[:space:]]*$//' -e "s/^\"\(.*\)\"\$/\1/" -e "s/^'\(.*\)'\$/\1/")
  fi
  printf '%s' "${value:-$2}"
}

# Asks for the password here, where there is a terminal: steps run without one.
can_be_root() {
  [ "$(id -u)" = 0 ] && return
  command -v sudo >/dev/null 2>&1 && { sudo -n true 2>/dev/null || { [ -t 0 ] && sudo -v; }; }
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# The engine that setup/engine.sh unpacked, if it did: it has its own socket, its own plugins, its own data.
own_engine() {
  [ -x "$KIT_ENGINE/root/usr/sbin/dockerd" ] &&
    { [ -z "${DOCKER_HOST:-}" ] || [ "$DOCKER_HOST" = "unix://$KIT_ENGINE/docker.sock" ]; }
}

use_engine() {
  if own_engine; then
    export DOCKER_HOST=unix://$KIT_ENGINE/docker.sock DOCKER_CONFIG=$KIT_ENGINE/config
    PATH=$KIT_ENGINE/root/usr/bin:$PATH
  fi
  # Provenance records would need a newer image store, and make every build a little slower.
  export BUILDX_NO_DEFAULT_ATTESTATIONS=1
}

# Compose reads the user's .env first and then what setup found out, which wins.
use_compose() {
  local files=
  [ -f .env ] && files=$KIT_ROOT/.env
  [ -f "$KIT_STATE/images.env" ] && files=${files:+$files,}$KIT_STATE/images.env
  if [ -n "$files" ]; then export COMPOSE_ENV_FILES=$files; else unset COMPOSE_ENV_FILES; fi
  if [ -n "${PROJECT:-}" ]; then export COMPOSE_PROJECT_NAME=$PROJECT; fi
  # Optional parts are on unless somebody says otherwise, be it with nothing: COMPOSE_PROFILES= make up
  export COMPOSE_PROFILES=${COMPOSE_PROFILES-$(setting COMPOSE_PROFILES infra,logs)}
}

# own_services: those whose images are built from this checkout, and are not named by a setting: Compose's defaults end with :dev.
# Not `kit`: the first verb that runs in it builds it.
own_services() {
  docker compose --profile '*' config | awk '
    /^[^ ]/ { inside = $1 == "services:" }
    inside && /^  [^ ]/ { service = $1; sub(/:$/, "", service) }
    inside && /^    image: agent-kit\/.*:dev$/ && service != "kit" { print service }'
}

# own_state WHAT: where what belongs to one stack of several is kept.
own_state() { printf '%s/%s/%s' "$KIT_STATE" "$1" "${COMPOSE_PROJECT_NAME:-agent-observability-kit}"; }

PATH=$KIT_TOOLS:$PATH
use_engine
use_compose
