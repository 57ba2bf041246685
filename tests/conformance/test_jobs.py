"""Submitting, seeing, ending jobs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.parts.embedded import Watcher
from tidegrid.connectors.contract import SiteRefused
from tidegrid.domain.attempt import Reason

pytestmark = pytest.mark.anyio


async def test_a_job_runs_in_its_directory_with_its_environment_inputs_and_output(
    site: Any, connector: Any, watch: Watcher
) -> None:
    request = await site.stage(
        'cat data.txt; echo "$GREETING"; pwd; echo oops >&2; echo "$TIDE_CORES $TIDE_MEMORY_MIB $TIDE_TASK $(cat "$TIDE_INPUT/data.txt")"',
        env={"GREETING": 'it\'s a "test" of $HOME'},
        inputs={"data.txt": b"42\n"},
        cores=2,
        memory_mib=64,
    )
    native_id = await connector.submit(request)
    ended = await watch.until_ended(request.name)
    assert (ended.reason, ended.exit_code, ended.native_id) == (Reason.OK, 0, native_id)
    out = (await site.files.read(f"{request.directory}/log/0.out")).decode().splitlines()
    assert out == ["42", 'it\'s a "test" of $HOME', f"{site.root}/{request.directory}/work", "2 64 0 42"]
    assert await site.files.read(f"{request.directory}/log/0.err") == b"oops\n"
    started = watch.started(request.name)
    assert started is not None and started.at == ended.started_at
    assert ended.started_at is not None
    assert 0 < ended.ended_at - ended.started_at + (site.clock_us > 1) < 5_000_000


async def test_a_name_is_submitted_once_however_often_it_is_sent(
    site: Any, connector: Any, watch: Watcher
) -> None:
    request = await site.stage("echo run >> ../ran")
    ids = await asyncio.gather(*(connector.submit(request) for _ in range(8)))
    await watch.until_ended(request.name)
    assert set(ids) == {await connector.submit(request)}
    await watch.look()
    assert [type(r.event).__name__ for r in watch.records if r.name == request.name] == ["Started", "Ended"]
    assert await site.files.read(f"{request.directory}/ran") == b"run\n"


async def test_find_knows_waiting_running_and_ended_jobs_and_no_others(
    site: Any, connector: Any, watch: Watcher
) -> None:
    first = await site.stage("sleep 30", partition="one")
    second = await site.stage("true", partition="one")
    await connector.submit(first)
    await connector.submit(second)
    await watch.until_started(first.name)
    found = await connector.find(first.name)
    assert (found.waiting, found.running) == ((), (0,))
    found = await connector.find(second.name)
    assert (found.waiting, found.running) == ((0,), ())
    await connector.cancel(first.name, "")
    await watch.until_ended(second.name)
    found = await connector.find(second.name)
    assert (found.name, found.waiting, found.running) == (second.name, (), ())
    assert await connector.find("tg-0000000000zzz") is None


async def test_a_listing_holds_a_job_until_its_end_is_in_the_accounting(
    site: Any, connector: Any, watch: Watcher
) -> None:
    request = await site.stage("sleep 0.2")
    await connector.submit(request)
    while True:
        seen = await watch.look()
        if request.name not in {j.name for j in seen.jobs}:
            break
        await asyncio.sleep(0.005)
    assert watch.ended(request.name) is not None


async def test_a_cursor_gives_every_record_once(site: Any, connector: Any, watch: Watcher) -> None:
    request = await site.stage("true")
    await connector.submit(request)
    await watch.until_ended(request.name)
    assert (await connector.observe(watch.cursor)).records == ()
    everything = (await connector.observe("")).records
    assert [r.name for r in everything].count(request.name) == 2


@pytest.mark.parametrize(
    ("code", "reason"), [(0, Reason.OK), (1, Reason.FAILED), (75, Reason.FAILED), (255, Reason.FAILED)]
)
async def test_the_exit_code_is_passed_on(
    site: Any, connector: Any, watch: Watcher, code: int, reason: Reason
) -> None:
    request = await site.stage(f"exit {code}")
    await connector.submit(request)
    ended = await watch.until_ended(request.name)
    assert (ended.reason, ended.exit_code) == (reason, code)
    ends = [e for e in await site.files.spool() if e.attempt in request.name and e.kind == "end"]
    assert ends[0].body == str(code)


async def test_a_job_killed_by_a_signal_failed_with_128_and_its_number(
    site: Any, connector: Any, watch: Watcher
) -> None:
    request = await site.stage("kill -KILL $$")
    await connector.submit(request)
    ended = await watch.until_ended(request.name)
    assert (ended.reason, ended.exit_code) == (Reason.FAILED, 137)


async def test_a_job_past_its_wall_time_is_asked_to_end_then_killed(
    site: Any, connector: Any, watch: Watcher
) -> None:
    polite = await site.stage("trap 'sleep 0.3; echo bye; exit 9' TERM; while :; do sleep 1; done", wall_s=1)
    stubborn = await site.stage("trap '' TERM; sleep 180; sleep 180", wall_s=1)
    for request in (polite, stubborn):
        await connector.submit(request)
    for request in (polite, stubborn):
        ended = await watch.until_ended(request.name)
        assert ended.reason is Reason.TIMEOUT
        assert ended.started_at is not None and 0 <= ended.ended_at - ended.started_at - site.wall_us < site.wall_slack_us
    assert await site.files.read(f"{polite.directory}/log/0.out") == b"bye\n"


async def test_a_job_above_its_memory_is_killed_and_said_to_be(
    site: Any, connector: Any, watch: Watcher
) -> None:
    if not site.kills_memory:
        assert {x.enforced["memory"] for x in (await watch.look()).loads} == {"none"}, "it says that it does"
        return
    greedy = (
        "exec python3 -c 'import time; x = bytearray(200 << 20); x[::4096] = b\"1\" * len(x[::4096]); time.sleep(30)'"
    )
    request = await site.stage(greedy, memory_mib=64)
    await connector.submit(request)
    ended = await watch.until_ended(request.name)
    assert ended.reason is Reason.OOM
    assert ended.peak_mib is not None and ended.peak_mib > 64


async def test_nothing_of_a_job_outlives_it(site: Any, connector: Any, watch: Watcher) -> None:
    request = await site.stage("setsid sh -c 'sleep 1; echo late > late' </dev/null >/dev/null 2>&1 & sleep 0.1")
    await connector.submit(request)
    await watch.until_ended(request.name)
    await asyncio.sleep(1.3)
    assert await site.files.read(f"{request.directory}/work/late") == (b"" if site.catches_daemons else b"late\n")


async def test_cancel_ends_a_running_job_and_a_waiting_one_never_starts(
    site: Any, connector: Any, watch: Watcher
) -> None:
    running = await site.stage("echo up; sleep 60", partition="one")
    waiting = await site.stage("echo up", partition="one")
    native_id = await connector.submit(running)
    await connector.submit(waiting)
    await watch.until_started(running.name)
    await connector.cancel(waiting.name, "")
    await connector.cancel(running.name, native_id)
    ended = await watch.until_ended(running.name)
    assert ended.reason is Reason.CANCELLED and ended.started_at is not None
    ended = await watch.until_ended(waiting.name)
    assert ended.reason is Reason.CANCELLED and ended.started_at is None
    await connector.cancel(running.name, native_id)  # ended
    await connector.cancel("tg-0000000000zzz", "99")  # unknown
    assert await site.files.read(f"{waiting.directory}/log/0.out") == b""


async def test_an_array_runs_every_task_and_never_more_at_once_than_its_throttle(
    site: Any, connector: Any, watch: Watcher
) -> None:
    request = await site.stage(
        "echo $TIDE_TASK $(date +%s%N); sleep 0.5; date +%s%N; exit $((TIDE_TASK == 5))",
        tasks=(1, 2, 3, 5, 8),
        throttle=2,
    )
    native_id = await connector.submit(request)
    spans = []
    for task in request.tasks:
        ended = await watch.until_ended(request.name, task)
        assert (ended.native_id, ended.exit_code) == (native_id, int(task == 5))
        said = (await site.files.read(f"{request.directory}/log/{task}.out")).decode().split()
        assert said[0] == str(task)
        spans.append((int(said[1]), int(said[2])))
        assert await site.files.glob(f"{request.directory}/work", [f"{task}/*"]) == []
    # by the tasks' own clocks: a listing may still show what has just ended
    assert max(sum(begin <= at < end for begin, end in spans) for at, _ in spans) == 2


async def test_a_job_of_several_nodes_has_all_of_them_at_once_and_runs_once(site: Any, connector: Any, watch: Watcher) -> None:
    nodes, cores = site.whole
    blocker = await site.stage("sleep 60", memory_mib=16)
    gang = await site.stage('echo "$TIDE_NODES $TIDE_CORES $TIDE_MEMORY_MIB"; sleep 1', nodes=nodes, cores=cores, memory_mib=64)
    await connector.submit(blocker)
    await watch.until_started(blocker.name)
    await connector.submit(gang)
    load = next(x for x in (await watch.look()).loads if x.partition == site.partition)
    assert (60, nodes * cores, nodes * 64, 0) in load.waiting
    found = await connector.find(gang.name)
    assert (found.waiting, found.running) == ((0,), ()), "it has what is not free"
    await connector.cancel(blocker.name, "")
    await watch.until_started(gang.name)
    load = next(x for x in (await watch.look()).loads if x.partition == site.partition)
    assert [row[1:] for row in load.running] == [(nodes * cores, nodes * 64, 0)] and load.cores == (nodes * cores, 0)  # of all nodes
    assert (await watch.until_ended(gang.name)).reason is Reason.OK
    assert await site.files.read(f"{gang.directory}/log/0.out") == f"{nodes} {cores} 64\n".encode()


async def test_single_tasks_of_an_array_are_cancelled(site: Any, connector: Any, watch: Watcher) -> None:
    request = await site.stage("sleep 0.3", tasks=(0, 1, 2), throttle=1)
    native_id = await connector.submit(request)
    await connector.cancel(request.name, native_id, (1,))
    assert (await watch.until_ended(request.name, 1)).reason is Reason.CANCELLED
    assert (await watch.until_ended(request.name, 2)).reason is Reason.OK
    assert (await watch.until_ended(request.name, 0)).reason is Reason.OK


async def test_what_can_never_run_is_refused_at_once(site: Any, connector: Any) -> None:
    await connector.observe("")
    for changes, code in site.too_much:
        request = await site.stage("true", **changes)  # type: ignore[arg-type]
        with pytest.raises(SiteRefused) as refused:
            await connector.submit(request)
        assert refused.value.code == code
        assert await connector.find(request.name) is None


async def test_load_shows_capacity_use_and_queue(site: Any, connector: Any, watch: Watcher) -> None:
    running = await site.stage("sleep 60", partition="one", memory_mib=200, wall_s=100)
    waiting = await site.stage("true", partition="one", memory_mib=300, wall_s=50)
    await connector.submit(running)
    await watch.until_started(running.name)
    await connector.submit(waiting)
    loads = (await watch.look()).loads
    load = next(x for x in loads if x.partition == running.partition)
    for x in loads:  # what is free lies on nodes
        assert sum(n * cores for n, cores, _, _ in x.holes) == x.cores[1] and all(n > 0 and 0 < cores <= x.largest[0] for n, cores, _, _ in x.holes)
    assert any(x.holes for x in loads)
    if not site.exact_load:
        assert load.cores[0] - load.cores[1] == site.single_cores
        assert load.memory_mib[0] - load.memory_mib[1] == 200
        assert load.running[0][1:] == (site.single_cores, 200, 0) and 80 <= load.running[0][0] <= 120
        assert load.waiting == ((60, site.single_cores, 300, 0),)
        assert set(load.enforced) == {"cores", "memory", "wall_time"}
        await connector.cancel(running.name, "")
        await connector.cancel(waiting.name, "")
        return
    assert (load.cores, load.memory_mib, load.largest) == ((1, 0), (512, 312), (1, 512, 0))
    assert load.running[0][1:] == (1, 200, 0) and 90 <= load.running[0][0] <= 101
    assert load.waiting == ((50, 1, 300, 0),)
    assert set(load.enforced) == {"cores", "memory", "wall_time"}
    await connector.cancel(running.name, "")
    await connector.cancel(waiting.name, "")
    await watch.until_ended(running.name)


async def test_small_files_travel_many_at_a_time(connector: Any) -> None:
    """In one round trip where the site allows, and byte by byte as they are."""
    at = "many/files"
    text = {"script": b"#!/bin/sh\necho 'a b' $x \\ `d`\n", "no newline": b"end", "empty": b"", "mark": b"\n0123 0\n.\n-\n"}
    raw = {"bytes": bytes(range(256)) * 9, "not-utf8": b"\xff\xfe\n.\n"}
    await connector.files.write_many(at, text, mode=0o700)
    await connector.files.write_many(at, raw, mode=0o700)
    names = [*text, "gone", *raw]
    assert await connector.files.read_many([f"{at}/{n}" for n in names]) == {f"{at}/{n}": d for n, d in (text | raw).items()}
    await connector.files.write_many(at, {"script": b"anew"})
    assert await connector.files.read_many([f"{at}/script"]) == {f"{at}/script": b"anew"}
    assert len(await connector.files.glob(at, ["*"])) == len(text | raw), "temporary files stayed"
    await connector.files.remove("many/files")


async def test_what_many_stage_at_the_same_moment_arrives_and_one_that_cannot_fails_alone(connector: Any) -> None:
    files = connector.files
    await files.write("together/file", b"in the way")
    asked = [files.write_many(f"together/{i}", {"a b": f"{i}'\n".encode()}, directories=("log", "work")) for i in range(20)]
    *there, failed = await asyncio.gather(*asked, files.write_many("together/file/x", {"a": b""}), return_exceptions=True)
    assert there == [None] * 20 and isinstance(failed, Exception)
    look = [(f"together/{i}", ["*"]) for i in range(20)]
    found = await files.glob_many([*look, ("together/gone", ["*"]), ("together", ["file"]), ("together", ["*/a b"])])
    assert [[f.path for f in its] for its in found[:22]] == [["a b"]] * 20 + [[], ["file"]] and len(found[22]) == 20
    assert (await files.read_many(["together/7/a b"])) == {"together/7/a b": b"7'\n"}
    await files.write("together/7/work/x", b"made with it")


async def test_many_marks_are_removed_at_once_and_each_tells_whether_it_was_there(connector: Any) -> None:
    names = [f"0000000000abc.{i}.0.mark" for i in range(9)]
    for name in names[::2]:
        await connector.files.write(f"spool/{name}", b"nonce 1 2 .\n")
    assert await connector.files.unspool(names) == names[::2]
    assert await connector.files.unspool(names) == []
