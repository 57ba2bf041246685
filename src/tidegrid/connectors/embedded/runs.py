"""Run directories and shim processes, seen from the supervisor.

`<home>/run/<native id>.<task>.<token>/` is one try to start one task; the token makes every try distinct, so that a slow shim of
an abandoned try can never be taken for, or interfere with, a later one.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import marshal
import os
import secrets
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidegrid.connectors.embedded import shim

POLL_S = 0.1
REASONS = ("ok", "failed", "timeout", "oom", "cancelled")


@dataclass(frozen=True, slots=True)
class Exit:
    """A shim's exit record. Times in µs of the site's clock."""

    started_us: int
    ended_us: int
    code: int
    reason: str
    peak_mib: int


@dataclass(frozen=True, slots=True)
class Identity:
    """A process, also across pid reuse and reboots."""

    pid: int
    ticks: str
    boot: str
    started_us: int

    def alive(self) -> bool:
        try:
            return self.boot == shim.boot_id() and shim.start_ticks(self.pid) == self.ticks
        except (OSError, IndexError):
            return False


class Run:
    """One try. `claimed` is None until the shim has taken the start link."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.pid = 0
        self.pidfd = -1
        self.sock: socket.socket | None = None
        self.said = b""
        self.claimed: Identity | None = None
        self.watched = False  # its end is noticed as it happens

    @classmethod
    def fresh(cls, runs: Path, native_id: str, task: int) -> Run:
        directory = runs / f"{native_id}.{task}.{secrets.token_hex(6)}"
        directory.mkdir(mode=0o700)
        return cls(directory)

    def spawn(self, spec: Mapping[str, Any]) -> None:
        """Start the shim and hand it its specification. OSError where no process can be made."""
        ours, theirs = socket.socketpair()
        try:
            ours.setblocking(False)
            ours.sendall(marshal.dumps(dict(spec)))
            ours.shutdown(socket.SHUT_WR)
            self.pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-I", "-S", shim_file(), str(self.directory)],
                {"PATH": os.defpath},
                file_actions=[(os.POSIX_SPAWN_DUP2, theirs.fileno(), 0)],
                setsid=True,
                setsigmask=[],
                setsigdef=[signal.SIGPIPE, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD],
            )
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        self.sock = ours
        self._open_pidfd()

    def adopt(self) -> bool:
        """Find the shim that claimed this run; False where it is gone, or was never there."""
        self.claimed = read_identity(self.directory)
        if self.claimed is None:
            return False
        self.pid = self.claimed.pid
        self._open_pidfd()
        if self.claimed.alive():  # checked after the pidfd was taken: the pid cannot be reused in between
            return True
        self.close()
        return False

    def watch(
        self, loop: asyncio.AbstractEventLoop, on_started: Callable[[], None], on_end: Callable[[], None]
    ) -> None:
        """Call on_started once the shim has claimed its run, on_end once its process is gone."""
        self.watched = True
        self._loop, self._on_started, self._on_end = loop, on_started, on_end
        if self.sock is not None:
            loop.add_reader(self.sock, self._read)
        if self.pidfd >= 0:
            loop.add_reader(self.pidfd, self._gone)
        else:
            loop.call_later(POLL_S, self._poll)

    def cancel(self) -> None:
        """Ask the shim to end its job. A shim that has not claimed its run yet may die of it: then nothing ever starts."""
        with contextlib.suppress(OSError):
            if self.pidfd >= 0:
                signal.pidfd_send_signal(self.pidfd, signal.SIGTERM)
            elif self.claimed is not None and self.claimed.alive():
                os.kill(self.pid, signal.SIGTERM)

    def never(self) -> bool:
        """Make sure that this try never starts; False where it has."""
        try:
            os.symlink("supervisor", self.directory / "start")
        except FileExistsError:
            return os.readlink(self.directory / "start") == "supervisor"
        except FileNotFoundError:
            return True
        return True

    def exit(self) -> Exit | None:
        """The exit record: from disk, or as the shim said it where the disk was full."""
        try:
            return parse_exit((self.directory / "exit").read_text())
        except OSError:
            pass
        for line in self.said.decode("ascii", "replace").splitlines(keepends=True):
            if line.startswith("ended "):
                return parse_exit(line[6:])
        return None

    def last_alive_us(self) -> int:
        """The last sign of life of a shim that left no exit record."""
        try:
            return os.lstat(self.directory / "start").st_mtime_ns // 1000
        except OSError:
            return 0

    def kill_remains(self) -> None:
        """End processes of a run whose shim is gone: a node failure must be one, also for what the job left running."""
        token = b"TIDE_RUN=" + os.fsencode(self.directory.name) + b"\0"
        for _ in range(20):
            found = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if token in _environment(pid)]
            if not found:
                return
            for pid in found:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)

    def discard(self) -> None:
        """Remove the directory: its facts are in the journal now, or it never starts. Renamed first, in one step: a shim that
        is about to claim it must find either the claim or nothing, never a directory that is half removed."""
        gone = self.directory.with_name(f".{self.directory.name}")
        with contextlib.suppress(OSError):
            self.directory.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)

    def close(self) -> None:
        if self.sock is not None:
            self._unwatch(self.sock)
            self.sock.close()
            self.sock = None
        if self.pidfd >= 0:
            self._unwatch(self.pidfd)
            os.close(self.pidfd)
            self.pidfd = -1

    def _unwatch(self, fd: socket.socket | int) -> None:
        loop = getattr(self, "_loop", None)
        if loop is not None and not loop.is_closed():
            loop.remove_reader(fd)

    def _open_pidfd(self) -> None:
        try:
            self.pidfd = os.pidfd_open(self.pid)
        except OSError:
            self.pidfd = -1  # an old kernel, or gone already: `_poll` notices

    def _read(self) -> None:
        assert self.sock is not None
        try:
            data = self.sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._loop.remove_reader(self.sock)
            return
        self.said += data
        self._note_claim()

    def _note_claim(self) -> None:
        if self.claimed is None:
            self.claimed = read_identity(self.directory)
            if self.claimed is not None:
                self._on_started()

    def _gone(self) -> None:
        with contextlib.suppress(OSError):
            os.waitpid(self.pid, os.WNOHANG)  # our child, unless it is adopted
        if self.sock is not None:
            with contextlib.suppress(OSError):
                while data := self.sock.recv(65536):
                    self.said += data
        self._note_claim()
        self.close()
        self._on_end()

    def _poll(self) -> None:
        with contextlib.suppress(OSError):
            os.waitpid(self.pid, os.WNOHANG)
        try:
            gone = not self.claimed.alive() if self.claimed else not shim.start_ticks(self.pid)
        except OSError:
            gone = True
        if gone:
            self._gone()
        else:
            self._loop.call_later(POLL_S, self._poll)


def shim_file() -> str:
    """The compiled shim where there is one: compiling it again for every job would cost as much as running it."""
    compiled = importlib.util.cache_from_source(shim.__file__)
    return compiled if os.path.exists(compiled) else shim.__file__


def read_identity(directory: Path) -> Identity | None:
    """Who claimed a run; None where nobody did, or the supervisor."""
    try:
        pid, ticks, boot, started_us = os.readlink(directory / "start").split(".")
        return Identity(int(pid), ticks, boot, int(started_us))
    except (OSError, ValueError):
        return None


def parse_exit(text: str) -> Exit | None:
    """None where the text is not a complete record."""
    try:
        started, ended, code, reason, peak = text.split()
        if not text.endswith("\n") or reason not in REASONS:
            return None
        return Exit(int(started), max(int(started), int(ended)), int(code), reason, int(peak))
    except ValueError:
        return None


def _environment(pid: int) -> bytes:
    try:
        with open(f"/proc/{pid}/environ", "rb") as f:
            return f.read()
    except OSError:
        return b""
