#!/usr/bin/env bash
# Has every image that the enabled services and our own builds need: pulled where its registry answers, else a stand-in
# built from packages (images/). AGENT_KIT_IMAGES=pull|build decides for all of them; the default finds out for each.
# Writes .kit/images.env (what overrides Compose's defaults) and .kit/missing (service, tab, why it cannot be had).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"
# shellcheck source=debian.sh
. "$here/debian.sh"
# shellcheck source=standins.sh
. "$here/standins.sh"

mode=$(setting AGENT_KIT_IMAGES auto)
case $mode in auto | pull | build) ;; *) die "AGENT_KIT_IMAGES=$mode: use auto, pull or build." ;; esac

# NAME REFERENCE for each image that we do not build ourselves, as Compose would take it without our overrides. NAME is
# the service, of several with one image the first by name (NAME before NAME-2 and NAME-setup); for the base images of our own builds it is
# `rust`, `runtime` and `docker-cli`, from the argument's name. Of those of ours with a name from a setting nothing is built.
wanted() {
  rm -f "$KIT_STATE/images.env"
  use_compose
  # A variable, because a flag would take the place of the profiles that are on.
  COMPOSE_PROFILES=${COMPOSE_PROFILES:+$COMPOSE_PROFILES,}tools docker compose config | awk '
    /^services:/ { inside = 1; next }
    /^[^ ]/ { inside = 0 }
    !inside { next }
    /^  [^ ]/ { flush(); service = $1; sub(/:$/, "", service) }
    /^    image:/ { image = $2 }
    /^        [A-Z_]+_IMAGE:/ { name = tolower($1); sub(/_image:$/, "", name); gsub(/_/, "-", name); of[name] = $2 }
    function flush() {
      if (image ~ /^agent-kit\/.*:dev$/) { for (name in of) base[name] = of[name] }
      else if (service != "" && image != "" && !seen[image]++) print service, image
      service = image = ""; split("", of)
    }
    END { flush(); for (name in base) print name, base[name] }'
}

registry_of() { # the part before the first slash, if it looks like a host
  case $1 in
    *.*/* | *:*/* | localhost/*) printf '%s' "${1%%/*}" ;;
    *) printf 'docker.io' ;;
  esac
}

present() { docker image inspect "$1" >/dev/null 2>&1; }

# Asks the engine, not curl: it may go through a proxy or a mirror of its own. One real pull for each registry; a pull
# that is still running when its time is up has got past the question, and so has one for an image that is not there.
answers() {
  local registry=$1 image=$2 log
  case " $answering " in *" $registry "*) return 0 ;; esac
  case " $silent " in *" $registry "*) return 1 ;; esac
  log=$(log_of registry)
  if bounded 15 docker pull "$image" >"$log" 2>&1 ||
    grep -qE 'Pulling fs layer|Downloading|Pull complete|manifest.* (unknown|not found)' "$log"; then
    answering="$answering $registry"
    say "Registry $registry answers"
  else
    silent="$silent $registry"
    say "Registry $registry does not answer: $(tail -n 1 "$log")"
    return 1
  fi
}

variable_of() { printf '%s_IMAGE' "$1" | tr 'a-z-' 'A-Z_'; }

# What each image takes when it is unpacked, by images/official.toml; half a gigabyte for one that is not in it.
size_of() { # NAME
  awk -v image="[image.$1]" '/^\[/ { mine = $0 == image } mine && $1 == "size_mb" { size = $3 } END { print size ? size : 500 }' images/official.toml
}
# The compiler's cache and the images of our own programs: about what a first build takes.
OWN_MB=3000

# Before the first pull, because an engine whose disk is full takes down whatever else runs there.
check_room() {
  local name image root free need=0 names=
  while read -r name image; do
    if present "$image" || standin_exists "$name"; then continue; fi
    need=$((need + $(size_of "$name"))) names="$names $name"
  done <<<"$list"
  present agent-kit/example-agent:dev || need=$((need + OWN_MB))
  root=$(docker info -f '{{.DockerRootDir}}')
  # In Docker Desktop's virtual machine, or behind a remote DOCKER_HOST, the folder is not here to be looked at.
  free=$(df -Pk "$root" 2>/dev/null | awk 'NR == 2 { print int($4 / 1024) }') || return 0
  if [ -n "$free" ] && [ "$free" -lt "$need" ]; then
    die "$root has $free MiB free, and about $need are needed, for$names and the kit's own programs: make room (docker system prune), move Docker's data-root, or leave logs out: make setup COMPOSE_PROFILES=infra"
  fi
}

mkdir -p "$KIT_STATE" "$KIT_CACHE/logs"
answering='' silent='' pulls='' substitutes=''
# Small images first: the first of each registry is its test.
list=$(wanted | sort -u | awk '$1 == "pushgateway" { print; next } { rest = rest $0 "\n" } END { printf "%s", rest }')
check_room
while read -r name image; do
  if [ "$mode" = pull ]; then
    present "$image" || pulls="$pulls $name"
  elif [ "$mode" = build ]; then
    substitutes="$substitutes $name"
  elif present "$image"; then
    :
  elif answers "$(registry_of "$image")" "$image"; then
    pulls="$pulls $name"
  else
    substitutes="$substitutes $name"
  fi
done <<<"$list"

image_of() { awk -v name="$1" '$1 == name { print $2; exit }' <<<"$list"; } # NAME

# One tag that cannot be had (a registry that limits pulls, a platform without the image) leaves the others of use.
failed=''
pull_all() {
  local name image pull
  for name in $pulls; do
    image=$(image_of "$name")
    present "$image" && continue
    pull=pull-${image//[^a-zA-Z0-9.-]/-}
    if ! step "$pull" "Pulling $image" docker pull "$image"; then
      warn "Cannot be pulled: $image (for $name): $(tail -n 1 "$(log_of "$pull")")"
      failed="$failed $name"
    fi
  done
}
pull_all
# What was not pulled after all is built, where that is allowed and possible.
builds=$substitutes
if [ "$mode" != pull ] && on_debian && can_be_root; then builds="$builds$failed"; fi
substitutes="$substitutes$failed"

# What overrides Compose's defaults: the stand-ins that exist by now.
record_images() {
  local name tag
  {
    echo '# Written by "make setup": the images that stand in for those no registry gave.'
    for name in $substitutes; do
      if tag=$(standin_tag "$name"); then echo "$(variable_of "$name")=$tag"; fi
    done
  } >"$KIT_STATE/images.env"
  use_compose
}

record_missing() {
  local name reason
  for name in $substitutes; do
    standin_exists "$name" && continue
    reason='no registry answers, and no package registry has it'
    case " $failed " in *" $name "*) reason="$(image_of "$name") cannot be pulled" ;; esac
    case " $builds " in *" $name "*) if recipe_of "$name" >/dev/null; then reason="building it failed, see $(log_of "$name")"; fi ;; esac
    printf '%s\t%s\n' "$name" "$reason"
    warn "Not to be had here: $name ($reason)"
  done >"$KIT_STATE/missing"
  # Prometheus asks none of these.
  printf 'ABSENT_SERVICES=%s\n' "$(cut -f 1 "$KIT_STATE/missing" | paste -sd , -)" >>"$KIT_STATE/images.env"
}

if [ -n "$builds" ]; then
  say "Not from a registry:$builds"
  # shellcheck disable=SC2086 # a list of words
  build_standins $builds
fi
record_images
# shellcheck disable=SC2046 # a list of words
step own "Building the agent, the simulators and the load test" docker compose --profile '*' build $(own_services)
finish_standins
record_images
record_missing
