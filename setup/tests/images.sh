#!/usr/bin/env bash
# That one image that cannot be pulled is named and leaves the others of use, and that room is asked for before the first pull: in a
# copy of the kit, with a docker that is a stub, on a PATH that has nothing to build stand-ins with.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
kit=$(cd "$here/../.." && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$scratch/bin" "$scratch/kit"
cp -R "$kit/setup" "$kit/images" "$kit/rust-toolchain.toml" "$scratch/kit/"
for tool in awk bash basename cat chmod cksum cp cut date dirname env find grep head id mkdir mktemp ps rm sed sh sleep sort tail tr uname wc xargs; do
  path=$(command -v $tool) && ln -s "$path" "$scratch/bin/$tool"
done
cat >"$scratch/config.yml" <<'YAML'
services:
  example-agent:
    build:
      args:
        RUNTIME_IMAGE: debian:bookworm-slim
    image: agent-kit/example-agent:dev
  kibana:
    image: docker.elastic.co/kibana/kibana:9
  prometheus:
    image: prom/prometheus:v3
  pushgateway:
    image: prom/pushgateway:v1
YAML
# Answers as STUB_* say; $STUB_DONE is what was pulled and built.
cat >"$scratch/bin/docker" <<'STUB'
#!/usr/bin/env bash
case "$1 ${2:-}" in
  "compose config") cat "$STUB_CONFIG" ;;
  "compose --profile") case $* in *config*) cat "$STUB_CONFIG" ;; *) echo built >>"$STUB_DONE" ;; esac ;;
  "info "*) echo /engine ;;
  "image inspect") grep -qsx "$3" "$STUB_DONE" ;;
  "image ls") ;;
  "pull "*)
    case " ${STUB_REFUSES:-} " in *" $2 "*) echo "Error: manifest for $2 not found: manifest unknown" >&2; exit 1 ;; esac
    echo "$2" >>"$STUB_DONE" ;;
  *) echo "unexpected: docker $*" >&2; exit 99 ;;
esac
STUB
cat >"$scratch/bin/df" <<'STUB'
#!/bin/sh
printf 'Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/x 1 1 %s 1%% /\n' "$((STUB_FREE_MB * 1024))"
STUB
chmod +x "$scratch/bin/docker" "$scratch/bin/df"

images() { # [VARIABLE=VALUE…]: what it says, and how it ends
  rm -rf "$scratch/kit/.kit" "$scratch/done"
  env -i HOME="$scratch" PATH="$scratch/bin" STUB_CONFIG="$scratch/config.yml" STUB_DONE="$scratch/done" STUB_FREE_MB=100000 "$@" \
    "$scratch/kit/setup/images.sh" 2>&1 && echo "ends with 0" || echo "ends with $?"
}
pulled() { sort "$scratch/done" 2>/dev/null | tr '\n' ' '; }
missing() { tr '\t\n' ': ' <"$scratch/kit/.kit/missing"; }

# shellcheck source=expect.sh
. "$here/expect.sh"
for mode in auto pull; do
  expect "$mode: all there" "$(images AGENT_KIT_IMAGES=$mode)" "*ends with 0"
  expect "$mode: all pulled" "$(pulled)" "built debian:bookworm-slim docker.elastic.co/kibana/kibana:9 prom/prometheus:v3 prom/pushgateway:v1 "
  expect "$mode: none missing" "$(missing)" ""

  said=$(images AGENT_KIT_IMAGES=$mode STUB_REFUSES=prom/prometheus:v3)
  expect "$mode: one that is refused is named, and ends nothing" "$said" \
    "*Cannot be pulled: prom/prometheus:v3 (for prometheus): Error: manifest for prom/prometheus:v3 not found*Not to be had here: prometheus (prom/prometheus:v3 cannot be pulled)*ends with 0"
  expect "$mode: the others are pulled" "$(pulled)" "built debian:bookworm-slim docker.elastic.co/kibana/kibana:9 prom/pushgateway:v1 "
  expect "$mode: and it is recorded" "$(missing)" "prometheus:prom/prometheus:v3 cannot be pulled "

  said=$(images AGENT_KIT_IMAGES=$mode STUB_FREE_MB=3500)
  expect "$mode: no room" "$said" "*/engine has 3500 MiB free, and about [0-9]* are needed, for* kibana*make room*ends with 1"
  expect "$mode: then nothing is pulled" "$(pulled)" ""
done
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" = 0 ]
