#!/usr/bin/env bash
# engine.sh ensure   a Docker engine and Compose that answer: used as found, else started, else installed (default)
# engine.sh stop     stops the engine that this kit unpacked, if it did
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"
# shellcheck source=debian.sh
. "$here/debian.sh"

# Health checks ask often while a service starts (start_interval), which engines before 25 do not know.
MIN_ENGINE=25
DOCS=https://docs.docker.com/engine/install/

state() { # ready, denied, down or absent
  local said
  command -v docker >/dev/null 2>&1 || { echo absent; return; }
  if said=$(docker version -f '{{.Server.Version}}' 2>&1); then echo ready; return; fi
  case $said in *"permission denied"*) echo denied ;; *) echo down ;; esac
}

check_usable() {
  local version
  case $(docker --version 2>&1) in
    *[pP]odman*) die "docker is Podman here, which the kit is not tested with: install Docker Engine $MIN_ENGINE or newer, see $DOCS" ;;
  esac
  version=$(docker version -f '{{.Server.Version}}')
  [ "${version%%.*}" -ge $MIN_ENGINE ] 2>/dev/null ||
    die "Docker Engine $version is too old, $MIN_ENGINE is the least: upgrade it, see $DOCS"
  if ! docker compose version >/dev/null 2>&1; then
    install_compose || die "Docker Compose v2 is missing: install the plugin, see https://docs.docker.com/compose/install/"
  fi
  say "Docker Engine $version, Compose $(docker compose version --short)${DOCKER_HOST:+ at $DOCKER_HOST}"
}

# candidate NAME: the version of a package that this machine's own sources offer.
candidate() {
  apt-cache policy "$1" 2>/dev/null | awk '$1 == "Candidate:" && $2 != "(none)" { sub(/^[0-9]+:/, "", $2); print $2 }'
}

# The package with Compose v2: Docker's own, Ubuntu's, Debian's (whose docker-compose was v1 until bookworm).
compose_package() {
  local name version
  for name in docker-compose-plugin docker-compose-v2 docker-compose; do
    version=$(candidate $name)
    if [ -n "$version" ] && [ "${version%%.*}" -ge 2 ]; then
      echo $name
      return
    fi
  done
  return 1
}

install_compose() {
  local package
  on_debian && can_be_root && package=$(compose_package) || return 1
  step compose "Compose v2 is missing: installing $package" apt_install "$package"
}

install_engine() {
  local version compose cli=
  # An empty package index (a fresh container image) offers nothing.
  [ -n "$(candidate docker.io)" ] || as_root apt-get -qq update || :
  version=$(candidate docker.io)
  if [ -n "$version" ] && [ "${version%%.*}" -ge $MIN_ENGINE ] && compose=$(compose_package); then
    # Debian has the client in a package of its own, Ubuntu in docker.io.
    [ -z "$(candidate docker-cli)" ] || cli=docker-cli
    step engine-install "Installing Docker $version from this system's packages" \
      apt_install docker.io $cli "$compose" docker-buildx iptables ca-certificates
  elif [ -n "$(debian_mirror)" ]; then
    unpack_engine
  else
    die "This system's packages have no Docker Engine $MIN_ENGINE with Compose v2: install it, see $DOCS"
  fi
}

# This system's packages are too old: newer ones, beside the system, in the cache. Only runc (it is tied to the
# C library) and iptables come from the system itself.
unpack_engine() {
  if ! command -v iptables >/dev/null || ! command -v runc >/dev/null; then
    step engine-parts "Installing runc and iptables" apt_install runc iptables
  fi
  rm -rf "$KIT_ENGINE/root" "$KIT_ENGINE/root.part"
  step engine-install "Unpacking Docker of Debian $KIT_SUITE into $KIT_ENGINE" \
    unpack_packages "$KIT_ENGINE/root.part" docker.io containerd docker-cli docker-compose docker-buildx
  # The newer suite's runc would be found first and wants a newer C library.
  rm -f "$KIT_ENGINE"/root.part/usr/{bin,sbin}/runc
  mkdir -p "$KIT_ENGINE/config/cli-plugins"
  ln -sf "$KIT_ENGINE"/root/usr/libexec/docker/cli-plugins/docker-{compose,buildx} "$KIT_ENGINE/config/cli-plugins/"
  # Last, because its being there is what says that the engine is complete.
  mv "$KIT_ENGINE/root.part" "$KIT_ENGINE/root"
  use_engine
}

