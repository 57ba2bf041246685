"""Events come in one order, and a cursor misses none."""

from __future__ import annotations

import threading

from sqlalchemy import Connection
from tests.parts.stores import T0, add_tenant

from tidegrid.domain.ids import Ids
from tidegrid.store import events
from tidegrid.store.engine import Store
from tidegrid.store.scope import OPERATOR, Scope


def test_events_are_read_in_order_from_a_cursor_on(store: Store) -> None:
    store.write_sync(lambda c: [events.append(c, kind=f"k{i}", at=T0, body={"i": i}) for i in range(5)])
    first = store.read_sync(lambda c: events.after(c, OPERATOR, 0, limit=3))
    rest = store.read_sync(lambda c: events.after(c, OPERATOR, first[-1]["seq"]))
    assert [e["body"]["i"] for e in first + rest] == [0, 1, 2, 3, 4]
    assert store.read_sync(events.last) == rest[-1]["seq"]


def test_an_organisation_sees_its_own_events_only(store: Store, ids: Ids) -> None:
    def work(c):  # type: ignore[no-untyped-def]
        a, b = add_tenant(c, ids, "a"), add_tenant(c, ids, "b")
        for org in (a.org_id, b.org_id, None):
            events.append(c, kind="k", at=T0, org_id=org)
        return a

    a = store.write_sync(work)
    assert [e["org_id"] for e in store.read_sync(lambda c: events.after(c, Scope(a.org_id), 0))] == [a.org_id]
    assert len(store.read_sync(lambda c: events.after(c, OPERATOR, 0))) == 3


def test_kinds_and_jobs_filter(store: Store) -> None:
    def work(c):  # type: ignore[no-untyped-def]
        events.append_many(
            c, [{"kind": "a", "at": 1, "job_id": 7}, {"kind": "b", "at": 1, "job_id": 7}, {"kind": "a", "at": 1}]
        )

    store.write_sync(work)
    assert len(store.read_sync(lambda c: events.after(c, OPERATOR, 0, kinds=("a",)))) == 2
    assert [e["kind"] for e in store.read_sync(lambda c: events.after(c, OPERATOR, 0, job_id=7))] == ["a", "b"]


def test_a_cursor_never_goes_back(store: Store) -> None:
    for position in (5, 3):
        store.write_sync(lambda c, p=position: events.advance(c, "mail", p, T0))
    assert store.read_sync(lambda c: events.position(c, "mail")) == 5
    assert store.read_sync(lambda c: events.position(c, "other")) == 0


def test_a_follower_misses_nothing_of_two_servers(store_url: str) -> None:
    """Two stores on one database append at once, one of them slowly; a follower polls all the while."""
    with Store.open(store_url, now_us=lambda: T0) as a, Store.open(store_url, now_us=lambda: T0) as b:
        stop = threading.Event()
        seen: list[int] = []

        def follow() -> None:
            position = 0
            while True:
                last_round = stop.is_set()
                batch = b.read_sync(lambda c, p=position: events.after(c, OPERATOR, p))
                seen.extend(e["seq"] for e in batch)
                position = batch[-1]["seq"] if batch else position
                if last_round and not batch:
                    return

        def slow(c):  # type: ignore[no-untyped-def]
            events.append(c, kind="slow", at=T0)
            threading.Event().wait(0.01)
            events.append(c, kind="slow", at=T0)

        follower = threading.Thread(target=follow)
        follower.start()
        fast = threading.Thread(
            target=lambda: [b.write_sync(lambda c: events.append(c, kind="fast", at=T0)) for _ in range(60)]
        )
        fast.start()
        for _ in range(15):
            a.write_sync(slow)
        fast.join()
        stop.set()
        follower.join()
    assert len(seen) == 90
    assert seen == sorted(seen)


def test_events_of_a_function_that_failed_go_with_it(store: Store) -> None:
    """Also where it shared a transaction with others."""
    gate = threading.Event()
    first = store._enqueue(lambda conn: gate.wait(10))

    def well(conn: Connection) -> None:
        events.append(conn, kind="well", at=1)

    def ill(conn: Connection) -> None:
        events.append(conn, kind="ill", at=1)
        raise ValueError("afterwards")

    rest = [store._enqueue(fn) for fn in (well, ill, well)]
    gate.set()
    first.future.result(10)
    assert [job.future.exception(10) is None for job in rest] == [True, False, True]
    found = store.read_sync(lambda conn: events.after(conn, OPERATOR, 0))
    assert [e["kind"] for e in found] == ["well", "well"]
