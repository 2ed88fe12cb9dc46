#!/usr/bin/env bash
# jruby.sh: the interpreter that Logstash has in it, for the tests of its scripts where Logstash itself cannot be had.
# `cargo test -p stack-tests --test logstash` finds the image.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"
# shellcheck source=debian.sh
. "$here/debian.sh"
# shellcheck source=standins.sh
. "$here/standins.sh"

build_standins jruby
standin_exists jruby