start_engine() {
  local log
  log=$(log_of dockerd)
  mkdir -p "$KIT_CACHE/logs"
  if own_engine; then
    start_own_engine "$log"
  elif ! command -v dockerd >/dev/null 2>&1; then
    return 1
  elif [ -d /run/systemd/system ]; then
    as_root systemctl start docker
  else
    # Without systemd the package starts nothing. A pid file that a killed daemon left can name a living process.
    # shellcheck disable=SC2016 # expanded by root's shell
    as_root sh -c 'pid=$(cat /var/run/docker.pid 2>/dev/null); grep -qs dockerd "/proc/$pid/comm" || rm -f /var/run/docker.pid'
    detached "$log" dockerd
  fi
  answered "$log"
}

detached() { # LOG COMMAND…: outlives this script, and is no job of it
  local log=$1
  shift
  (as_root setsid "$@" >"$log" 2>&1 </dev/null &)
}

start_own_engine() {
  [ ${#KIT_ENGINE} -le 90 ] || die "The cache's path is too long for a socket in it; set AGENT_KIT_CACHE to a shorter one."
  as_root "$here/reap.sh" "$KIT_ENGINE"
  # Its own configuration file, even if empty: /etc/docker/daemon.json is another engine's.
  echo '{}' >"$KIT_ENGINE/daemon.json"
  detached "$1" env PATH="$KIT_ENGINE/root/usr/sbin:$KIT_ENGINE/root/usr/bin:$PATH:/usr/sbin:/sbin" dockerd \
    --config-file "$KIT_ENGINE/daemon.json" --host "$DOCKER_HOST" --group "$(id -g)" --data-root "$KIT_ENGINE/data" \
    --exec-root "$KIT_ENGINE/run" --pidfile "$KIT_ENGINE/docker.pid"
}

answered() {
  local begun=$SECONDS
  until docker version >/dev/null 2>&1; do
    # Running, but not for us: waiting longer changes nothing.
    [ "$(state)" = denied ] && return
    if [ $((SECONDS - begun)) -ge 30 ]; then
      warn "The Docker engine does not start. The end of $1:"
      tail -n 15 "$1" >&2 2>/dev/null || :
      return 1
    fi
    sleep 0.2
  done
}

refuse_denied() {
  die "You may not use Docker: \`sudo usermod -aG docker $(id -un)\`, then log in again; or run make with sudo."
}

ensure() {
  case $(state) in
    ready) check_usable; return ;;
    denied) refuse_denied ;;
  esac
  if [ -n "${DOCKER_HOST:-}" ] && ! own_engine; then
    die "No Docker engine answers at DOCKER_HOST=$DOCKER_HOST."
  fi
  if [ "$(uname -s)" != Linux ] || { ! on_debian && ! command -v dockerd >/dev/null 2>&1; }; then
    die "Docker is missing or not running: start it, or install Docker Engine $MIN_ENGINE or newer, see $DOCS"
  fi
  can_be_root || die "Docker is missing or not running, and starting it needs root: run make with sudo, or see $DOCS"
  if ! own_engine && ! command -v dockerd >/dev/null 2>&1; then install_engine; fi
  # The package may have started it already.
  [ "$(state)" = ready ] || start_engine || die "This machine cannot run a Docker engine."
  [ "$(state)" = denied ] && refuse_denied
  check_usable
}

stop() {
  local pid
  own_engine || die "The Docker engine here is not this kit's: stop it by its own means."
  pid=$(cat "$KIT_ENGINE/docker.pid" 2>/dev/null) || { say "The engine is not running."; return; }
  as_root kill "$pid" 2>/dev/null || :
  while [ -e "$KIT_ENGINE/docker.pid" ] && as_root kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
  say "Stopped the engine; its images and volumes stay in $KIT_ENGINE/data."
}

case ${1:-ensure} in
  ensure) ensure ;;
  stop) stop ;;
  *) die "usage: engine.sh [ensure|stop]" ;;
esac
