"""Daemons of the test-bed: started, stopped, awaited.

A daemon stays in the foreground and keeps everything below its part's home; a file there holds its process id.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tidegrid.domain.errors import Unreachable
from tidegrid.launch.testbed import family
from tidegrid.launch.testbed.packages import search_path


@dataclass(frozen=True)
class Part:
    """One daemon. home: the directory below which it keeps everything, with log/ and run/."""

    name: str
    home: Path
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def pid_file(self) -> Path:
        return self.home / "run" / f"{self.name}.pid"

    @property
    def output(self) -> Path:
        return self.home / "log" / f"{self.name}.out"


def start(part: Part) -> None:
    """Start the daemon; it is not awaited."""
    environment = {"PATH": search_path(), "LC_ALL": "C", "HOME": str(part.home), family.MARK: str(part.home), **part.environment}
    with part.output.open("ab") as output:
        process = subprocess.Popen(
            part.argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=part.home, env=environment,
            start_new_session=True, umask=0o022,
        )  # fmt: skip
    part.pid_file.write_text(f"{process.pid} {family.born(process.pid)}\n")
    process.returncode = 0  # reaped here by id, by whichever object asks; Popen is to stay silent


def pid_of(part: Part) -> int | None:
    """The daemon's process id while it runs."""
    try:
        pid, born = part.pid_file.read_text().split()
    except (OSError, ValueError):
        return None
    return int(pid) if family.running(int(pid)) and family.born(int(pid)) == born else None


def send(part: Part, number: signal.Signals, *, sessions: bool = False) -> None:
    """Signal the daemon, with `sessions` also its children of the same program (sshd's)."""
    pid = pid_of(part)
    if pid is None:
        return
    also = [p for p in family.descendants({pid}) if sessions and family.program(p) == family.program(pid)]
    for each in (pid, *also):
        family.send(each, number)


def stop(part: Part, number: signal.Signals = signal.SIGKILL, *, sessions: bool = False, seconds: float = 30) -> None:
    """Signal the daemon and wait until it is gone."""
    send(part, number, sessions=sessions)
    await_that(lambda: pid_of(part) is None, f"{part.name} does not end", seconds=seconds)


def await_that(holds: Callable[[], bool], what: str, *, parts: Iterable[Part] = (), seconds: float = 60) -> None:
    """Wait until it holds. Unreachable (testbed.failed) when a part ends meanwhile, with its last words, or at the end."""
    watched = list(parts)
    until = time.monotonic() + seconds
    while not holds():
        for part in watched:
            if pid_of(part) is None and not holds():
                raise Unreachable("testbed.failed", f"{part.name} ended at its start: {_last_words(part)}",
                                  hint=f"see {part.home / 'log'}")  # fmt: skip
        if time.monotonic() > until:
            words = "; ".join(f"{part.name}: {_last_words(part)}" for part in watched[:3])
            raise Unreachable("testbed.failed", f"{what} after {seconds:g} s" + (f" ({words})" if words else ""))
        time.sleep(0.02)


def _last_words(part: Part) -> str:
    try:
        text = part.output.read_text(errors="replace").strip()
    except OSError:
        text = ""
    return " / ".join(text.splitlines()[-3:])[-600:] or "it said nothing"
