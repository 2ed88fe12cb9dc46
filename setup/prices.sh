#!/usr/bin/env bash
# prices.sh: brings the example agent's price catalogue up to date from genai-prices on PyPI, and says what changed.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"

folder=$KIT_CACHE/genai-prices
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || die "The price catalogue is written by Python 3.11 or later: install it first."
[ -x "$folder/bin/python" ] || python3 -m venv "$folder"
# Not pinned: the newest prices are what this is for. Review the difference before you commit it.
"$folder/bin/python" -m pip install --quiet --upgrade genai-prices
"$folder/bin/python" "$here/prices.py" "$KIT_ROOT/example-agent/config/catalogue.toml"
