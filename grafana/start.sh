#!/bin/sh
# Starts Grafana, unless that would publish it to a network with the password everybody knows. Provisioning takes the password
# for Elasticsearch from the environment: here it gets there out of a file.
set -eu

password_file=${GF_SECURITY_ADMIN_PASSWORD__FILE:?must name the file that holds the administrator\'s password}
case ${BIND_ADDRESS:-127.0.0.1} in
127.* | ::1 | "[::1]" | localhost) ;;
*)
  password=$(cat "$password_file")
  if [ -z "$password" ] || [ "$password" = admin ]; then
    echo "grafana: BIND_ADDRESS=$BIND_ADDRESS publishes port 3000 beyond this machine, and the administrator's password is the default: write another one to secrets/grafana_admin_password (a volume that was used before keeps its old password: grafana cli admin reset-admin-password)" >&2
    exit 64
  fi
  ;;
esac

if [ -n "${ELASTICSEARCH_PASSWORD_FILE:-}" ]; then
  if [ ! -s "$ELASTICSEARCH_PASSWORD_FILE" ]; then
    echo "grafana: $ELASTICSEARCH_PASSWORD_FILE, which ELASTICSEARCH_PASSWORD_FILE names, is missing or empty: \`make secrets\` writes it" >&2
    exit 64
  fi
  ELASTICSEARCH_PASSWORD=$(cat "$ELASTICSEARCH_PASSWORD_FILE")
  export ELASTICSEARCH_PASSWORD
fi

exec "${GRAFANA_START:-/run.sh}" "$@"
