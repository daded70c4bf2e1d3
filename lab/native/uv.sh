#!/bin/sh
# Prints the path of uv: the one on PATH, else one of the user's cache, installed there by pip when it is not there yet.
set -eu

if command -v uv; then exit 0; fi
cache=${XDG_CACHE_HOME:-$HOME/.cache}/campus-food-lab
uv=$cache/uv/bin/uv
if [ -x "$uv" ]; then echo "$uv"; exit 0; fi

fail() { echo "lab: $1" >&2; exit 1; }
command -v python3 >/dev/null || fail "Python 3.11 or later is missing; run \`sudo apt-get install -y python3 python3-venv\`, then try again."
echo "Installing uv into $cache." >&2
mkdir -p "$cache"
stage=$(mktemp -d "$cache/.uv-XXXXXX")
trap 'rm -rf "$stage"' EXIT
python3 -m venv "$stage/venv" >"$stage/log" 2>&1 || {
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    rm -rf "$stage/venv"
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3-venv &&
      python3 -m venv "$stage/venv"; } >"$stage/log" 2>&1 ||
      fail "Python's venv module cannot be installed ($(tail -n 1 "$stage/log")); install python3-venv, then try again."
  else
    fail "Python's venv module is missing; run \`sudo apt-get install -y python3-venv\`, then try again."
  fi
}
"$stage/venv/bin/python" -m pip --disable-pip-version-check install --quiet --target "$stage/uv" uv >"$stage/log" 2>&1 ||
  fail "uv cannot be installed ($(tail -n 1 "$stage/log")); check the network, or install uv yourself, then try again."
mv "$stage/uv" "$cache/uv" 2>/dev/null || [ -x "$uv" ] || fail "uv cannot be put into $cache; check that you may write there."
echo "$uv"
