#!/bin/sh
# Starts Grafana, unless that would publish it to a network with the password everybody knows. Provisioning takes the passwords
# for Elasticsearch from the environment: here they get there out of files.
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

# Provisioning names the variable, and an unset one would be an empty password without a word.
must_hold() { # FILE VARIABLE
  [ -s "$1" ] && return
  echo "grafana: $1, which $2 names, is missing or empty: \`make secrets\` writes it" >&2
  exit 64
}
if [ -n "${ELASTICSEARCH_PASSWORD_FILE:-}" ]; then
  must_hold "$ELASTICSEARCH_PASSWORD_FILE" ELASTICSEARCH_PASSWORD_FILE
  ELASTICSEARCH_PASSWORD=$(cat "$ELASTICSEARCH_PASSWORD_FILE")
  export ELASTICSEARCH_PASSWORD
fi
if [ -n "${ELASTICSEARCH_AUDIT_PASSWORD_FILE:-}" ]; then
  must_hold "$ELASTICSEARCH_AUDIT_PASSWORD_FILE" ELASTICSEARCH_AUDIT_PASSWORD_FILE
  ELASTICSEARCH_AUDIT_PASSWORD=$(cat "$ELASTICSEARCH_AUDIT_PASSWORD_FILE")
  export ELASTICSEARCH_AUDIT_PASSWORD
fi

exec "${GRAFANA_START:-/run.sh}" "$@"
