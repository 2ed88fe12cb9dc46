#!/bin/sh
# compile.sh PROFILE PACKAGE…: compiles the programs of these packages into /out. Runs in the Dockerfile's build stages, with the
# sources in /context and a cache in /cache that outlives the build.
#
# Cargo takes a source file for unchanged if it is older than what was compiled from it, whatever its content is. The cache may have
# been filled from another checkout, whose files are newer. So a file comes into the cache only when its content is another than the
# one that is there, and then with the present time.
set -eu
profile=$1
shift
(cd /cache && find . -path ./target -prune -o -type f -print) | while read -r file; do
  [ -e "/context/$file" ] || rm "/cache/$file"
done
(cd /context && find . -type f) | while read -r file; do
  cmp -s "/context/$file" "/cache/$file" || install -D -m 644 "/context/$file" "/cache/$file"
done
cd /cache
for package in "$@"; do
  set -- "$@" --package "$package"
  shift
done
# What was linked with another C library is of no use: the base image may change under the same name.
target=target/$(ldd --version | awk 'NR == 1 { print $NF }')
cargo build --locked --bins --profile "$profile" --target-dir "$target" "$@"
echo "Processor time of this shell and of what it ran (user, system):"
times
mkdir -p /out
find "$target/$profile" -maxdepth 1 -type f -perm -u+x -exec cp {} /out/ \;
