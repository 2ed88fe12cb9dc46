#!/usr/bin/env bash
# lib.sh: settings are read as Compose reads them, and a folder that Docker cannot mount from is refused.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
scratch=$(cd "$(mktemp -d)" && pwd -P)
trap 'rm -rf "$scratch"' EXIT

# shellcheck source=expect.sh
. "$here/expect.sh"

kit=$scratch/'my kit'
mkdir -p "$kit/setup"
cp "$here/../lib.sh" "$kit/setup/"
cat >"$kit/.env" <<'END'
PLAIN=1
export EXPORTED=2
  export   INDENTED="3 words" # a comment
PLAINER=4
EMPTY=
END

# of NAME: its value, from a folder with a space in its path.
# shellcheck disable=SC2016 # for the shell that is started
of() {
  env -u PLAIN -u EXPORTED -u INDENTED -u PLAINER HOME="$scratch" bash -euo pipefail -c '. "$0/setup/lib.sh"; setting "$1" default' "$kit" "$1"
}
expect "a line" "$(of PLAIN)" 1
expect "a line with export" "$(of EXPORTED)" 2
expect "quotes, blanks and a comment" "$(of INDENTED)" "3 words"
expect "a name that begins like another" "$(of PLAINER)" 4
expect "an empty value" "$(of EMPTY)" default
expect "no line" "$(of ABSENT)" default

for name in 'a,b' 'a:b'; do
  mkdir -p "$scratch/$name/setup"
  cp "$here/../lib.sh" "$scratch/$name/setup/"
  expect "a path with a comma or colon" "$(HOME=$scratch bash "$scratch/$name/setup/lib.sh" 2>&1 || echo "ends with $?")" \
    "The path $scratch/$name has a comma or a colon*ends with 1"
done
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" = 0 ]
