"""Many jobs of a cluster end at the same moment, and others begin: on both databases."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from tests.parts.protocol import Bench

from tidegrid.control import reconcile
from tidegrid.control.contact import STROKE_S, native_name
from tidegrid.control.reconcile import AT_ONCE
from tidegrid.domain.attempt import Reason
from tidegrid.store.engine import Store

MANY = 3 * AT_ONCE


@pytest.fixture
def bench(store: Store) -> Bench:
    return Bench(store)


def test_what_begins_meanwhile_gets_its_permit_before_all_that_ended_is_settled(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile, "LOOK_S", 0.0)  # as where every part takes longer than that
    site = bench.sites["north"]
    jobs = [bench.submit() for _ in range(MANY)]
    ended, at = bench.place(), bench.clock.at
    for id_ in ended:
        site.starts(id_, at)
        site.marks(id_)
    bench.tick()
    began = bench.submit(movable=True)
    (late,) = bench.place()
    site.lists(late, waiting=(0,))
    bench.tick()
    now = bench.clock.at
    for id_ in ended:
        site.ends(id_, at, now)
    spool, settled = site.files.spool, []

    async def spooled() -> list[object]:
        settled.append(sum(not bench.attempt(i).attempt.live for i in ended))
        if settled[-1] and not any(settled[:-1]):  # the first look between two parts of the tick
            site.marks(late)
        return list(await spool())

    site.files.spool = spooled  # type: ignore[method-assign, assignment]
    bench.tick()
    parts = [b - a for a, b in itertools.pairwise(settled) if b > a]
    assert len(parts) >= 2 and max(parts) <= AT_ONCE, "a look after each part"
    assert not site.files.spooled, "the mark was taken for the permit within the tick"
    assert bench.attempt(late).attempt.executions[0].marked
    assert {bench.attempt(i).attempt.reason for i in ended} == {Reason.OK}
    assert {bench.job(j)["state"] for j in jobs} <= {"finishing", "succeeded"} and bench.job(began)["state"] == "running"
    assert all(bench.usage(j) == [(0, (now - at) // 1000)] for j in jobs)
    bench.tick()
    assert all(bench.usage(j) == [(0, (now - at) // 1000)] for j in jobs)
    bench.books()


def test_all_else_waits_for_a_wave_that_begins_but_not_for_jobs_that_begin_all_the_time(bench: Bench) -> None:
    contact = bench.contacts["north"]

    async def waited(first: float, last: float) -> float:
        now = asyncio.get_running_loop().time
        contact.permitted = (now() - first, now() - last)
        began = now()
        await contact.let_start()
        return now() - began

    assert asyncio.run(waited(5.0, 5.0)) < 0.05, "nothing begins"
    assert 0.1 < asyncio.run(waited(0.5, 0.05)) < STROKE_S, "a wave has begun just now"
    assert asyncio.run(waited(60.0, 0.0)) < 0.05, "they have begun one after the other for a minute"


def test_what_its_cluster_took_gets_its_permit_while_the_controller_is_still_asked(bench: Bench) -> None:
    site, contact = bench.sites["north"], bench.contacts["north"]
    bench.tick()  # nothing is there: nothing starts
    assert not contact.starting
    bench.submit(movable=True)
    (attempt,) = bench.place()
    observe, seen = site.observe, []

    async def slow(cursor: str) -> object:
        contact.took()
        site.marks(attempt)
        for _ in range(100):
            await asyncio.sleep(0.02)
            if not site.files.spooled:
                break
        seen.append(bench.attempt(attempt).attempt.executions[0].marked)
        return await observe(cursor)

    site.observe = slow  # type: ignore[method-assign, assignment]
    bench.tick()
    assert seen == [True], "committed and permitted before the controller had answered"
    assert contact.starting, "an answer that is older than what it took says nothing of that"


def test_a_rest_ends_when_the_last_of_what_runs_has_said_that_it_ended(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile, "LAST_S", 0.02)
    site, contact, reconciler = bench.sites["north"], bench.contacts["north"], bench.reconcilers["north"]
    for _ in range(3):
        bench.submit()
    first, second, third = bench.place()
    for id_ in (first, second):
        site.starts(id_, bench.clock.at)
        site.marks(id_)
    site.lists(third, waiting=(0,))
    bench.tick()
    contact.starting = False

    async def rested() -> float:
        now = asyncio.get_running_loop().time
        contact.asked = (now() - 0.1, now())  # it took a tenth of a second to answer
        began = now()
        await reconciler.rest()
        return now() - began

    for id_ in (first, second):
        site.marks(id_, body="0", kind="end")
    assert asyncio.run(rested()) > 0.3, "another waits there: its controller has enough to do"
    del site.jobs[native_name(third)]
    bench.tick()
    contact.starting = False
    assert asyncio.run(rested()) < 0.2, "their ends were listed by the tick before"
