#!/usr/bin/env bash
# Stand-ins: images built from package registries where no container registry answers. Each carries a label with a
# checksum of what it was made from; that is how a later run, from whichever checkout, finds it again. Sourced, after debian.sh.

# What the others are built in: it has what builds need, such as the authorities that this machine trusts.
BUILD_IMAGE=agent-kit/debian-build:$KIT_SUITE

# recipe_of NAME: the folder under images/ and the target in its Dockerfile.
recipe_of() {
  case $1 in
    prometheus | alertmanager | pushgateway | node-exporter | elasticsearch-exporter) echo "prometheus $1" ;;
    docker-cli | jaeger | maildev | elasticsearch | jruby | kafka | victoria-metrics) echo "$1 $1" ;;
    runtime) echo "debian $(runtime_suite)" ;;
    build) echo "debian $KIT_SUITE" ;;
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

# The suite of the official runtime image, if the compiler can be had for it: programs run on the C library that they were linked
# with, or a newer one, and Debian's compiler is new enough in the newer suite only.
runtime_suite() { if host_toolchain >/dev/null; then echo "${AGENT_KIT_RUNTIME_SUITE:-bookworm}"; else echo "$KIT_SUITE"; fi; }
runtime_image() { echo "agent-kit/debian:$(runtime_suite)"; }

# Whether a folder's images are made with what images/maven or images/root has.
from_maven() { grep -qs -e from=maven, "images/$1/Dockerfile"; }
from_official() { grep -qs -e from=official, "images/$1/Dockerfile"; }

