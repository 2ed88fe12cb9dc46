#!/usr/bin/env bash
# FAST=1: the same rules, routes and intervals with all durations divided by 20, so that an alert and its end can be
# waited for. Generated from the real files each time, never edited. Sourced by up.sh, after lib.sh.

fast=$KIT_STATE/fast
for part in prometheus alertmanager; do
  rm -rf "${fast:?}/$part"
  mkdir -p "$fast/$part"
  # From the image: no Rust is needed on this machine.
  docker run --rm --network none --read-only --user "$(id -u):$(id -g)" --volume "$KIT_ROOT/$part:/in:ro" \
    --volume "$fast/$part:/out" --entrypoint scale-durations agent-kit/load-test:dev --factor 20 /in /out ||
    die "The fast rules could not be made from $part/."
done
export PROMETHEUS_CONFIG_DIR=$fast/prometheus ALERTMANAGER_CONFIG_DIR=$fast/alertmanager PROMETHEUS_RESEND_DELAY=5s
say "Rules with all durations divided by 20"
