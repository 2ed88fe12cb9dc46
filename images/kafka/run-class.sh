#!/bin/bash
# kafka-run-class.sh CLASS ARGUMENT…: with the official script's variables, as far as they are used here.
set -euo pipefail

log4j=tools-log4j2.yaml
if [ "$1" = kafka.Kafka ]; then log4j=log4j2.yaml; fi
# Less work until it is up; what is slower for it is a broker under load, and that is no work for a stand-in.
performance=${KAFKA_JVM_PERFORMANCE_OPTS:--XX:+UseSerialGC -XX:TieredStopAtLevel=1}
# shellcheck disable=SC2086 # several options each
exec java ${KAFKA_HEAP_OPTS:--Xmx256M} $performance ${KAFKA_OPTS:-} \
  "-Dlog4j2.configurationFile=/opt/kafka/config/$log4j" -cp '/opt/kafka/libs/*' "$@"
