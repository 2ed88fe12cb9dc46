#!/bin/bash
# maven.sh ARGUMENT…: Maven, with the settings of the machine that builds where it has any: a mirror, a proxy, credentials.
set -euo pipefail

# Out of an address into XML: %40 is an @.
text() { printf '%b' "${1//%/\\x}" | sed -e 's/&/\&amp;/g' -e 's/</\&lt;/g'; }

arguments=(--batch-mode --quiet -Dmaven.repo.local=/var/cache/maven)
if [ -s /run/maven/global-settings.xml ]; then arguments+=(--global-settings /run/maven/global-settings.xml); fi
proxy=${HTTPS_PROXY:-${https_proxy:-}}
if [ -s /run/maven/user-settings.xml ]; then
  arguments+=(--settings /run/maven/user-settings.xml)
elif [ -n "$proxy" ]; then
  # Maven does not read HTTPS_PROXY by itself.
  address=${proxy#*://}
  address=${address%%/*}
  account=
  case $address in
    *@*)
      account=${address%@*}
      account="<username>$(text "${account%%:*}")</username><password>$(text "${account#*:}")</password>"
      ;;
  esac
  address=${address##*@}
  case $address in *:*) ;; *) address=$address:80 ;; esac
  without=${NO_PROXY:-${no_proxy:-}}
  settings=$(mktemp)
  # It can hold a password: not to stay in a layer.
  trap 'rm -f "$settings"' EXIT
  cat >"$settings" <<XML
<settings><proxies><proxy>
  <active>true</active><protocol>https</protocol>
  <host>${address%%:*}</host><port>${address##*:}</port>$account
  <nonProxyHosts>${without//,/|}</nonProxyHosts>
</proxy></proxies></settings>
XML
  arguments+=(--settings "$settings")
fi

mvn "${arguments[@]}" "$@"
