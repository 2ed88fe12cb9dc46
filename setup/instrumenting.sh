#!/usr/bin/env bash
# instrumenting.sh: what the instrumented service in Python runs on, out of PyPI into the cache.
# `cargo test -p instrumenting-rust` finds it there.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"
# shellcheck source=debian.sh
. "$here/debian.sh"
# shellcheck source=python.sh
. "$here/python.sh"

python_program instrumenting "Installing what the instrumented service in Python runs on" "$KIT_ROOT/examples/instrumenting-python"
