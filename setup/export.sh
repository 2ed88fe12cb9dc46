#!/usr/bin/env bash
# export.sh […]: one component of the kit for somebody else's infrastructure. What follows is for the program:
#   export.sh --part prometheus --out /tmp/rules --metrics agent_requests_total=llm_requests_total
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"
# shellcheck source=kit.sh
. "$here/kit.sh"

if is_native; then exec cargo run --quiet --locked -p kit -- export "$@"; fi
have_kit

# made FOLDER: makes it, and remembers the first folder on the way to it that was not there.
first=''
made() {
  local above=$1
  while [ ! -e "$above" ]; do
    first=$above
    above=$(dirname "$above")
  done
  mkdir -p "$1" || die "$1 cannot be made."
}

arguments=() asks=''
while [ $# -gt 0 ]; do
  case $1 in
    --out=* | --map=* | --kit=* | --against=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
  esac
  case $1:${2:-} in
    *:) ;;
    --out:*)
      [ -e "$2" ] || made "$2"
      mounted "$2"
      ;;
    --map:* | --kit:*) [ ! -e "$2" ] || mounted "$2" readonly ;;
    --against:*)
      reach "$2"
      asks=1
      set -- --against "$url" "${@:3}"
      ;;
  esac
  arguments+=("$1")
  shift
done
[ -n "$asks" ] || options+=(--network none)
status=0
(run_kit export ${arguments[@]+"${arguments[@]}"}) || status=$?
# Nothing was written.
if [ -n "$first" ]; then find "$first" -depth -type d -empty -delete; fi
exit $status
