#!/usr/bin/env bash
# litellm.sh: a model provider that is not ours, for the agent's tests against one: LiteLLM's proxy, out of PyPI into the
# cache. `cargo test -p example-agent --test litellm` finds it there.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"
# shellcheck source=debian.sh
. "$here/debian.sh"
# shellcheck source=python.sh
. "$here/python.sh"

# Some 110 MiB to load, 400 MiB to keep.
python_program litellm "Installing LiteLLM, a provider that is not ours" "$KIT_ROOT/example-agent/tests/litellm"
