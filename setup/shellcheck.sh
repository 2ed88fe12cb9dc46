#!/usr/bin/env bash
# Every shell script of the kit, found by its first line.
set -euo pipefail
cd "$(dirname "$0")/.."

git ls-files -z --cached --others --exclude-standard |
  xargs -0 grep -lIE '^#!(/usr/bin/env bash|/bin/(ba)?sh)' 2>/dev/null |
  xargs shellcheck --external-sources
