"""What the test-bed needs of the machine: programs, by Debian package, and accounts."""

from __future__ import annotations

import os
import pwd
import shutil
from pathlib import Path

from tidegrid.domain.errors import InvalidInput, NotFound

# Programs by the package that has them. slurm-wlm brings slurmctld, slurmd and slurm-client.
NEEDED: dict[str, tuple[str, ...]] = {
    "slurm-wlm": ("slurmctld", "slurmd", "sbatch", "sinfo", "scontrol"),
    "munge": ("munged",),
    "openssh-server": ("sshd",),
    "openssh-client": ("ssh", "ssh-keygen"),
}
FOR_ACCOUNTING: dict[str, tuple[str, ...]] = {
    "slurmdbd": ("slurmdbd", "sacctmgr"),
    "mariadb-server": ("mariadbd", "mariadb-install-db"),
}
PACKAGES = tuple(NEEDED)
ACCOUNTING_PACKAGES = tuple(FOR_ACCOUNTING)

# An ordinary user's PATH rarely has the directories of daemons.
_DAEMONS = ("/usr/local/sbin", "/usr/sbin", "/sbin")


def search_path() -> str:
    """PATH with the directories of daemons."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), *_DAEMONS])


def find(name: str) -> str | None:
    return shutil.which(name, path=search_path())


def missing(*, accounting: bool = False) -> list[str]:
    """Packages of which a program is not found."""
    wanted = NEEDED | (FOR_ACCOUNTING if accounting else {})
    return [package for package, names in wanted.items() if not all(find(name) for name in names)]


def programs(*, accounting: bool = False) -> dict[str, str]:
    """Absolute paths by name. NotFound (testbed.missing) names the packages to install."""
    lacking = missing(accounting=accounting)
    if lacking:
        raise NotFound(
            "testbed.missing",
            f"the test-bed needs packages that are not installed: {' '.join(lacking)}",
            hint=f"apt-get install --no-install-recommends {' '.join(lacking)}",
            details={"packages": lacking},
        )
    wanted = NEEDED | (FOR_ACCOUNTING if accounting else {})
    return {name: str(find(name)) for names in wanted.values() for name in names}


def me() -> str:
    """Name of the account this process runs as; the environment may say another."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise NotFound("testbed.account", f"user id {os.geteuid()} has no account on this machine, and Slurm wants one",
                       hint="run as a user of /etc/passwd") from None  # fmt: skip


def check_account(name: str) -> None:
    """Whether sshd would let the account in: NotFound (testbed.account), InvalidInput (testbed.locked)."""
    try:
        pwd.getpwnam(name)
    except KeyError:
        raise NotFound("testbed.account", f"this machine has no account {name}", hint=f"useradd -p '*' {name}") from None
    try:
        lines = Path("/etc/shadow").read_text().splitlines()
    except OSError:  # not root: sshd cannot read it either
        return
    if any(line.startswith(f"{name}:!") for line in lines):
        raise InvalidInput("testbed.locked", f"the account {name} is locked, so that sshd refuses it",
                           hint=f"usermod -p '*' {name} lets keys in, and still no password")  # fmt: skip
