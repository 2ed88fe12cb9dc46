#!/usr/bin/env bash
# litellm.sh: a model provider that is not ours, for the agent's tests against one: LiteLLM's proxy, out of PyPI into the
# cache, every package with its hash. `cargo test -p example-agent --test litellm` finds it there.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"
# shellcheck source=debian.sh
. "$here/debian.sh"

folder=$KIT_CACHE/litellm
pins=$KIT_ROOT/example-agent/tests/litellm

install() {
  rm -rf "$folder"
  python3 -m venv "$folder" &&
    "$folder/bin/python" -m pip install --quiet --require-hashes -r "$pins/installer.txt" &&
    VIRTUAL_ENV=$folder "$folder/bin/uv" pip install --quiet --require-hashes -r "$pins/requirements.txt" &&
    echo "$wanted" >"$folder/.pins"
}

wanted=$(cat "$pins/installer.txt" "$pins/requirements.txt" | cksum)
[ "$(cat "$folder/.pins" 2>/dev/null)" = "$wanted" ] && exit
if ! python3 -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
  { on_debian && [ "$(id -u)" = 0 ] && step python "Installing Python" apt_install python3-venv; } ||
    die "LiteLLM needs Python 3.11 or later with its module venv: install it first."
fi
# Some 110 MiB to load, 400 MiB to keep.
step litellm "Installing LiteLLM, a provider that is not ours" bounded 300 install
