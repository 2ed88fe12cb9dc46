#!/usr/bin/env bash
# schemathesis.sh: a fuzzer that reads the agent's OpenAPI document, out of PyPI into the cache.
# `cargo test -p example-agent --test schemathesis` finds it there.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"
# shellcheck source=debian.sh
. "$here/debian.sh"
# shellcheck source=python.sh
. "$here/python.sh"

python_program schemathesis "Installing Schemathesis" "$KIT_ROOT/example-agent/tests/schemathesis"
