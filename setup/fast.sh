#!/usr/bin/env bash
# FAST=1: the same rules, routes and intervals with all durations divided by 20, so that an alert and its end can be
# waited for. Generated from the real files each time, never edited. Sourced by up.sh, after lib.sh.

fast=$KIT_STATE/fast
for part in prometheus alertmanager; do
  rm -rf "${fast:?}/new"
  mkdir -p "$fast/new"
  # From the image: no Rust is needed on this machine.
  docker run --rm --network none --read-only --user "$(id -u):$(id -g)" --volume "$KIT_ROOT/$part:/in:ro" \
    --volume "$fast/new:/out" --entrypoint scale-durations "$(setting LOAD_TEST_IMAGE agent-kit/load-test:dev)" --factor 20 /in /out ||
    die "The fast rules could not be made from $part/."
  # Files that stay as they were keep their time: what runs with them is not restarted.
  if diff -r "$fast/new" "$fast/$part" >/dev/null 2>&1; then
    rm -rf "${fast:?}/new"
  else
    rm -rf "${fast:?}/$part"
    mv "$fast/new" "$fast/$part"
  fi
done
export PROMETHEUS_CONFIG_DIR=$fast/prometheus ALERTMANAGER_CONFIG_DIR=$fast/alertmanager PROMETHEUS_RESEND_DELAY=5s
# Drills change targets, and only in copies. A folder that the user has named stays theirs.
if [ -z "$(setting PROMETHEUS_TARGETS_DIR '')" ]; then export PROMETHEUS_TARGETS_DIR=$fast/prometheus/targets; fi
# Its 10 s would be more than some of the fast rules wait for. Not below a second, as with scrapes.
export LOG_WATCH_EVERY=1s
say "Rules with all durations divided by 20"
