#!/usr/bin/env bash
# What Prometheus asks: of prometheus/targets, the files of what is started, and those that belong to no service of ours.
# A part that is not there on purpose (its profile is off, its image cannot be had) must not look like one that is down.
# Sourced by up.sh, after lib.sh and fast.sh.

# choose_targets SERVICE…: fills a folder and has Compose mount it, unless the user has named one.
choose_targets() {
  local from to known file name
  from=$(setting PROMETHEUS_CONFIG_DIR ./prometheus)/targets
  to=$(own_targets)
  # env.sh names ours.
  case $(setting PROMETHEUS_TARGETS_DIR '') in '' | "$to") ;; *) return 0 ;; esac
  known=$(docker compose --profile '*' config --services)
  mkdir -p "$to"
  # A running Prometheus has this very folder mounted: its files go, it stays.
  rm -f "$to"/*.yml
  for file in "$from"/*.yml; do
    [ -e "$file" ] || continue
    name=$(basename "$file" .yml)
    case " $* " in *" $name "*) ;; *) ! grep -qx -- "$name" <<<"$known" || continue ;; esac
    cp "$file" "$to/"
  done
  export PROMETHEUS_TARGETS_DIR=$to
}
