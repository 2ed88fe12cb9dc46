#!/usr/bin/env bash
# What upgrade.sh changes, what it refuses, and that it takes nothing back by itself: in a copy of the kit, with checks that
# are a stub.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
kit=$(cd "$here/../.." && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
copy=$scratch/kit
mkdir -p "$copy" "$scratch/bin"
(cd "$kit" && git ls-files -z --cached --others --exclude-standard | tar -c --null -T - -f -) | tar -x -C "$copy" -f -
# shellcheck disable=SC2016 # for the shell that runs it
printf '#!/bin/sh\necho "checked: $1"\nexit "${STUB_CHECK:-0}"\n' >"$copy/setup/test.sh"
# The real program, on the copy.
cat >"$scratch/bin/cargo" <<STUB
#!/bin/sh
verb=\$1
shift
exec "$(command -v cargo)" "\$verb" --manifest-path "$kit/Cargo.toml" "\$@"
STUB
chmod +x "$copy/setup/test.sh" "$scratch/bin/cargo"
git -C "$copy" init --quiet
commit() { git -C "$copy" -c user.name=test -c user.email=test@example.com commit --quiet --all --message "$1"; }
git -C "$copy" add --all
commit "as it is"

upgrade() { # [VARIABLE=VALUE…] IMAGE VERSION [WITH]: what it says, and how it ends
  (cd "$copy" && env HOME="$HOME" PATH="$scratch/bin:$PATH" AGENT_KIT_CACHE="$scratch/cache" "$@" 2>&1 && echo "ends with 0" || echo "ends with $?")
}
script=$copy/setup/upgrade.sh

# shellcheck source=expect.sh
. "$here/expect.sh"
changed() { git -C "$copy" status --porcelain | awk '{ print $2 }' | tr '\n' ' '; }
one_line() { # WHAT GOT PATTERN: refused before anything changes
  expect "$1" "$2" "$3"
  expect "$1, in one line" "$(wc -l <<<"$2")" "*2"
  expect "$1, changing nothing" "$(changed)" ""
}

one_line "nothing to do" "$(upgrade "$script" '' '')" "upgrade: say what*ends with 64"
one_line "an unknown image" "$(upgrade "$script" promotheus 3.99.0)" "pins: no image is called*ends with 64"
one_line "a version that is not newer" "$(upgrade "$script" prometheus 1.0.0)" "*not newer*ends with 64"
one_line "a version that must not be" "$(upgrade "$script" grafana 13.0.0)" "*must be below 13*ends with 64"
one_line "a version beyond the last that is allowed" "$(upgrade "$script" jaeger 2.99.0)" "*must be at most 2.20.0*ends with 64"
one_line "unknown checks" "$(upgrade "$script" prometheus 3.99.0 all)" "*use check or test*ends with 64"

said=$(upgrade "$script" prometheus 3.99.0)
expect "a newer version" "$said" "*checked: check*+++ b/*-*prom/prometheus:v3.*+*prom/prometheus:v3.99.0*All of it passes*git checkout -- .*ends with 0"
expect "in Compose and in the list of settings" "$(changed)" ".env.example Dockerfile docker-compose.yml images/official.toml "
expect "a work tree with changes" "$(upgrade "$script" alertmanager 0.99.0)" "upgrade: the work tree has changes*ends with 64"
expect "which stay" "$(changed)" ".env.example Dockerfile docker-compose.yml images/official.toml "
commit "newer"

said=$(upgrade STUB_CHECK=1 "$script" elastic 9.99.0 test)
expect "checks that fail" "$said" "*images/elasticsearch/Dockerfile builds 9.*checked: all*fail*To go back: git checkout -- .*ends with 1"
expect "all of Elastic's, in Kubernetes and in the list of images too" "$(git -C "$copy" diff | grep -c '^+.*:9\.99\.0')" "1[0-2]"
expect "not its stand-in, which has a version of its own" "$(git -C "$copy" diff -- images/elasticsearch images/README.md)" ""
expect "and nothing is taken back" "$(changed)" ".env.example deploy/kubernetes/*docker-compose.yml images/official.toml "
git -C "$copy" checkout --quiet -- .
expect "a compiler, in the Dockerfile too" "$(upgrade "$script" rust 1.999.0)" "*Dockerfile*rust-toolchain.toml*they stay*ends with 0"
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" = 0 ]
