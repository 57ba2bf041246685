"""One compare-and-set decides whether an execution exists: the batch script against the server, on the real site."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.parts.embedded import Watcher, eventually
from tidegrid.connectors.contract import SpoolEntry
from tidegrid.domain.attempt import Reason

pytestmark = pytest.mark.anyio


async def entries(site: Any, name: str, kind: str) -> list[SpoolEntry]:
    return [e for e in await site.files.spool() if e.attempt == name.removeprefix("tg-") and e.kind == kind]


async def mark_of(site: Any, name: str) -> SpoolEntry:
    for _ in range(500):
        if found := await entries(site, name, "mark"):
            return found[0]
        await asyncio.sleep(0.02)
    raise AssertionError(f"{name} left no mark")


async def test_a_tombstone_stops_a_submission_that_lands_later(
    site: Any, connector: Any, watch: Watcher
) -> None:
    request = await site.stage("echo ran")
    claim = await site.files.claim(request.directory, 0, 0, "server:abc")
    assert claim.won
    await connector.submit(request)
    ended = await watch.until_ended(request.name)
    assert (ended.reason, ended.exit_code) == (Reason.FAILED, 75)
    assert await site.files.glob(request.directory, ["log/*.out", "work/**"]) == []
    assert await entries(site, request.name, "mark") == []
    assert b"server:abc" in await site.files.read(f"{request.directory}/log/0.batch")


async def test_a_job_that_started_keeps_its_fence_from_the_server(
    site: Any, connector: Any, watch: Watcher
) -> None:
    request = await site.stage("sleep 0.3; echo ran")
    native_id = await connector.submit(request)
    mark = await mark_of(site, request.name)
    nonce, marked_id, _ = mark.body.split()
    claim = await site.files.claim(request.directory, 0, 0, "server:abc")
    assert (claim.won, claim.holder) == (False, f"{native_id}:{nonce}")
    assert marked_id == native_id
    assert (await watch.until_ended(request.name)).reason is Reason.OK


async def test_the_server_recognises_its_own_claim(site: Any) -> None:
    request = await site.stage("true")
    assert (await site.files.claim(request.directory, 0, 0, "server:abc")).won
    assert (await site.files.claim(request.directory, 0, 0, "server:abc")).won
    assert not (await site.files.claim(request.directory, 0, 0, "server:other")).won
    assert (await site.files.claim(request.directory, 1, 0, "server:other")).won


async def test_tasks_of_an_array_are_fenced_one_by_one(site: Any, connector: Any, watch: Watcher) -> None:
    request = await site.stage("echo ran", tasks=(1, 2))
    await site.files.claim(request.directory, 2, 0, "server:abc")
    await connector.submit(request)
    assert (await watch.until_ended(request.name, 1)).exit_code == 0
    assert (await watch.until_ended(request.name, 2)).exit_code == 75
    assert await site.files.read(f"{request.directory}/log/1.out") == b"ran\n"
    assert await site.files.read(f"{request.directory}/log/2.out") == b""


async def test_a_movable_job_waits_until_the_server_removes_its_mark(
    site: Any, connector: Any, watch: Watcher
) -> None:
    request = await site.stage("echo ran", movable=True)
    await connector.submit(request)
    mark = await mark_of(site, request.name)
    await asyncio.sleep(0.4)
    assert await site.files.read(f"{request.directory}/log/0.out") == b""
    assert await site.files.unspool([mark.file]) == [mark.file]
    assert (await watch.until_ended(request.name)).reason is Reason.OK
    assert await site.files.read(f"{request.directory}/log/0.out") == b"ran\n"


async def test_a_movable_job_without_a_permit_gives_up_before_it_starts(
    site: Any, connector: Any, watch: Watcher
) -> None:
    request = await site.stage("echo ran", movable=True, wait_s=1)
    await connector.submit(request)
    mark = await mark_of(site, request.name)
    assert (await watch.until_ended(request.name)).exit_code == 75
    assert await site.files.unspool([mark.file]) == []
    assert [e.body for e in await entries(site, request.name, "gaveup")] == [mark.body]
    assert await site.files.read(f"{request.directory}/log/0.out") == b""


async def test_permit_and_withdrawal_never_both_win(site: Any, connector: Any, watch: Watcher) -> None:
    """Many jobs that give up just while the server permits them: each either ran and was permitted, or neither."""
    requests = [await site.stage("echo ran", movable=True, wait_s=1, cores=1, memory_mib=32) for _ in range(12)]
    for request in requests:
        await connector.submit(request)
    permitted: set[str] = set()

    async def permit_late(name: str, after_s: float) -> None:
        mark = await mark_of(site, name)
        await asyncio.sleep(after_s)
        if await site.files.unspool([mark.file]):
            permitted.add(name)

    await asyncio.gather(*(permit_late(r.name, 0.4 + 0.2 * i) for i, r in enumerate(requests)))
    assert 0 < len(permitted) < len(requests)
    for request in requests:
        ended = await watch.until_ended(request.name)
        ran = await site.files.read(f"{request.directory}/log/0.out") == b"ran\n"
        gave_up = bool(await entries(site, request.name, "gaveup"))
        assert (ran, gave_up, ended.exit_code == 0) == (request.name in permitted, not ran, ran)


async def test_a_restartable_job_starts_on_a_live_lease_and_stops_itself_without_a_permit(
    site: Any, connector: Any, watch: Watcher
) -> None:
    await site.renew_lease()
    request = await site.stage("echo ran; sleep 60", movable=True, restartable=True, wait_s=1)
    await connector.submit(request)
    assert (await watch.until_ended(request.name)).exit_code == 75
    assert await site.files.read(f"{request.directory}/log/0.out") == b"ran\n"
    assert len(await entries(site, request.name, "gaveup")) == 1
    assert await entries(site, request.name, "end") == []
    permitted = await site.stage("sleep 1.5; echo ran", movable=True, restartable=True, wait_s=1)
    await connector.submit(permitted)
    await site.files.unspool([(await mark_of(site, permitted.name)).file])
    assert (await watch.until_ended(permitted.name)).exit_code == 0


async def test_a_restartable_job_waits_where_the_lease_has_expired(
    site: Any, connector: Any, watch: Watcher
) -> None:
    await site.renew_lease(-1)
    request = await site.stage("echo ran", movable=True, restartable=True, wait_s=1)
    await connector.submit(request)
    assert (await watch.until_ended(request.name)).exit_code == 75
    assert await site.files.read(f"{request.directory}/log/0.out") == b""


async def test_cancelling_a_job_that_waits_for_its_permit_withdraws_its_mark(
    site: Any, connector: Any, watch: Watcher
) -> None:
    request = await site.stage("echo ran", movable=True)
    native_id = await connector.submit(request)
    await mark_of(site, request.name)
    await connector.cancel(request.name, native_id)
    assert (await watch.until_ended(request.name)).reason is Reason.CANCELLED
    assert await entries(site, request.name, "mark") == []
    assert await site.files.read(f"{request.directory}/log/0.out") == b""


async def test_late_and_lost_submissions_run_once_or_not_at_all(site: Any, watch: Watcher) -> None:
    """The server fences an attempt in doubt and places another: whenever the first one lands, one of the two runs."""
    import random

    from tests.parts.faults import Rates
    from tidegrid.connectors.contract import SiteUnsure

    rates = Rates(lost_before=0.2, lost_after=0.2, late=0.3, garbage=0.1, late_s=(0.1, 0.6))
    connector, faulty = site.faulty(random.Random(7), rates)
    witness = site.home / "witness"
    for number in range(20):
        while True:
            request = await site.stage(f"echo {number} >> {witness}", partition="cpu", memory_mib=32)
            try:
                await connector.submit(request)
                break
            except SiteUnsure:
                if not (await site.files.claim(request.directory, 0, 0, "server:t")).won:
                    break
    await faulty.settle()
    await eventually(lambda: witness.exists() and len(witness.read_text().split()) >= 20, "a job was lost")
    await asyncio.sleep(0.3)
    assert sorted(map(int, witness.read_text().split())) == list(range(20))
    assert all(faulty.injected[kind] for kind in ("lost_before", "lost_after", "late", "garbage"))
    await connector.close()
