#!/usr/bin/env bash
# send.sh: what it sends, in how many pieces, and what it says where a piece is not taken. curl is a stub.
set -euo pipefail
cd "$(dirname "$0")/.."

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
passed=0 failed=0

# Appends what it is given to $SENT; refuses a body with REFUSED in it, as curl does with --fail-with-body and without it.
cat >"$scratch/curl" <<'STUB'
#!/usr/bin/env bash
case "$*" in *the-key-of-the-tests*) echo "a key on the command line" >&2; exit 99 ;; esac
with_body=0
while [ $# -gt 0 ]; do
  case $1 in
    --fail-with-body) with_body=1 ;;
    --data-binary) body=${2#@} ;;
    --config) cat "$2" >>"$CONFIGS" ;;
  esac
  shift
done
if grep -q REFUSED "$body"; then echo "too large"; [ $with_body = 0 ] || exit 22; exit 0; fi
wc -c <"$body" >>"$PIECES"
cat "$body" >>"$SENT"
STUB
chmod +x "$scratch/curl"
export SENT=$scratch/sent PIECES=$scratch/pieces CONFIGS=$scratch/configs

ok() { # TEST CONDITION-COMMAND…
  local test=$1
  shift
  if "$@"; then
    passed=$((passed + 1))
    echo "ok: $test"
  else
    failed=$((failed + 1))
    echo "FAILED: $test: $said"
  fi
}
send() { # ARGUMENT…: the exit code is in $code, what it said in $said
  code=0
  : >"$SENT" && : >"$PIECES" && : >"$CONFIGS"
  said=$(PATH="$scratch:$PATH" ./send.sh "$@" 2>&1) || code=$?
}
exits() { [ "$code" -eq "$1" ] && [[ $said == *"$2"* ]]; }
sent_is() { cmp -s "$SENT" "$1"; }
most_bytes() { [ "$(sort -n "$PIECES" | tail -n 1)" -le "$1" ] && [ "$(wc -l <"$PIECES")" -ge "$2" ]; }

lines=$scratch/agent.2026-11-24-09.ndjson
for number in $(seq 1 500); do printf '{"msg":"line %d","text":"é %s"}\n' "$number" "$(printf 'x%.0s' $(seq 1 $((number % 90))))"; done >"$lines"
export PIECE_BYTES=4096
send http://logstash "$lines"
ok "every line arrives, in order" sent_is "$lines"
ok "no piece is larger than it may be" most_bytes 4096 5
ok "it says what it sent" exits 0 "$lines: lines 1 to "

printf '%s\n' "$(printf 'y%.0s' $(seq 1 9000))" short >"$scratch/long"
send http://logstash "$scratch/long"
ok "a line that is longer than a piece is one by itself" sent_is "$scratch/long"

printf 'one\nREFUSED %s\nthree\n' "$(printf 'z%.0s' $(seq 1 5000))" >"$scratch/refused"
send http://logstash "$scratch/refused" "$lines"
ok "what is not taken is named" exits 1 "$scratch/refused: lines 2 to 2 were not taken: too large"
ok "and the rest is sent" most_bytes 4096 7

printf 'no newline at the end' >"$scratch/open"
send http://logstash "$scratch/open"
ok "a last line without its end is a line" exits 0 "lines 1 to 1"
: >"$scratch/empty"
send http://logstash "$scratch/empty"
ok "an empty file is no piece" exits 0 ""

printf 'the-key-of-the-tests' >"$scratch/key"
AUDIT_KEY_FILE=$scratch/key send http://logstash "$scratch/open"
ok "a key goes into the header" grep -qx 'header = "Audit-Key: the-key-of-the-tests"' "$CONFIGS"
AUDIT_KEY_FILE=$scratch/none send http://logstash "$scratch/open"
ok "no key where one is named" exits 64 "there is no key in $scratch/none"
send http://logstash
ok "no file" exits 64 "it takes an address and files"
send http://logstash "$scratch/missing"
ok "a file that is not there" exits 64 "$scratch/missing cannot be read"
PIECE_BYTES=4M send http://logstash "$lines"
ok "a size that is no number" exits 64 "PIECE_BYTES=4M is not a number of bytes"

printf '\n%d passed, %d failed, 0 skipped\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
