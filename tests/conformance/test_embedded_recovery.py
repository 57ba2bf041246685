"""The embedded cluster forgets nothing when its supervisor is killed, and starts nothing twice."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.parts.embedded import EmbeddedSite, Watcher, eventually
from tidegrid.connectors.contract import SiteUnsure
from tidegrid.connectors.embedded import launch
from tidegrid.domain.attempt import Reason
from tidegrid.domain.errors import Broken, Conflict, InvalidInput

pytestmark = pytest.mark.anyio


async def test_a_running_job_survives_its_supervisor_and_is_adopted(own_site: EmbeddedSite, own_watch: Watcher) -> None:
    request = await own_site.stage("echo up; while [ ! -e ../go ]; do sleep 0.05; done; exit 4")
    native_id = await own_watch.connector.submit(request)
    started = await own_watch.until_started(request.name)
    own_site.kill()
    with pytest.raises(SiteUnsure):
        await own_watch.look()
    own_site.start()
    seen = await own_watch.look()
    assert [(j.name, j.native_id, j.running) for j in seen.jobs] == [(request.name, native_id, (0,))]
    assert seen.loads[0].cores == (4, 3)
    await own_site.files.write(f"{request.directory}/go", b"")
    ended = await own_watch.until_ended(request.name)
    assert (ended.reason, ended.exit_code, ended.started_at) == (Reason.FAILED, 4, started.at)
    assert (await own_watch.look()).loads[0].cores == (4, 4)
    assert await own_site.files.read(f"{request.directory}/log/0.out") == b"up\n"


async def test_all_nodes_of_a_job_are_adopted_and_none_is_given_twice(own_site: EmbeddedSite, own_watch: Watcher) -> None:
    waits = "while [ ! -e ../go ]; do sleep 0.05; done"
    first, second = [await own_site.stage(waits, nodes=2, memory_mib=100) for _ in range(2)]
    whole = await own_site.stage("echo ran", nodes=2, cores=2)
    await own_watch.connector.submit(first)
    await own_watch.until_started(first.name)
    for request in (whole, second):  # the second ends, as far as it tells, no later than the first: it may go before
        await own_watch.connector.submit(request)
    own_site.restart()
    await own_watch.until_started(second.name)
    own_site.restart()
    load = (await own_watch.look()).loads[0]
    assert (load.cores, load.memory_mib) == ((4, 0), (2048, 2048 - 400))
    assert [row[1:] for row in load.running] == [(2, 200, 0)] * 2 and [row[1:] for row in load.waiting] == [(4, 256, 0)]
    places = sorted(p.read_text() for p in (own_site.home / "run").glob("*/place"))
    assert places == ["0;;\n1;;\n"] * 2
    await own_site.files.write(f"{first.directory}/go", b"")
    await own_watch.until_ended(first.name)
    assert (await own_watch.look()).loads[0].cores == (4, 2) and own_watch.started(whole.name) is None
    await own_site.files.write(f"{second.directory}/go", b"")
    assert (await own_watch.until_ended(whole.name)).reason is Reason.OK
    assert (await own_watch.look()).loads[0].cores == (4, 4)


async def test_a_job_that_ends_without_a_supervisor_is_accounted_by_the_next(
    own_site: EmbeddedSite, own_watch: Watcher
) -> None:
    request = await own_site.stage("sleep 0.5; echo done")
    await own_watch.connector.submit(request)
    await own_watch.until_started(request.name)
    own_site.kill()
    await asyncio.sleep(1.2)
    own_site.start()
    ended = await own_watch.until_ended(request.name)
    assert ended.reason is Reason.OK and ended.started_at is not None
    assert 450_000 < ended.ended_at - ended.started_at < 1_100_000


async def test_wall_time_and_memory_hold_without_a_supervisor(own_site: EmbeddedSite, own_watch: Watcher) -> None:
    slow = await own_site.stage("sleep 60", wall_s=1)
    greedy = await own_site.stage(
        "exec python3 -c 'import time; time.sleep(0.6); x = b\"1\" * (200 << 20); time.sleep(30)'", memory_mib=64
    )
    for request in (slow, greedy):
        await own_watch.connector.submit(request)
        await own_watch.until_started(request.name)
    own_site.kill()
    await asyncio.sleep(2.5)
    own_site.start()
    assert (await own_watch.until_ended(slow.name)).reason is Reason.TIMEOUT
    assert (await own_watch.until_ended(greedy.name)).reason is Reason.OOM


async def test_waiting_jobs_and_cancellations_survive(own_site: EmbeddedSite, own_watch: Watcher) -> None:
    blocker = await own_site.stage("sleep 0.5", partition="one")
    kept = await own_site.stage("echo ran", partition="one")
    dropped = await own_site.stage("echo ran", partition="one")
    for request in (blocker, kept, dropped):
        await own_watch.connector.submit(request)
    await own_watch.connector.cancel(dropped.name, "")
    own_site.restart()
    assert (await own_watch.until_ended(kept.name)).reason is Reason.OK
    assert (await own_watch.until_ended(dropped.name)).reason is Reason.CANCELLED
    assert await own_site.files.read(f"{dropped.directory}/log/0.out") == b""


async def test_a_shim_that_vanishes_is_a_node_failure_and_takes_its_job_along(
    own_site: EmbeddedSite, own_watch: Watcher
) -> None:
    seen_dying = await own_site.stage("sleep 6; echo late > late")
    found_dead = await own_site.stage("sleep 6; echo late > late")
    for request in (seen_dying, found_dead):
        await own_watch.connector.submit(request)
        await own_watch.until_started(request.name)
    submitted = time.monotonic()
    first, second = sorted(own_site.shims())
    os.kill(first, signal.SIGKILL)
    await eventually(lambda: len(own_site.shims()) == 1)
    own_site.kill()
    os.kill(second, signal.SIGKILL)
    await eventually(lambda: not own_site.shims())
    own_site.start()
    for request in (seen_dying, found_dead):
        ended = await own_watch.until_ended(request.name)
        assert ended.reason is Reason.NODE_FAIL and ended.exit_code is None
        assert ended.started_at is not None and ended.ended_at >= ended.started_at
    await asyncio.sleep(max(0.0, submitted + 6.2 - time.monotonic()))
    for request in (seen_dying, found_dead):
        assert await own_site.files.read(f"{request.directory}/work/late") == b""


async def test_killed_again_and_again_it_runs_every_job_once(own_site: EmbeddedSite) -> None:
    rng = random.Random(3)
    connector = own_site.connector()
    witness = own_site.home / "witness"
    waiting = [await own_site.stage(f"echo {n} >> {witness}; sleep 0.05", memory_mib=16) for n in range(40)]
    names = [request.name for request in waiting]
    kills = 0

    async def killer() -> None:
        nonlocal kills
        while waiting or kills < 6:
            await asyncio.sleep(rng.uniform(0.0, 0.2))
            await asyncio.to_thread(own_site.restart)
            kills += 1

    killing = asyncio.create_task(killer())
    while waiting:
        try:
            await connector.submit(waiting[0])
            waiting.pop(0)
        except SiteUnsure:
            await asyncio.sleep(0.02)
    await killing
    watch = Watcher(connector)
    for name in names:
        assert (await watch.until_ended(name)).reason is Reason.OK
    assert sorted(map(int, witness.read_text().split())) == list(range(40))
    kinds = [(r.name, type(r.event).__name__) for r in watch.records]
    assert len(kinds) == len(set(kinds)) == 80
    assert list((own_site.home / "run").iterdir()) == []
    refused = [p for p in own_site.root.glob("org/00/job/*/log/*.batch")]
    assert refused == [], "a second start, which only the fence stopped"
    await connector.close()


async def test_a_second_supervisor_is_refused(own_site: EmbeddedSite) -> None:
    with pytest.raises(Conflict) as refused:
        own_site.start()
    assert refused.value.code == "supervisor.locked" and str(launch.running(own_site.home)) in refused.value.message
    assert launch.ensure_running(own_site.home, own_site.config) is False
    own_site.kill()
    assert launch.ensure_running(own_site.home, own_site.config) is True


async def test_a_torn_last_line_of_the_journal_is_forgotten(own_site: EmbeddedSite, own_watch: Watcher) -> None:
    request = await own_site.stage("true")
    await own_watch.connector.submit(request)
    await own_watch.until_ended(request.name)
    own_site.kill()
    journal = own_site.home / "journal"
    whole = journal.read_bytes()
    journal.write_bytes(whole + whole.splitlines(keepends=True)[1][:-7])
    own_site.start()
    assert journal.read_bytes() == whole
    assert (await own_watch.connector.find(request.name)) is not None


async def test_a_corrupted_journal_is_refused_with_file_and_line(own_site: EmbeddedSite, own_watch: Watcher) -> None:
    request = await own_site.stage("true")
    await own_watch.connector.submit(request)
    await own_watch.until_ended(request.name)
    own_site.kill()
    journal = own_site.home / "journal"
    lines = journal.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1].replace(b'"cores":1', b'"cores":2')
    journal.write_bytes(b"".join(lines))
    with pytest.raises(Broken) as refused:
        own_site.start()
    assert refused.value.code == "supervisor.journal_corrupt" and refused.value.exit_status == 4
    assert f"{journal}, line 2" in refused.value.message
    assert journal.read_bytes() == b"".join(lines)


async def test_wrong_settings_are_refused_by_name(tmp_path: Path) -> None:
    site = EmbeddedSite(tmp_path / "east", queue="random")
    with pytest.raises(InvalidInput) as refused:
        site.start()
    assert refused.value.code == "supervisor.config" and "queue is one of default, fcfs, easy" in refused.value.message


async def test_a_stop_leaves_jobs_running(own_site: EmbeddedSite, own_watch: Watcher) -> None:
    request = await own_site.stage("sleep 0.5; echo done")
    await own_watch.connector.submit(request)
    await own_watch.until_started(request.name)
    own_site.stop()
    assert launch.running(own_site.home) == 0 and own_site.shims()
    own_site.start()
    assert (await own_watch.until_ended(request.name)).reason is Reason.OK


async def test_cores_are_held_to_their_cpus_where_they_are_named(tmp_path: Path) -> None:
    cpus = sorted(os.sched_getaffinity(0))[:1]
    partitions = [{"name": "cpu", "nodes": 1, "cores": 1, "memory_mib": 512, "cpus": cpus}]
    site = EmbeddedSite(tmp_path / ("long" * 40) / "east", partitions=partitions)  # longer than a socket's path may be
    site.start()
    watch = Watcher(site.connector())
    try:
        request = await site.stage("grep Cpus_allowed_list /proc/self/status")
        await watch.connector.submit(request)
        await watch.until_ended(request.name)
        assert (await site.files.read(f"{request.directory}/log/0.out")).split()[1] == str(cpus[0]).encode()
        assert (await watch.look()).loads[0].enforced["cores"] == "affinity"
        assert (site.home / "socket").stat().st_mode & 0o777 == 0o600
    finally:
        await watch.connector.close()
        site.end_everything()


async def test_what_several_nodes_have_is_there_together_and_the_job_is_held_to_it(tmp_path: Path) -> None:
    """Two nodes of one machine: both CPUs, the GPUs by their numbers there, twice the memory and no more."""
    cpus = sorted(os.sched_getaffinity(0))
    cpus = [cpus[0], cpus[-1]]
    partition = {"name": "cpu", "nodes": 2, "cores": 1, "memory_mib": 512, "gpus": 2, "gpu_type": "a100", "cpus": cpus}
    site = EmbeddedSite(tmp_path / "east", partitions=[partition])
    site.start()
    watch = Watcher(site.connector())
    try:
        look = "exec python3 -c 'import os; x = b\"1\" * (90 << 20); print(*sorted(os.sched_getaffinity(0)), os.environ[\"CUDA_VISIBLE_DEVICES\"])'"
        fits = dataclasses.replace(await site.stage(look, nodes=2, memory_mib=64), gpus=1)
        greedy = await site.stage("exec python3 -c 'import time; x = b\"1\" * (200 << 20); time.sleep(30)'", nodes=2, memory_mib=64)
        for request in (fits, greedy):
            await watch.connector.submit(request)
        assert (await watch.until_ended(fits.name)).reason is Reason.OK
        told = (await site.files.read(f"{fits.directory}/log/0.out")).decode().split()
        assert told == [*map(str, sorted(set(cpus))), "0,2"]
        assert (await watch.until_ended(greedy.name)).reason is Reason.OOM
    finally:
        await watch.connector.close()
        site.end_everything()
