"""Which processes belong to a directory: found from /proc, whoever started them, and killed.

Daemons keep everything below their home, so that their traces lead there: a mark in the environment, open files. What
came in over ssh has the mark from sshd, and jobs are known by what Slurm puts into their environment.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path

from tidegrid.domain.errors import Broken

MARK = "TIDE_TESTBED"
# Programs that lose the mark: sshd and slurmstepd write their title over their environment.
_DAEMONS = {"munged", "slurmctld", "slurmd", "slurmstepd", "slurmdbd", "mariadbd", "sshd"}


def sweep(directory: Path, *, seconds: float = 20) -> None:
    """Kill every process that leads to the directory, jobs included. Broken (testbed.stuck) where one does not die."""
    until = time.monotonic() + seconds
    while found := members(directory):
        for pid in found:
            send(pid, signal.SIGKILL)
        if time.monotonic() > until:
            raise Broken("testbed.stuck", f"processes {sorted(found)} of {directory} do not die", hint="see `ps`")
        time.sleep(0.02)


def members(directory: Path) -> set[int]:
    """Processes that lead to the directory, with their descendants: daemons, ssh sessions, steps and jobs."""
    below = os.path.realpath(directory)
    table = _table()
    own = _ancestors(os.getpid(), table)
    roots = {pid for pid in table if pid not in own and _leads_to(pid, below)}
    return {pid for pid in roots | descendants(roots, table) if pid not in own and running(pid)}


def _leads_to(pid: int, below: str) -> bool:
    environment = _environment(pid)
    mark = environment.get(MARK, "")
    if mark and _is_below(mark, below):
        return True
    # A shell that only talks to the cluster has SLURM_CONF too, and is to live: a job also has its number.
    if "SLURM_JOB_ID" in environment and _is_below(environment.get("SLURM_CONF", ""), below):
        return True
    return program(pid) in _DAEMONS and any(_is_below(name, below) for name in _open_files(pid))


def _is_below(name: str, below: str) -> bool:
    return name == below or name.startswith(below + "/")


def _environment(pid: int) -> dict[str, str]:
    try:
        raw = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
    except OSError:
        return {}
    return dict(item.split("=", 1) for item in raw.split("\0") if "=" in item)


def program(pid: int) -> str:
    """Of which program the process is: a name without directory, and without Debian's `-wlm` for Slurm's."""
    try:
        return os.path.basename(os.readlink(f"/proc/{pid}/exe")).removesuffix(" (deleted)").removesuffix("-wlm")
    except OSError:
        return ""


def _open_files(pid: int) -> list[str]:
    found = []
    try:
        names = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return []
    for name in names:
        try:
            found.append(os.readlink(f"/proc/{pid}/fd/{name}"))
        except OSError:  # closed meanwhile
            continue
    return found


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the state on: state, parent, … ; empty when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def born(pid: int) -> str:
    """Start time in clock ticks since boot: with the id it names a process for good."""
    fields = _stat(pid)
    return fields[19] if len(fields) > 19 else ""


def running(pid: int) -> bool:
    """Whether any thread of it is left; a dead child is buried."""
    fields = _stat(pid)
    if fields and fields[0] in "ZX":
        if _threads(pid) > 1:  # the first thread is dead, but others still hold files and sockets
            return True
        try:
            os.waitpid(pid, os.WNOHANG)  # ours to reap, or init's
        except ChildProcessError:
            pass
        return False
    return bool(fields)


def _threads(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/task"))
    except OSError:
        return 0


def _table() -> dict[int, int]:
    """Parents by process id."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (fields := _stat(int(name))):
            found[int(name)] = int(fields[1])
    return found


def _ancestors(pid: int, table: Mapping[int, int]) -> set[int]:
    found = set()
    while pid > 1 and pid not in found:
        found.add(pid)
        pid = table.get(pid, 0)
    return found | {1}


def descendants(roots: set[int], table: Mapping[int, int] | None = None) -> set[int]:
    children: dict[int, list[int]] = {}
    for pid, parent in (_table() if table is None else table).items():
        children.setdefault(parent, []).append(pid)
    found: set[int] = set()
    todo = list(roots)
    while todo:
        for child in children.get(todo.pop(), []):
            if child not in found:
                found.add(child)
                todo.append(child)
    return found


def send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        pass


def any_runs(name: str) -> bool:
    """Whether any process of this machine runs the program."""
    return any(program(pid) == name and running(pid) for pid in _table())