# listed NAME: the programs that images/official.toml lists of an image, a path a line.
listed() {
  awk -v image="image.$1" -v base="base.$(base_of "$1")" '
    function put(text, words, n, i) {
      n = split(text, words, " ")
      for (i = 1; i <= n; i++) print (folder == "/" ? "" : folder) "/" words[i]
    }
    within { if ($0 == "\"\"\"") within = 0; else if (mine) put($0); next }
    /^\[/ { section = substr($0, 2, length($0) - 2); next }
    { mine = section == image ".programs" || section == base ".programs"; folder = $1; gsub(/"/, "", folder) }
    / = """$/ { within = 1; next }
    mine && / = "/ { text = $0; sub(/^[^=]* = "/, "", text); sub(/"$/, "", text); put(text) }' images/official.toml
}
# listed_users NAME: likewise NAME UID GID for each user.
listed_users() {
  awk -v image="image.$1" -v base="base.$(base_of "$1")" '
    /^\[/ { section = substr($0, 2, length($0) - 2); next }
    /^users = / && (section == image || section == base)' images/official.toml |
    grep -o '[a-z_-]* = "[0-9]*:[0-9]*"' | tr -d '"=' | tr ':' ' '
}
base_of() {
  awk -v image="[image.$1]" '/^\[/ { mine = $0 == image } mine && $1 == "base" { gsub(/"/, "", $3); print $3; exit }' images/official.toml
}

# listed_folders NAME: likewise PATH UID GID MODE for each folder that somebody can write.
listed_folders() {
  awk -v image="image.$1" -v base="base.$(base_of "$1")" '
    /^\[/ { section = substr($0, 2, length($0) - 2); next }
    /path = "/ && (section == image || section == base)' images/official.toml |
    grep -o 'path = "[^"*]*", owner = "[0-9]*:[0-9]*", mode = "[0-7]*"' | sed 's/[a-z]* = "\([^"]*\)",*/\1/g' | tr ':' ' '
}

# official_context NAME: a folder with what images/root/root.sh needs.
official_context() {
  local folder=$KIT_STATE/official/$1
  rm -rf "$folder"
  mkdir -p "$folder"
  cp images/root/root.sh "$folder/"
  listed "$1" >"$folder/programs"
  listed_users "$1" >"$folder/users"
  listed_folders "$1" >"$folder/folders"
  echo "$folder"
}

checksum_of() { # FOLDER TARGET
  {
    echo "$KIT_SUITE $2"
    find "images/$1" -type f | LC_ALL=C sort | xargs cat
    if from_maven "$1"; then find images/maven -type f | LC_ALL=C sort | xargs cat; fi
    if from_official "$1"; then cat images/root/root.sh && listed "$2" && listed_users "$2" && listed_folders "$2"; fi
    # What the compiler links runs in the runtime image.
    if [ "$1" = rust ]; then cat images/debian/build.sh && runtime_suite; fi
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

repository_of() { case $1 in runtime) echo debian ;; build) echo debian-build ;; *) echo "$1" ;; esac; }

build_debian() {
  standin_exists runtime && standin_exists build && return
  on_debian || die "No registry answers, and stand-ins can be built on Debian and Ubuntu only: name a mirror's images in .env."
  can_be_root || die "No registry answers, and building stand-ins needs root for mmdebstrap: run make with sudo."
  if ! command -v mmdebstrap >/dev/null 2>&1 || [ ! -e "$KIT_KEYRING" ]; then
    step mmdebstrap "Installing mmdebstrap" apt_install mmdebstrap debian-archive-keyring
  fi
  standin_exists runtime || step runtime "Building $(runtime_image)" import_debian runtime "$(runtime_suite)" "$(runtime_image)"
  standin_exists build || step debian "Building $BUILD_IMAGE" import_debian build "$KIT_SUITE" "$BUILD_IMAGE"
}

import_debian() { # runtime|build SUITE IMAGE
  local part=${3%:*}:building
  as_root env SSL_CERT_FILE="${SSL_CERT_FILE:-}" images/debian/build.sh "$1" "$2" "$(debian_mirror)" |
    docker import --change "LABEL agent-kit.recipe=$(checksum_of debian "$2")" --change 'CMD ["bash"]' \
      --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' - "$part" || return 1
  # Named only when it is whole: what is imported of a build that was broken off is an image too, and would be found by its label.
  docker tag "$part" "$3" && docker rmi "$part" >/dev/null
}

# One image, tagged with the version that its package turned out to have.
build_standin() {
  local name=$1 recipe folder target context=() version secrets=()
  recipe=$(recipe_of "$name")
  read -r folder target <<<"$recipe"
  if [ "$target" = rust-host ]; then context=(--build-context "toolchain=$(host_toolchain)"); fi
  if from_maven "$folder"; then context=(--build-context maven=images/maven); fi
  if from_official "$folder"; then context+=(--build-context "official=$(official_context "$name")"); fi
  if [ -s "$HOME/.m2/settings.xml" ]; then secrets+=(--secret "id=maven-user-settings,src=$HOME/.m2/settings.xml"); fi
  if [ -s /etc/maven/settings.xml ]; then secrets+=(--secret "id=maven-global-settings,src=/etc/maven/settings.xml"); fi
  # The proxies and registries that this machine is set up for; the values come from the environment, and from Maven's
  # settings, which can hold passwords.
  docker build --progress plain --target "$target" --label "agent-kit.recipe=$(checksum_of "$folder" "$target")" \
    --build-arg "DEBIAN_IMAGE=$BUILD_IMAGE" --build-arg "RUNTIME_IMAGE=$(runtime_image)" --build-arg HTTP_PROXY --build-arg HTTPS_PROXY --build-arg NO_PROXY \
    --build-arg GOPROXY --build-arg NPM_CONFIG_REGISTRY ${context[@]+"${context[@]}"} \
    ${secrets[@]+"${secrets[@]}"} \
    --tag "agent-kit/$name:building" "images/$folder" || return 1
  version=$(version_of "agent-kit/$name:building") || return 1
  docker tag "agent-kit/$name:building" "agent-kit/$name:$version" && docker rmi "agent-kit/$name:building"
}

# What a stand-in holds, by the file that its build leaves in it. It may have no program that could say.
version_of() { # IMAGE
  local container
  container=$(docker create "$1" none) || return 1
  docker cp "$container:/VERSION" - | tar -xO
  docker rm "$container" >/dev/null
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
