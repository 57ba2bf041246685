"""Parts of the embedded cluster one by one: shim, runs, nodes, journal, transport, answers."""

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
from tidegrid.connectors.embedded.config import PartitionConfig
from tidegrid.connectors.embedded.connector import EmbeddedConnector
from tidegrid.connectors.embedded.journal import Journal, Record, encode
from tidegrid.connectors.embedded.nodes import Partition
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


# Nodes ----------------------------------------------------------------------------------------------------------------


def partition(**changes: Any) -> Partition:
    return Partition(PartitionConfig(**{"name": "p", "nodes": 2, "cores": 4, "memory_mib": 1000, **changes}), "easy")


def test_tasks_are_fitted_onto_nodes_and_given_their_own_cores() -> None:
    p = partition(cpus=tuple(range(8)), gpus=1)
    placed = dict(p.choose(0, [("a", (3, 10, 0), 10), ("b", (3, 10, 1), 10), ("c", (2, 10, 0), 10)]))
    assert (placed["a"].node, placed["a"].cpus) == (0, (0, 1, 2))
    assert (placed["b"].node, placed["b"].cpus, placed["b"].gpus) == (1, (4, 5, 6), (0,))
    assert "c" not in placed and p.free() == (2, 1980, 1)
    p.release("a")
    assert p.choose(0, [("c", (4, 10, 0), 10)])[0][1].cpus == (0, 1, 2, 3)


def test_fragments_do_not_starve_the_task_in_front() -> None:
    p = partition()
    p.choose(0, [("a", (2, 10, 0), 10), ("b", (3, 10, 0), 100)])
    assert p.free() == (3, 1980, 0)
    placed = [k for k, _ in p.choose(0, [("big", (3, 10, 0), 50), ("long", (2, 10, 0), 50), ("short", (2, 10, 0), 5)])]
    assert placed == ["short"]  # it ends before node 0 is free for `big`; `long` would not


def with_gpus() -> Partition:
    """Two nodes of 16 cores and four GPUs, two GPUs free on each: with eight cores on the first, twelve on the second."""
    p = partition(cores=16, gpus=4)
    p.adopt("held 0", 0, (8, 10, 2), 1_000, (), (0, 1))
    p.adopt("held 1", 1, (4, 10, 2), 1_000, (), (0, 1))
    return p


def test_gpus_are_not_stranded_behind_too_few_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    queue = [("cores", (8, 10, 0), 10), *((f"usual {i}", (4, 10, 1), 10) for i in range(3))]
    placed = dict(with_gpus().choose(0, queue))
    assert placed["cores"].node == 1 and [*placed] == ["cores", "usual 0", "usual 1", "usual 2"]
    monkeypatch.setattr(Partition, "_node", Partition._first_fit)
    assert {k: v.node for k, v in with_gpus().choose(0, queue)} == {"cores": 0, "usual 0": 1, "usual 1": 1}


def test_the_same_tasks_are_given_the_same_nodes() -> None:
    queue = [(f"t{i}", (1 + i % 3, 10, i % 3), 10 + i) for i in range(8)]
    first, second = (dict(with_gpus().choose(0, queue)) for _ in range(2))
    assert first == second and len(first) > 3


def test_where_there_are_gpus_too_the_node_that_is_kept_for_the_front_stays_kept() -> None:
    p = partition(gpus=1)
    p.choose(0, [("a", (2, 10, 0), 10), ("b", (3, 10, 0), 100)])
    nodes = {k: v.node for k, v in p.held.items()}
    assert nodes == {"a": 0, "b": 1}
    placed = [k for k, _ in p.choose(0, [("big", (3, 10, 0), 50), ("long", (2, 10, 0), 50), ("short", (2, 10, 0), 5)])]
    assert placed == ["short"]


def test_adopted_tasks_hold_what_they_were_given() -> None:
    p = partition(cpus=tuple(range(8)))
    p.adopt("a", 1, (2, 100, 0), 50, (5, 6), ())
    assert p.free() == (6, 1900, 0)
    assert dict(p.choose(0, [("b", (4, 1, 0), 5), ("c", (2, 1, 0), 5)]))["c"].cpus == (4, 7)
    p.release("a")
    assert p.free() == (2, 1998, 0)


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


def test_a_partition_serves_its_queue_by_the_policy_it_is_given():
    queue = [("long", (4, 10, 0), 100), ("short", (4, 10, 0), 5)]
    config = PartitionConfig(name="p", nodes=1, cores=4, memory_mib=1000)
    for policy, first in [("fcfs", "long"), ("easy", "long"), ("sjf", "short"), ("conservative", "long"), ("default", "short")]:
        assert [key for key, _ in Partition(config, policy).choose(0, queue)] == [first], policy


def test_who_has_waited_beyond_the_guard_comes_first_though_shorter_ones_keep_coming():
    p = Partition(PartitionConfig(name="p", nodes=1, cores=4, memory_mib=1000), "default")
    p.choose(0, [("held", (4, 10, 0), 10)])
    p.choose(0, [("long", (4, 10, 0), 50_000)])
    p.release("held")
    later = 6 * 86_400
    assert [key for key, _ in p.choose(later, [("long", (4, 10, 0), 50_000), ("short", (4, 10, 0), 5)])] == ["long"]
