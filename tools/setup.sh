#!/bin/sh
# Make or refresh .venv. Usage: tools/setup.sh run|dev
#   run  what the product needs; dev  that and the test and lint tools
# A stamp keyed by pyproject.toml, constraints.txt and this file lets a warm call return at once.
set -eu
kind=${1:?run or dev}
cd "$(dirname "$0")/.."
venv=.venv

die() { printf 'setup: %s\n' "$*" >&2; exit 1; }

find_python() {
  for candidate in ${PYTHON:-} python3 python3.11 python3.12 python3.13; do
    if command -v "$candidate" >/dev/null 2>&1 &&
      "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      python=$candidate
      return 0
    fi
  done
  command -v python3 >/dev/null 2>&1 || die "python3 is missing: install Python 3.11 or later (Debian: apt-get install python3 python3-venv)"
  die "python3 is $(python3 -c 'import platform; print(platform.python_version())'): Python 3.11 or later is needed (set PYTHON=/path/to/python3)"
}

find_python
"$python" -c 'import venv, ensurepip' 2>/dev/null ||
  die "Python's venv or ensurepip is missing: install it (Debian: apt-get install python3-venv)"

key=$(cat pyproject.toml constraints.txt tools/setup.sh | "$python" -c '
import hashlib, sys
print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest()[:16])')
[ -x "$venv/bin/python" ] && { [ -e "$venv/.stamp-dev-$key" ] || [ -e "$venv/.stamp-$kind-$key" ]; } && exit 0

began=$(date +%s)
if [ ! -x "$venv/bin/python" ]; then
  echo "setup: 1/2 making $venv with $("$python" --version)"
  "$python" -m venv "$venv" || die "$python could not make $venv"
else
  echo "setup: 1/2 $venv is there; pyproject.toml, constraints.txt or the kind of set-up changed"
fi
what=.
[ "$kind" = dev ] && what='.[dev]'
[ "$kind" = dev ] && about='packages and test tools' || about='packages'
echo "setup: 2/2 installing pinned $about (about half a minute; once)"
log=$venv/.setup.log
# The build backend is pinned too. Newer pip reads PIP_BUILD_CONSTRAINT, older pip PIP_CONSTRAINT; relative, because pip
# splits these at spaces.
PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1 \
  "$venv/bin/python" -m pip install --no-input -c constraints.txt -e "$what" >"$log" 2>&1 || {
  tail -n 5 "$log" >&2
  die "pip failed; the whole of what it said is in $log"
}
rm -f "$venv"/.stamp-"$kind"-*
: >"$venv/.stamp-$kind-$key"
echo "setup: done in $(($(date +%s) - began)) s"
