#!/bin/sh
# Sets the container up in three steps, each a life-cycle command of devcontainer.json, so that a prebuild can keep them.
# It works as well in any Debian or Ubuntu, without Docker: then the last step installs the native programs.
set -eu
cd "$(dirname "$0")/.."

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

install_packages() {
  as_root apt-get update -q
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@"
}

case ${1:-all} in
  system) # what make and uv's installation need
    install_packages ca-certificates git make python3 python3-venv
    ;;
  python) # uv and the locked packages
    make python
    ;;
  programs) # the images where Docker answers, else the native programs
    if ! docker info >/dev/null 2>&1 && [ "$(id -u)" != 0 ]; then
      install_packages rabbitmq-server prometheus default-jre-headless maven
    fi
    make setup
    ;;
  all)
    for step in system python programs; do "$0" "$step"; done
    ;;
  *)
    echo "setup.sh: there is no step '$1'; the steps are system, python and programs." >&2
    exit 2
    ;;
esac
