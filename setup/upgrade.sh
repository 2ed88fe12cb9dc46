#!/usr/bin/env bash
# make upgrade IMAGE=prometheus VERSION=3.14.0: brings an image to a newer version in every place that names it, runs the
# checks (WITH=test: the whole stack too), and says what changed. It commits nothing and takes nothing back: that is yours.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"

refuse() {
  warn "upgrade: $*"
  exit 64
}

image=${1:-} version=${2:-} with=${3:-check}
if [ -z "$image" ] || [ -z "$version" ]; then refuse "say what to what: make upgrade IMAGE=prometheus VERSION=3.14.0"; fi
case $with in
  check) scope=check ;;
  test) scope=all ;;
  *) refuse "WITH=$with: use check or test" ;;
esac
# What is changed here must be told from what was changed before, also to go back.
[ -z "$(git status --porcelain)" ] || refuse "the work tree has changes: commit or stash them first"

go_back="To go back: git checkout -- ."
status=0
cargo run --quiet --locked -p stack-tests --bin pins -- set "$image" "$version" || status=$?
if [ $status != 0 ]; then
  [ -z "$(git status --porcelain)" ] || warn "It is changed in part. $go_back"
  exit $status
fi

# Where no registry answers, a stand-in runs instead: it has a version of its own.
for standin in images/*/Dockerfile; do
  name=$(basename "$(dirname "$standin")")
  builds=$(sed -n 's/^ARG [A-Z_]*_VERSION=//p' "$standin" | head -n 1)
  if [ -n "$builds" ] && git diff --unified=0 -- docker-compose.yml | grep -q "^+.*{$(tr 'a-z-' 'A-Z_' <<<"$name")_IMAGE:-"; then
    say "$standin builds $builds, as before: without a registry that is what runs"
  fi
done
if [ "$image" = rust ]; then say "rust-toolchain.toml, and rust-version in Cargo.toml, are for builds outside of containers: they stay"; fi

what_changed() { git --no-pager diff --unified=0 --no-color | grep -E '^([+]{3}|[-+] *[^-+])' || :; }
if "$here/test.sh" "$scope"; then
  what_changed
  say "All of it passes with $image $version. Look at the release notes, then commit it. $go_back"
else
  what_changed
  warn "With $image $version the checks listed above fail. The new version stands where the lines above say. $go_back"
  exit 1
fi
