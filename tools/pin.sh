#!/bin/sh
# Write constraints.txt anew from what .venv holds now, and the build backend with what it needs.
set -eu
cd "$(dirname "$0")/.."
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
.venv/bin/python -m venv "$tmp/build"
"$tmp/build/bin/python" -m pip install -q --disable-pip-version-check hatchling editables 2>"$tmp/log" || { cat "$tmp/log" >&2; exit 1; }
{
  echo '# Exact versions of everything installed here, the build backend included. Written by tools/pin.sh.'
  { .venv/bin/python -m pip freeze --exclude-editable; "$tmp/build/bin/python" -m pip freeze; } 2>/dev/null |
    grep -E '^[A-Za-z0-9._-]+==[^ ]+$' | sort -fu
} >"$tmp/new"
sed '1d;s/==.*//' "$tmp/new" | tr 'A-Z_' 'a-z-' | uniq -d | grep . && { echo 'pin: two versions of the above' >&2; exit 1; }
cat "$tmp/new" >constraints.txt
