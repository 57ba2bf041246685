#!/bin/sh
# A Python with JAX in .venv-jax, as a cluster would have one. Does nothing where it is there.
set -eu
die() { printf 'jax: %s\n' "$*" >&2; exit 1; }
cd "$(dirname "$0")/.."
venv=.venv-jax
stamp=$venv/.stamp-$(cksum <tools/jax.txt | tr ' ' '-')
[ -e "$stamp" ] && exit 0
echo "jax: installing JAX into $venv (about a minute, once)"
[ -x "$venv/bin/python" ] || .venv/bin/python -m venv "$venv" || die "no environment could be made in $venv"
log=$venv/.setup.log
PIP_DISABLE_PIP_VERSION_CHECK=1 "$venv/bin/python" -m pip install --no-input -r tools/jax.txt >"$log" 2>&1 || {
  tail -n 5 "$log" >&2
  die "pip failed; the whole of what it said is in $log"
}
: >"$stamp"
