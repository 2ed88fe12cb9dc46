# shellcheck shell=bash
# Programs out of PyPI for the tests, each in an environment of its own in the cache, every package with its hash. Sourced
# after lib.sh and debian.sh.

# python_program NAME LABEL PINS: installs what `PINS/requirements.txt` names, unless that is there already.
python_program() {
  local folder=$KIT_CACHE/$1 label=$2 pins=$3 installer=$KIT_ROOT/setup/python-installer.txt wanted
  wanted=$(cat "$installer" "$pins/requirements.txt" | cksum)
  if [ "$(cat "$folder/.pins" 2>/dev/null)" = "$wanted" ]; then return; fi
  if ! python3 -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    { on_debian && [ "$(id -u)" = 0 ] && step python "Installing Python" apt_install python3-venv; } ||
      die "$1 needs Python 3.11 or later with its module venv: install it first."
  fi
  step "$1" "$label" bounded 300 install_python_program "$folder" "$installer" "$pins" "$wanted"
}

install_python_program() { # FOLDER INSTALLER PINS WANTED
  rm -rf "$1"
  python3 -m venv "$1" &&
    "$1/bin/python" -m pip install --quiet --require-hashes -r "$2" &&
    VIRTUAL_ENV=$1 "$1/bin/uv" pip install --quiet --require-hashes -r "$3/requirements.txt" &&
    echo "$4" >"$1/.pins"
}
