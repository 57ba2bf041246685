"""Start, stop and find supervisors. They are detached: a server that ends, or is killed, leaves them running."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tidegrid.connectors.embedded.runs import Identity
from tidegrid.domain import errors

READY_S = 20.0


def start_supervisor(home: Path, config: Mapping[str, Any], *, timeout_s: float = READY_S) -> int:
    """Write the settings, start a supervisor, wait until it answers; its process id.

    Raises what the supervisor said: Conflict (supervisor.locked), Broken (supervisor.journal_corrupt), InvalidInput
    (supervisor.config); Unreachable (supervisor.not_ready) where it said nothing.
    """
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_config(home, config)
    read_end, write_end = os.pipe()
    try:
        with open(home / "supervisor.log", "ab") as log:
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "tidegrid.connectors.embedded.supervisor",
                    "--home",
                    str(home),
                    "--ready-fd",
                    str(write_end),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
                pass_fds=[write_end],
            )
        os.close(write_end)
        write_end = -1
        answer = _read_line(read_end, timeout_s)
    finally:
        os.close(read_end)
        if write_end >= 0:
            os.close(write_end)
    try:
        said = json.loads(answer)
    except ValueError:
        process.kill()
        process.wait()
        raise errors.Unreachable(
            "supervisor.not_ready",
            f"the supervisor of {home} did not become ready within {timeout_s:.0f} s",
            hint=f"read {home / 'supervisor.log'}",
        ) from None
    if not said["ok"]:
        process.wait()
        kind = getattr(errors, said["kind"], errors.Broken)
        raise kind(said["code"], said["message"], hint=said["hint"])
    _reap_later(process)
    return process.pid


def running(home: Path) -> int:
    """Process id of the supervisor that holds this home; 0 where there is none."""
    try:
        pid, ticks, boot = (home / "lock").read_text().split()
        return int(pid) if Identity(int(pid), ticks, boot, 0).alive() else 0
    except (OSError, ValueError):
        return 0


def ensure_running(home: Path, config: Mapping[str, Any]) -> bool:
    """Start the supervisor where none runs; True where one was started. Blocking: up to some seconds."""
    if running(home):
        return False
    try:
        start_supervisor(home, config)
    except errors.Conflict:
        return False  # another process was quicker
    return True


def stop_supervisor(home: Path, *, timeout_s: float = 10.0) -> bool:
    """End the supervisor; its jobs go on and the next one adopts them. True where one ran."""
    pid = running(home)
    if not pid:
        return False
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        _reap()
        if not running(home):
            return True
        time.sleep(0.02)
    raise errors.Unreachable(
        "supervisor.not_stopped", f"supervisor {pid} of {home} did not stop within {timeout_s:.0f} s"
    )


def write_config(home: Path, config: Mapping[str, Any]) -> None:
    """config.json, complete under its name or not at all."""
    temporary = home / ".config.json"
    temporary.write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
    temporary.rename(home / "config.json")


_started: list[subprocess.Popen[bytes]] = []


def _reap_later(process: subprocess.Popen[bytes]) -> None:
    _reap()
    _started.append(process)


def _reap() -> None:
    """Collect supervisors that were started here and have ended: a zombie would look alive."""
    _started[:] = [p for p in _started if p.poll() is None]


def _read_line(fd: int, timeout_s: float) -> bytes:
    deadline = time.monotonic() + timeout_s
    data = b""
    while not data.endswith(b"\n"):
        ready, _, _ = select.select([fd], [], [], max(0.0, deadline - time.monotonic()))
        if not ready or not (part := os.read(fd, 4096)):
            break
        data += part
    return data
