#!/bin/sh
# Install what the tests marked `real` use: PostgreSQL, Slurm, OpenSSH, MariaDB, and applications. Does nothing where it is there.
# With the word `apps`, only what the applications need: those, Slurm and OpenSSH.
set -eu
die() { printf 'test-real: %s\n' "$*" >&2; exit 1; }
has() { PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null 2>&1; }
# Debian's package, and a file or command that shows that it is installed
what=${1:-all}
missing() {
  if [ "$what" = all ]; then
    ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || has initdb || echo postgresql
    has mariadbd || echo mariadb-server
    has slurmdbd || echo slurmdbd
  fi
  { has slurmctld && has slurmd && has sbatch; } || echo slurm-wlm
  has munged || echo munge
  { has sshd && has ssh-keygen; } || echo openssh-server
  has lmp || echo lammps
  [ -e /usr/share/lammps/examples/melt ] || echo lammps-examples
  { has gmx && has gmx_mpi; } || echo gromacs
  [ -e /usr/share/gromacs/top/spc216.gro ] || echo gromacs-data
  has mpirun || echo openmpi-bin
  has pw.x || echo quantum-espresso
  [ -e /usr/share/espresso/pseudo/Si.pz-vbc.UPF ] || echo quantum-espresso-data
  { has icoFoam && has blockMesh; } || echo openfoam
  has hpcc || echo hpcc
  has Rscript || echo r-base-core
}
packages=$(missing | tr '\n' ' ')
[ -n "$packages" ] || exit 0
has apt-get || die "missing: $packages; there is no apt-get: install them, then run this again"
sudo=
if [ "$(id -u)" != 0 ]; then
  { has sudo && sudo -n true 2>/dev/null; } || die "missing, and installing needs root: run 'sudo apt-get install --no-install-recommends $packages', then this again"
  sudo='sudo -n'
fi
echo "test-real: installing with apt-get (a few minutes, once): $packages"
log=$(mktemp)
# Nothing of what is installed shall start by itself: the tests start what they need.
{ $sudo apt-get update && $sudo env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y --no-install-recommends $packages; } >"$log" 2>&1 ||
  { tail -n 3 "$log" >&2; die "apt-get failed; what it said is in $log"; }
rm -f "$log"
left=$(missing | tr '\n' ' ')
[ -z "$left" ] || die "installed, but still not found: $left"
