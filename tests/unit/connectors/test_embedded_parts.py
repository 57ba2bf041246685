"""Parts of the embedded cluster one by one: shim, runs, journal, transport, answers."""

from __future__ import annotations

import asyncio
import errno
import json
import marshal
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.parts.embedded import wait_until

from tidegrid.connectors.contract import SiteUnsure
from tidegrid.connectors.embedded import shim
from tidegrid.connectors.embedded.connector import EmbeddedConnector
from tidegrid.connectors.embedded.journal import Journal, Record, encode
from tidegrid.connectors.embedded.runs import Run, parse_exit
from tidegrid.connectors.transport import SocketTransport
from tidegrid.domain.errors import Broken, NoSpace

pytestmark = pytest.mark.anyio


def spec(directory: Path, script: str, **changes: Any) -> dict[str, Any]:
    (directory / "job.sh").write_text(script)
    return {
        "directory": str(directory),
        "script": "job.sh",
        "log": f"{directory}/log/0.batch",
        "env": {"PATH": os.environ["PATH"]},
        "wall_s": 30,
        "memory_mib": 0,
        "grace_s": 0.2,
        "cpus": [],
    } | changes


# Shim and runs --------------------------------------------------------------------------------------------------------


def run_shim(run: Path, specification: dict[str, Any], before: str = "") -> None:
    """The shim's own process, with `before` run in it first."""
    ours, theirs = socket.socketpair()
    ours.sendall(marshal.dumps(specification))
    ours.shutdown(socket.SHUT_WR)
    code = f"import sys; sys.path.insert(0, {str(Path(shim.__file__).parent)!r}); import shim\n{before}\nshim.main({str(run)!r})"
    subprocess.run([sys.executable, "-I", "-S", "-c", code], stdin=theirs, check=True, timeout=20)
    ours.close()
    theirs.close()


