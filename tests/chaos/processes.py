"""Server and supervisors as processes to be started and killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from tidegrid.connectors.embedded import launch

ROOT = Path(__file__).resolve().parents[2]
READY_S = 60.0


class Server:
    """One chaos server at a time on one home and one port."""

    def __init__(
        self, home: Path, control: Path, *, port: int, database: str, seed: int, fence: bool, late: float, kind: str = "embedded",
        lease: float = 15.0,
    ) -> None:
        self.home, self.control, self.port = home, control, port
        self.url = f"http://127.0.0.1:{port}"
        self._arguments = [
            "--home", str(home), "--control", str(control), "--port", str(port), "--database", database,
            "--fence", "on" if fence else "off", "--late", str(late),
            "--kind", kind, "--lease", str(lease),
        ]  # fmt: skip
        self._seed, self._starts = seed, 0
        self._process: subprocess.Popen[bytes] | None = None

    def beside(self, home: Path, port: int) -> Server:
        """Another server of the same network, on the same database and data."""
        other = Server.__new__(Server)
        other.home, other.control, other.port = home, self.control, port
        other.url = f"http://127.0.0.1:{port}"
        changed = {"--home": str(home), "--port": str(port)}
        pairs = zip(self._arguments[::2], self._arguments[1::2], strict=True)
        other._arguments = [w for key, value in pairs for w in (key, changed.get(key, value))] + ["--data", str(self.home)]
        other._seed, other._starts, other._process = self._seed + port, 0, None
        return other

    def start(self) -> None:
        self._starts += 1
        seed = ["--seed", str(self._seed * 1000 + self._starts)]
        with (self.control / "server.err").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.server", *self._arguments, *seed],
                cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def ready(self, timeout_s: float = READY_S) -> float:
        """Seconds until it answered. RuntimeError with its last words where it ended instead."""
        began = time.monotonic()
        while time.monotonic() - began < timeout_s:
            if self._process is None or self._process.poll() is not None:
                raise RuntimeError("the server ended: " + self.last_words())
            try:
                if httpx.get(f"{self.url}/api/v1/health", timeout=2, trust_env=False).status_code == 200:
                    return time.monotonic() - began
            except httpx.HTTPError:
                pass
            time.sleep(0.02)
        raise RuntimeError(f"the server did not answer within {timeout_s:.0f} s: " + self.last_words())

    def last_words(self) -> str:
        try:
            return (self.control / "server.err").read_text(errors="replace")[-2000:].strip() or "(silence)"
        except OSError:
            return "(nothing)"

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> int:
        """SIGTERM; its exit status."""
        if self._process is None or self._process.poll() is not None:
            return -1
        self._process.terminate()
        try:
            return self._process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()
            return -9


def kill_supervisor(home: Path) -> bool:
    """SIGKILL the supervisor of a cluster's home; False where none ran."""
    pid = launch.running(home)
    if pid:
        os.kill(pid, signal.SIGKILL)
    return bool(pid)


def stop_supervisors(clusters: Path) -> None:
    """End the supervisors; their jobs have ended by now, or go on."""
    for home in clusters.iterdir() if clusters.exists() else ():
        pid = launch.running(home)
        if pid:
            os.kill(pid, signal.SIGTERM)


def until(ask: Callable[[], bool], timeout_s: float, every_s: float = 0.1) -> bool:
    """Whether it came true in time."""
    end = time.monotonic() + timeout_s
    while not ask():
        if time.monotonic() > end:
            return False
        time.sleep(every_s)
    return True
