#!/usr/bin/env bash
# Installs Chromium and PostgreSQL for the tests. Reports what it can't install; in CI that is an error.
set -uo pipefail
VENV=${VENV:-.venv}
missing=()

apt_install() {
  command -v apt-get >/dev/null || return 1
  local as_root=()
  [ "$(id -u)" = 0 ] || as_root=(sudo -n)
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" >/dev/null 2>&1 && return
  "${as_root[@]}" apt-get update -q >/dev/null 2>&1
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" >/dev/null 2>&1
}

have_chromium() {
  command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null \
    || ls "${PLAYWRIGHT_BROWSERS_PATH:-$HOME/.cache/ms-playwright}"/chromium-*/chrome-*/* >/dev/null 2>&1
}
have_postgres() { command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; }

if ! have_chromium; then
  echo "Installing Chromium for the browser tests ..."
  apt_install chromium || "$VENV/bin/playwright" install chromium >/dev/null 2>&1
  have_chromium || missing+=("Chromium (browser tests): install the package chromium")
fi
if ! have_postgres; then
  echo "Installing PostgreSQL for the storage tests ..."
  apt_install postgresql
  have_postgres || missing+=("PostgreSQL (storage tests): install the package postgresql")
fi

for what in "${missing[@]}"; do printf 'MISSING: %s. The tests that need it will be skipped.\n' "$what" >&2; done
if [ "${#missing[@]}" -gt 0 ] && [ "${CI:-}" = true ]; then exit 1; fi
exit 0
