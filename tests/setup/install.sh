#!/usr/bin/env bash
# Makes the virtual environment and installs Parley into it; says in one line what is wrong if it can't.
set -euo pipefail
PYTHON=${PYTHON:-python3} VENV=${VENV:-.venv}
NEEDED_MB=4000

fail() { printf 'make install: %s\n' "$1" >&2; exit 1; }

command -v "$PYTHON" >/dev/null || fail "no $PYTHON here: install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3"
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
  || fail "$PYTHON is $("$PYTHON" -V 2>&1): Parley needs 3.11 or newer (make PYTHON=python3.12)"

if [ ! -x "$VENV/bin/python" ] || ! "$VENV/bin/python" -c 'import pip' 2>/dev/null; then
  free_mb=$(df -Pm . | awk 'NR == 2 {print $4}')
  [ "$free_mb" -ge "$NEEDED_MB" ] || fail "$free_mb MB are free here, some $NEEDED_MB are needed: free some space"
  "$PYTHON" -m venv "$VENV" || fail "can't make $VENV: on Debian and Ubuntu, apt-get install python3-venv"
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
echo "Installing Parley and what it needs into $VENV (the first time takes some minutes) ..."
if ! "$VENV/bin/pip" install -q --disable-pip-version-check -c constraints.txt -e '.[demo,dev]' >"$log" 2>&1; then
  tail -n 20 "$log" >&2
  if grep -qiE 'No space left|Errno 28' "$log"; then fail "the disk is full: free some space and run it again"; fi
  if grep -qiE 'Connection|Temporary failure|Network is unreachable|Max retries|timed out|Name or service' "$log"; then
    fail "the package index can't be reached: check the network or the proxy and run it again"
  fi
  fail "pip failed, its last lines are above"
fi
echo "Installed."
