"""A real `tide up` in a process of its own, for the demo, and the supervisor that falls silent."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import yaml

from tidegrid.client import Tide
from tidegrid.connectors.embedded import launch
from tidegrid.domain.errors import Broken, TideError, Unreachable

READY_S = 60.0
# A demo is short: a cluster counts as silent after 4 s instead of 15.
SETTINGS = {"silent_after": 4, "call": 2, "permit_wait": 60, "lease": 30}


class DemoServer:
    """Starts on `start`; `close` leaves no process behind."""

    def __init__(self, home: Path, settings: dict[str, object] | None = None) -> None:
        self.home, self.settings = home, settings or SETTINGS
        self.url = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped: int = 0

    def start(self) -> None:
        """Returns when it answers. Broken (demo.server) with its last words where it does not."""
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        (self.home / "config.yaml").write_text(yaml.safe_dump({"port": 0, "settings": self.settings}))
        log = self.home / "up.log"
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tidegrid.cli.main", "up", "--home", str(self.home), "--port", "0", "--quiet"],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(OSError, ValueError, KeyError, TideError):
                self.url = str(json.loads((self.home / "server.json").read_text())["url"])
                with Tide(self.url) as tide:
                    tide.health()
                return
            time.sleep(0.05)
        words = log.read_text(errors="replace").strip()[-600:]
        raise Broken("demo.server", f"the demo's server did not start: {words or 'it said nothing'}", hint=f"see {log}")

    def token(self) -> str:
        """The operator's."""
        return (self.home / "admin.token").read_text().strip()

    def silence(self, cluster: str) -> None:
        """Stop the cluster's supervisor in its tracks: its socket is there, and nothing answers. Its jobs go on."""
        self._stopped = launch.running(self.home / "clusters" / cluster)
        if not self._stopped:
            raise Unreachable("demo.supervisor", f"{cluster} has no supervisor to stop")
        os.kill(self._stopped, signal.SIGSTOP)

    def wake(self) -> None:
        if self._stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._stopped, signal.SIGCONT)
            self._stopped = 0

    def close(self) -> None:
        """Stop the server and its supervisors."""
        self.wake()
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(15)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        clusters = self.home / "clusters"
        for home in sorted(clusters.iterdir()) if clusters.exists() else ():
            with contextlib.suppress(TideError, OSError):
                launch.stop_supervisor(home)
