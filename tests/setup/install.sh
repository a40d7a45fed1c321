#!/usr/bin/env bash
# Creates the virtual environment and installs Parley into it. A failure is one line with the fix.
set -euo pipefail
PYTHON=${PYTHON:-python3} VENV=${VENV:-.venv}
NEEDED_MB=4000

fail() { printf 'make install: %s\n' "$1" >&2; exit 1; }

command -v "$PYTHON" >/dev/null || fail "$PYTHON not found: install Python 3.11 or later, or run make PYTHON=/path/to/python3"
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
  || fail "$PYTHON is $("$PYTHON" -V 2>&1), but Parley needs 3.11 or later: run make PYTHON=python3.12"

if [ ! -x "$VENV/bin/python" ] || ! "$VENV/bin/python" -c 'import pip' 2>/dev/null; then
  free_mb=$(df -Pm . | awk 'NR == 2 {print $4}')
  [ "$free_mb" -ge "$NEEDED_MB" ] || fail "only $free_mb MB of disk space left: free up about $NEEDED_MB MB"
  "$PYTHON" -m venv "$VENV" || fail "can't create $VENV: on Debian and Ubuntu, run apt-get install python3-venv"
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
echo "Installing Parley and its dependencies into $VENV (takes a few minutes the first time) ..."
if ! "$VENV/bin/pip" install -q --disable-pip-version-check -c constraints.txt -e '.[demo,dev]' >"$log" 2>&1; then
  tail -n 20 "$log" >&2
  if grep -qiE 'No space left|Errno 28' "$log"; then fail "the disk is full: free up some space and try again"; fi
  if grep -qiE 'Connection|Temporary failure|Network is unreachable|Max retries|timed out|Name or service' "$log"; then
    fail "can't reach the package index: check the network or the proxy and try again"
  fi
  fail "pip failed; its last lines are above"
fi
echo "Installed."
