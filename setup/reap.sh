#!/usr/bin/env bash
# reap.sh ENGINE_DIR: clears up after an unpacked engine that was killed: its processes, mounts and pid files, which would
# keep the next one from starting. Touches only what lies in, or was started from, that folder. Runs as root.
set -euo pipefail
engine=$1

# The daemon and containerd, known by where their program lies.
for process in /proc/[0-9]*; do
  program=$(readlink "$process/exe" 2>/dev/null) || continue
  case $program in "$engine"/root/*) kill -9 "${process#/proc/}" 2>/dev/null || : ;; esac
done

# What ran in its containers: their control groups are named by container id, under cgroup v1 and v2 alike.
for container in "$engine"/data/containers/*/; do
  [ -d "$container" ] || continue
  id=$(basename "$container")
  find /sys/fs/cgroup -maxdepth 6 -type d -name "*$id*" 2>/dev/null | while read -r group; do
    xargs -r kill -9 <"$group/cgroup.procs" 2>/dev/null || :
  done
done

awk -v dir="$engine/" 'index($2, dir) == 1 { print $2 }' /proc/self/mounts | sort -r | while read -r mounted; do
  umount -l "$mounted" || :
done
rm -rf "$engine/run" "$engine/docker.pid" "$engine/docker.sock"