def test_a_clock_stepped_back_gives_no_negative_usage(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    backwards = (
        "import time\nclass Stepped:\n    monotonic_ns = staticmethod(time.monotonic_ns)\n    now = 2_000_000_000 * 10**9\n"
        "    @classmethod\n    def time_ns(cls):\n        cls.now -= 3600 * 10**9\n        return cls.now\nshim.time = Stepped"
    )
    run_shim(run, spec(tmp_path, "sleep 0.3"), backwards)
    end = parse_exit((run / "exit").read_text())
    assert end is not None and end.started_us == (2_000_000_000 - 3600) * 10**6
    assert 300_000 <= end.ended_us - end.started_us < 5_000_000


def test_a_run_that_was_taken_back_never_starts(tmp_path: Path) -> None:
    for taken in ("claimed", "removed"):
        run = tmp_path / taken
        run.mkdir()
        if taken == "claimed":
            assert Run(run).never()
        else:
            Run(run).discard()
        run_shim(run, spec(tmp_path, "echo ran > ran"))
    assert not (tmp_path / "ran").exists()


def test_a_run_that_started_cannot_be_taken_back(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    run_shim(run, spec(tmp_path, "echo ran > ran"))
    assert not Run(run).never()
    assert (tmp_path / "ran").exists()


def test_a_specification_that_was_cut_short_starts_nothing(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    ours, theirs = socket.socketpair()
    ours.sendall(marshal.dumps(spec(tmp_path, "echo ran > ran"))[:-9])
    ours.close()
    done = subprocess.run(
        [sys.executable, "-I", "-S", shim.__file__, str(run)], stdin=theirs, stderr=subprocess.DEVNULL
    )
    assert done.returncode != 0 and not (run / "start").exists() and not (tmp_path / "ran").exists()


def test_what_cannot_be_run_failed_with_127(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    run_shim(
        run,
        spec(tmp_path, "")
        | {"directory": str(tmp_path / "gone"), "log": str(tmp_path / "gone/log/0.batch")}
        | {"script": "none"},
    )
    end = parse_exit((run / "exit").read_text())
    assert end is not None and (end.code, end.reason) == (127, "failed")


async def test_a_waited_for_shim_says_when_it_started_and_ended(tmp_path: Path) -> None:
    run = Run.fresh(tmp_path, "7", 0)
    run.spawn(spec(tmp_path, "exit 3"))
    said: list[str] = []
    ended = asyncio.Event()
    run.watch(asyncio.get_running_loop(), lambda: said.append("started"), ended.set)
    async with asyncio.timeout(10):
        await ended.wait()
    end = run.exit()
    assert said == ["started"] and end is not None and end.code == 3
    wait_until(lambda: run.claimed is not None and not run.claimed.alive())


@pytest.mark.parametrize("text", ["", "1 2 0 ok 5", "1 2 0 what 5\n", "1 2 x ok 5\n", "1 2 0 ok\n"])
def test_half_an_exit_record_is_none(text: str) -> None:
    assert parse_exit(text) is None


# Journal --------------------------------------------------------------------------------------------------------------


async def test_records_that_arrive_together_share_one_fsync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    syncs = 0
    real = os.fdatasync

    def counted(fd: int) -> None:
        nonlocal syncs
        syncs += 1
        real(fd)

    applied: list[Record] = []
    journal = Journal(tmp_path / "journal", applied.append)
    assert journal.read() == []
    monkeypatch.setattr(os, "fdatasync", counted)
    await asyncio.gather(*(journal.append({"n": n}) for n in range(200)))
    journal.close()
    assert [r["n"] for r in applied] == list(range(200)) and syncs <= 3
    assert Journal(tmp_path / "journal", applied.append).read() == applied[:200]


async def test_a_full_disk_fails_promises_and_keeps_facts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidegrid.connectors.embedded.journal.RETRY_S", 0.01)
    applied: list[Record] = []
    journal = Journal(tmp_path / "journal", applied.append)
    journal.read()
    await journal.append({"n": 0})
    real, full = os.pwrite, True

    def pwrite(fd: int, data: bytes, at: int) -> int:
        if full:
            real(fd, data[:5], at)
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(fd, data, at)

    monkeypatch.setattr(os, "pwrite", pwrite)
    fact = journal.append({"n": 1}, keep=True)
    with pytest.raises(NoSpace):
        await journal.append({"n": 2})
    full = False
    await fact
    journal.close()
    assert Journal(tmp_path / "journal", applied.append).read() == applied == [{"n": 0}, {"n": 1}]


def test_every_damaged_byte_of_a_whole_line_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    whole = encode({"n": 1}) + encode({"n": 2}) + encode({"n": 3})
    second = len(encode({"n": 1}))
    for at in range(second, second * 2 - 1):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(Broken) as refused:
            Journal(path, lambda record: None).read()
        assert "line 2" in refused.value.message


# Transport and answers ------------------------------------------------------------------------------------------------


async def answering(path: Path, answer: bytes) -> asyncio.Server:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline():
            writer.write(answer)
        writer.close()

    return await asyncio.start_unix_server(serve, str(path))


@pytest.mark.parametrize(
    "answer",
    [
        b"\n",
        b"noise\n",
        b"{}\n",
        b'{"q":9,"ok":true}\n',
        b'{"q":1,"ok":true,"id":7}\n',
        b'{"q":1,"ok":false}\n',
        b"[[[[\n",
        b"\xff\xfe\n",
    ],
)
async def test_an_answer_that_is_none_is_never_believed(tmp_path: Path, answer: bytes) -> None:
    async with await answering(tmp_path / "s", answer):
        connector = EmbeddedConnector("x", SocketTransport(tmp_path / "s"), None, timeout_s=1)  # type: ignore[arg-type]
        with pytest.raises(SiteUnsure) as unsure:
            await connector.observe("")
        assert not unsure.value.silent
        await connector.close()


async def test_a_late_answer_is_not_taken_for_the_next_one(tmp_path: Path) -> None:
    pauses = [0.3, 0.0]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            await asyncio.sleep(pauses.pop(0))
            writer.write(line)
        writer.close()

    async with await asyncio.start_unix_server(serve, str(tmp_path / "s")):
        transport = SocketTransport(tmp_path / "s")
        with pytest.raises(SiteUnsure) as unsure:
            await transport.exchange(b"first", 0.1)
        assert unsure.value.silent
        assert await transport.exchange(b"second", 1) == b"second"
        await asyncio.sleep(0.3)
        await transport.close()


async def test_no_socket_is_silence(tmp_path: Path) -> None:
    with pytest.raises(SiteUnsure) as unsure:
        await SocketTransport(tmp_path / "none").exchange(json.dumps({}).encode(), 1)
    assert unsure.value.silent
