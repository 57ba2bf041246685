"""A server that is told to end, ends: at once where nothing hangs, after a while where something does."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import asyncio, sys
from tidegrid.control.loops import Loops
from tidegrid.launch import serve
serve.STOP_S = 0.5
if sys.argv[2] == "hangs":
    async def stop(self):
        await asyncio.Event().wait()
    Loops.stop = stop
serve.serve(sys.argv[1], port=0, quiet=True, ready=lambda url: print(url, flush=True))
"""


def stopped(home: Path, how: str) -> tuple[int, str]:
    with subprocess.Popen([sys.executable, "-c", PROGRAM, str(home), how], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline().startswith("http://")
        process.send_signal(signal.SIGTERM)
        return process.wait(20), (home / "server.log").read_text()


def test_it_ends_with_0(tmp_path: Path) -> None:
    status, said = stopped(tmp_path / "home", "ends")
    assert status == 0 and "server.stopping" in said and "server.stuck" not in said
    assert not (tmp_path / "home" / "server.json").exists()


def test_what_hangs_is_cut_off_and_named(tmp_path: Path) -> None:
    status, said = stopped(tmp_path / "home", "hangs")
    assert status == 1 and "server.stuck" in said and "Event.wait" in said
