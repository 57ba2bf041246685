#!/bin/sh
# Install what the tests marked `real` use: PostgreSQL. Does nothing where it is there.
set -eu
die() { printf 'test-real: %s\n' "$*" >&2; exit 1; }
server() { ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null 2>&1; }

server && exit 0
command -v apt-get >/dev/null 2>&1 || die "PostgreSQL is missing and there is no apt-get: install PostgreSQL 15 or later, then run this again"
sudo=
if [ "$(id -u)" != 0 ]; then
  command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null ||
    die "PostgreSQL is missing and installing it needs root: run 'sudo apt-get install postgresql', then this again"
  sudo='sudo -n'
fi
echo "test-real: installing PostgreSQL with apt-get"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
{ $sudo apt-get update && $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends postgresql; } >"$log" 2>&1 ||
  { tail -n 3 "$log" >&2; die "apt-get failed; what it said is in $log"; }
rm -f "$log"
server || die "PostgreSQL was installed, but its initdb is not found"
