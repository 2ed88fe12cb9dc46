#!/usr/bin/env bash
# Packages of a newer Debian suite, beside the system: the machine's own apt never hears of that suite, and nothing of
# it is installed. Signatures are checked as ever, against Debian's own keyring. Sourced, after lib.sh.

# The suite whose packages are new enough for all of the kit: Docker 28, Prometheus 3.5, Alertmanager 0.33.
KIT_SUITE=${AGENT_KIT_SUITE:-forky}
KIT_KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

on_debian() { command -v apt-get >/dev/null 2>&1; }

# The mirror that this machine already uses; nothing where it is not Debian.
debian_mirror() {
  # shellcheck disable=SC2016 # apt expands these, not the shell
  apt-get indextargets --format '$(RELEASE) $(SITE)' 'Created-By: Packages' 'Origin: Debian' |
    awk '$1 !~ /-/ { print $2; exit }'
}

apt_install() {
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Acquire::Retries=3 update &&
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Acquire::Retries=3 install -y --no-install-recommends "$@"
}

# Only for Debian hosts: elsewhere the mirror is not known.
suite_apt() {
  local dir=$KIT_CACHE/apt/$KIT_SUITE mirror
  mirror=$(debian_mirror)
  [ -n "$mirror" ] || { warn "apt knows no Debian mirror: run apt-get update once."; return 1; }
  mkdir -p "$dir/lists/partial" "$dir/archives/partial"
  : >>"$dir/status"
  printf 'deb [signed-by=%s] %s %s main\n' "$KIT_KEYRING" "$mirror" "$KIT_SUITE" >"$dir/sources.list"
  apt-get -qq -o Dir::Etc::SourceList="$dir/sources.list" -o Dir::Etc::SourceParts=/dev/null \
    -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null \
    -o Dir::State::Lists="$dir/lists" -o Dir::State::status="$dir/status" -o Dir::Cache="$dir" \
    -o APT::Sandbox::User="$(id -un)" -o Acquire::Languages=none -o Acquire::Retries=3 "$@"
}

# unpack_packages DIR NAME…: the files of these packages, and of nothing they depend on.
unpack_packages() {
  local dir=$1 debs package
  shift
  debs=$(mktemp -d)
  (cd "$debs" && suite_apt update && suite_apt download "$@") || { rm -rf "$debs"; return 1; }
  mkdir -p "$dir"
  for package in "$debs"/*.deb; do dpkg-deb -x "$package" "$dir" || { rm -rf "$debs"; return 1; }; done
  rm -rf "$debs"
}
