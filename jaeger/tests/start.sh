#!/usr/bin/env bash
# start.sh: which storage it chooses. It goes on with the image's program, which is not here: exit code 127 says that it
# got that far.
set -euo pipefail
cd "$(dirname "$0")/.."

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
passed=0 failed=0

# Knows the names in $KNOWN.
cat >"$scratch/getent" <<'STUB'
#!/bin/sh
case " $KNOWN " in *" $2 "*) echo "192.0.2.1 $2" ;; *) exit 2 ;; esac
STUB
chmod +x "$scratch/getent"

check() { # WANTED NAME=VALUE…
  local wanted=$1 code=0 said
  shift
  said=$(env -u COMPOSE_PROFILES -u JAEGER_STORAGE KNOWN= PATH="$scratch:$PATH" "$@" ./start.sh 2>&1) || code=$?
  case $wanted in
    refused) [ "$code" = 64 ] && [ "$(wc -l <<<"$said")" -eq 1 ] ;;
    *) [ "$code" = 127 ] && grep -qx "Traces are kept in $wanted." <<<"$said" ;;
  esac && passed=$((passed + 1)) && echo "ok: $wanted with $*" && return
  failed=$((failed + 1))
  echo "FAILED: not $wanted with $*, but exit code $code: $said"
}

check memory COMPOSE_PROFILES=
check memory COMPOSE_PROFILES=infra
check memory COMPOSE_PROFILES=weblogs
check elasticsearch COMPOSE_PROFILES=logs
check elasticsearch COMPOSE_PROFILES=infra,logs
check elasticsearch COMPOSE_PROFILES='*'
check elasticsearch COMPOSE_PROFILES= KNOWN=elasticsearch.
check memory COMPOSE_PROFILES=infra,logs JAEGER_STORAGE=memory
check elasticsearch COMPOSE_PROFILES= JAEGER_STORAGE=elasticsearch
check refused JAEGER_STORAGE=cassandra

printf '\n%d passed, %d failed, 0 skipped\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
