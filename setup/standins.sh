#!/usr/bin/env bash
# Stand-ins: images built from package registries where no container registry answers. Each carries a label with a
# checksum of what it was made from; that is how a later run, from whichever checkout, finds it again. Sourced, after debian.sh.

DEBIAN_IMAGE=agent-kit/debian:$KIT_SUITE

# recipe_of NAME: the folder under images/ and the target in its Dockerfile.
recipe_of() {
  case $1 in
    prometheus | alertmanager | pushgateway | node-exporter | elasticsearch-exporter) echo "prometheus $1" ;;
    jaeger | maildev | elasticsearch | kafka | victoria-metrics) echo "$1 $1" ;;
    runtime) echo "debian -" ;;
    rust) if host_toolchain >/dev/null; then echo "rust rust-host"; else echo "rust rust-debian"; fi ;;
    *) return 1 ;;
  esac
}

# The machine's own compiler where it is the pinned one: then host and container build the same.
host_toolchain() {
  local pinned
  pinned=$(sed -n 's/^channel *= *"\(.*\)"/\1/p' rust-toolchain.toml)
  command -v rustc >/dev/null 2>&1 && [ "$(rustc --version | cut -d' ' -f2)" = "$pinned" ] && rustc --print sysroot
}

# Whether a folder's images are made with what images/maven has.
from_maven() { grep -qs -e from=maven, "images/$1/Dockerfile"; }

checksum_of() { # FOLDER TARGET
  {
    echo "$KIT_SUITE $2"
    find "images/$1" -type f | LC_ALL=C sort | xargs cat
    if from_maven "$1"; then find images/maven -type f | LC_ALL=C sort | xargs cat; fi
  } | cksum | tr ' ' -
}

# standin_tag NAME: the tag of the stand-in built from the present recipe, if there is one.
standin_tag() {
  local recipe folder target tag
  recipe=$(recipe_of "$1") || return 1
  read -r folder target <<<"$recipe"
  tag=$(docker image ls "agent-kit/$(repository_of "$1")" --filter "label=agent-kit.recipe=$(checksum_of "$folder" "$target")" \
    --format '{{.Repository}}:{{.Tag}}' | grep -v -e '<none>' -e ':building$' | head -n 1)
  [ -n "$tag" ] && echo "$tag"
}
standin_exists() { standin_tag "$1" >/dev/null; }

repository_of() { if [ "$1" = runtime ]; then echo debian; else echo "$1"; fi; }

build_debian() {
  standin_exists runtime && return
  on_debian || die "No registry answers, and stand-ins can be built on Debian and Ubuntu only: name a mirror's images in .env."
  can_be_root || die "No registry answers, and building stand-ins needs root for mmdebstrap: run make with sudo."
  if ! command -v mmdebstrap >/dev/null 2>&1 || [ ! -e "$KIT_KEYRING" ]; then
    step mmdebstrap "Installing mmdebstrap" apt_install mmdebstrap debian-archive-keyring
  fi
  step debian "Building $DEBIAN_IMAGE" import_debian
}

import_debian() {
  as_root env SSL_CERT_FILE="${SSL_CERT_FILE:-}" images/debian/build.sh "$KIT_SUITE" "$(debian_mirror)" |
    docker import --change "LABEL agent-kit.recipe=$(checksum_of debian -)" --change 'CMD ["bash"]' - "$DEBIAN_IMAGE"
}

# One image, tagged with the version that its package turned out to have.
build_standin() {
  local name=$1 recipe folder target context=() version secrets=()
  recipe=$(recipe_of "$name")
  read -r folder target <<<"$recipe"
  if [ "$target" = rust-host ]; then context=(--build-context "toolchain=$(host_toolchain)"); fi
  if from_maven "$folder"; then context=(--build-context maven=images/maven); fi
  if [ -s "$HOME/.m2/settings.xml" ]; then secrets+=(--secret "id=maven-user-settings,src=$HOME/.m2/settings.xml"); fi
  if [ -s /etc/maven/settings.xml ]; then secrets+=(--secret "id=maven-global-settings,src=/etc/maven/settings.xml"); fi
  # The proxies and registries that this machine is set up for; the values come from the environment, and from Maven's
  # settings, which can hold passwords.
  docker build --progress plain --target "$target" --label "agent-kit.recipe=$(checksum_of "$folder" "$target")" \
    --build-arg "DEBIAN_IMAGE=$DEBIAN_IMAGE" --build-arg HTTP_PROXY --build-arg HTTPS_PROXY --build-arg NO_PROXY \
    --build-arg GOPROXY --build-arg NPM_CONFIG_REGISTRY ${context[@]+"${context[@]}"} \
    ${secrets[@]+"${secrets[@]}"} \
    --tag "agent-kit/$name:building" "images/$folder" || return 1
  version=$(docker run --rm --network none --entrypoint cat "agent-kit/$name:building" /VERSION) || return 1
  docker tag "agent-kit/$name:building" "agent-kit/$name:$version" && docker rmi "agent-kit/$name:building"
}

# Without its compiler or its base nothing of our own can be built; without any other service the rest is still of use.
optional() { [ "$1" != rust ]; }

# build_standins NAME…: Jaeger compiles for minutes, so it begins first and goes on beside whatever comes after, until
# finish_standins waits for it.
jaeger_build=''
build_standins() {
  local name
  build_debian
  for name in jaeger "$@"; do
    case " $* " in *" $name "*) ;; *) continue ;; esac
    if ! recipe_of "$name" >/dev/null || [ "$name" = runtime ] || standin_exists "$name"; then continue; fi
    if [ "$name" != jaeger ]; then
      step "$name" "Building $name" build_standin "$name" || optional "$name"
    elif [ -z "$jaeger_build" ]; then
      say "Building jaeger from its Go module, beside the others (log: $(log_of jaeger))"
      background "$(log_of jaeger)" build_standin jaeger
      # shellcheck disable=SC2154 # set by background
      jaeger_build=$background_pid
    fi
  done
}

finish_standins() {
  if [ -n "$jaeger_build" ]; then wait_for jaeger "Building jaeger" "$jaeger_build" || optional jaeger; fi
}
