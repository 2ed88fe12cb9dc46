#!/usr/bin/env bash
# Sends files of lines to Logstash's HTTP input in pieces of whole lines, for it takes no more than 16 MiB at once. Safe to repeat: a line
# that is there already is not doubled.
#
#   send.sh URL FILE…
#
#   PIECE_BYTES       how large a piece may be, default 4194304
#   AUDIT_KEY_FILE    a file with the key of a sender of audit events
#
# Needs bash, awk and curl. Exits 1 if Logstash did not take a piece, and says which lines that are; 64 for a wrong call.
set -euo pipefail

piece_bytes=${PIECE_BYTES:-4194304}
case $piece_bytes in '' | *[!0-9]* | 0) echo "send.sh: PIECE_BYTES=$piece_bytes is not a number of bytes" >&2 && exit 64 ;; esac
if [ $# -lt 2 ]; then
  echo "send.sh: it takes an address and files: send.sh http://logstash:8080 agent.2026-11-24-09.ndjson" >&2
  exit 64
fi
url=$1
shift
for file in "$@"; do
  if [ ! -r "$file" ] || [ -d "$file" ]; then echo "send.sh: $file cannot be read" >&2 && exit 64; fi
done

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# Not on the command line, where every user of the machine can read it.
if [ -n "${AUDIT_KEY_FILE:-}" ]; then
  [ -s "$AUDIT_KEY_FILE" ] || { echo "send.sh: there is no key in $AUDIT_KEY_FILE" >&2 && exit 64; }
  printf 'header = "Audit-Key: %s"\n' "$(cat "$AUDIT_KEY_FILE")" >"$scratch/curl"
else
  : >"$scratch/curl"
fi

# pieces FILE: the files $scratch/piece.NUMBER, and on each line of standard output NUMBER, its first line and its last.
pieces() {
  LC_ALL=C awk -v most="$piece_bytes" -v folder="$scratch" '
    function end() { if (bytes) { close(name); print piece, first, NR - 1 } }
    bytes == 0 || bytes + length($0) + 1 > most { end(); name = folder "/piece." ++piece; first = NR; bytes = 0 }
    { print > name; bytes += length($0) + 1 }
    END { if (bytes) { close(name); print piece, first, NR } }' "$1"
}

failed=0
for file in "$@"; do
  pieces "$file" >"$scratch/list"
  while read -r number first last; do
    # A busy Logstash says 429, one that starts nothing at all.
    if said=$(curl --silent --show-error --fail-with-body --max-time 300 --retry 8 --retry-all-errors --config "$scratch/curl" \
      --header 'Content-Type: application/x-ndjson' --data-binary "@$scratch/piece.$number" "$url" 2>&1 </dev/null); then
      printf '%s: lines %d to %d\n' "$file" "$first" "$last"
    else
      failed=1
      printf '%s: lines %d to %d were not taken: %s\n' "$file" "$first" "$last" "$(tr '\n' ' ' <<<"$said" | cut -c 1-300)" >&2
    fi
    rm -f "$scratch/piece.$number"
  done <"$scratch/list"
done
exit $failed
