#!/usr/bin/env bash
# bench.sh run: what the agent's telemetry costs, beside the same endpoint in Python; bench.sh soak: a long load while
# collector and log reader come and go; bench.sh capacity: how much it holds, and how what it takes grows. What follows is
# for the bench program: bench.sh run --rounds 5
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"

what=${1:?run, soak or capacity}
shift

# python_environment: makes the fixture's virtual environment, one for each lock file, and sets `environment`.
environment=
python_environment() {
  local lock=bench/python/requirements.lock made
  command -v python3 >/dev/null 2>&1 || return 1
  made=$KIT_CACHE/bench-python/$(cksum <"$lock" | tr ' ' '-')
  if [ ! -e "$made/complete" ]; then
    say "Installing the Python fixture's packages"
    rm -rf "$made"
    mkdir -p "$(dirname "$made")"
    { python3 -m venv "$made" && "$made/bin/pip" install --quiet --require-hashes --requirement "$lock" && touch "$made/complete"; } \
      >"$KIT_CACHE/bench-python/install.log" 2>&1 || return 1
  fi
  environment=$made
}

say "Building release binaries"
packages=(-p example-agent -p bench)
[ "$what" != capacity ] || packages+=(-p simulators -p load-test)
cargo build --quiet --release --locked "${packages[@]}"
target=${CARGO_TARGET_DIR:-target}
if [ "$what" = run ]; then
  if python_environment; then
    set -- --python "$environment" "$@"
  else
    warn "The Python fixture cannot be installed (python3 3.11 or newer with venv, and PyPI, are needed): $KIT_CACHE/bench-python/install.log"
  fi
fi
if [ "$what" = capacity ]; then
  for tool in prometheus wrk; do
    if path=$(command -v "$tool"); then set -- "--$tool" "$path" "$@"; fi
  done
  set -- --simulators "$target/release/simulators" --load-test "$target/release/load-test" "$@"
fi
"$target/release/bench" "$what" --agent "$target/release/example-agent" --folder "$target/bench" "$@"
