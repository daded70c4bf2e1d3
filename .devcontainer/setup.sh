#!/bin/sh
# Sets the container up in three steps, each a life-cycle command of devcontainer.json, so that a prebuild can keep them.
# It works as well in any Debian or Ubuntu without Docker: there the last step installs the native programs.
set -eu
cd "$(dirname "$0")/.."

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

# The container's engine starts beside its life-cycle commands, and may be the later one.
await_docker() {
  tries=60
  until docker info >/dev/null 2>&1; do
    tries=$((tries - 1))
    if [ "$tries" = 0 ]; then
      echo "setup.sh: the container's Docker Engine did not answer within a minute; rebuild the container." >&2
      exit 1
    fi
    sleep 1
  done
}

case ${1:-all} in
  system) # what make and uv's installation need
    as_root apt-get update -q
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
      ca-certificates git make python3 python3-venv
    ;;
  python) # uv and the locked packages
    make python
    ;;
  programs) # the images where LAB_RUNTIME is compose, as in the container, else the native programs
    if [ "${LAB_RUNTIME:-}" = compose ]; then await_docker; fi
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
