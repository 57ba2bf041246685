"""Servers that share one database: taking, losing and giving up leases; what a stale one can still do, which is nothing."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text
from tests.parts.postgres import Postgres
from tests.parts.protocol import APP, Bench
from tests.parts.stores import Ticks, make_ids

from tidegrid.control import intake
from tidegrid.control.acting import Guarded, Held, acting, boottime
from tidegrid.control.context import Context, Settings
from tidegrid.control.leases import Leases
from tidegrid.control.projection import refresh
from tidegrid.domain.errors import Conflict, TideError
from tidegrid.domain.ids import show
from tidegrid.domain.lease import SUBMIT, cluster_role
from tidegrid.store import leases as rows
from tidegrid.store.engine import Store
from tidegrid.store.schema import jobs

ROLES = [cluster_role(c) for c in ("x", "y", "z")]


class Server:
    """One server's leases, stepped by hand."""

    def __init__(self, store: Store, name: str, *, length: float = 60.0, alone: bool = False) -> None:
        self.store = store
        self.ctx = Context(store, Ticks(), make_ids(1), Path("/nowhere"), Settings(server_lease=length))  # type: ignore[arg-type]
        self.leases = Leases(self.ctx, {"name": name, "host": "h", "pid": 1, "started_at": 1}, alone=alone)
        self.leases.able = {SUBMIT, *ROLES}
        self.log: list[tuple[str, str, int]] = []
        self.leases.began = lambda held: self.log.append(("began", held.role, held.token))
        self.leases.ended = self._ended

    async def _ended(self, held: Held) -> None:
        self.log.append(("ended", held.role, held.token))

    def step(self) -> set[str]:
        asyncio.run(self.leases.step())
        return set(self.ctx.held)

    def write(self, role: str, statement: str = "UPDATE clusters SET boot = 'mine'") -> None:
        """Change something while acting in a role."""
        self.write_as(self.ctx.held[role], statement)

    def write_as(self, held: Held, statement: str = "UPDATE clusters SET boot = 'mine'") -> None:
        async def go() -> None:
            with acting(held):
                await self.ctx.write(lambda c: c.execute(text(statement)) and None)

        asyncio.run(go())


def expire(store: Store) -> None:
    """Time passes for the database: every lease and every server's word has run out."""
    store.write_sync(lambda c: rows.forfeit(c))


def boot(store: Store) -> str:
    return str(store.read_sync(lambda c: c.execute(text("SELECT boot FROM clusters WHERE name = 'x'")).scalar_one()))


@pytest.fixture
def shared(store: Store) -> Store:
    store.write_sync(lambda c: c.execute(text("INSERT INTO clusters (name) VALUES ('x')")) and None)
    return store


def test_two_servers_share_and_nothing_is_held_twice(shared: Store) -> None:
    a, b = Server(shared, "a"), Server(shared, "b")
    assert a.step() == {SUBMIT, *ROLES}
    assert b.step() == set()
    a.step()  # gives up two
    b.step()
    assert len(a.ctx.held) == len(b.ctx.held) == 2
    assert not set(a.ctx.held) & set(b.ctx.held)
    for _ in range(3):  # and there it rests
        before = set(a.ctx.held), set(b.ctx.held)
        assert (a.step(), b.step()) == before
    assert {x for x in a.log if x[0] == "ended"} == {("ended", r, 1) for r in b.ctx.held}
    assert {h.token for h in b.ctx.held.values()} == {2}


def test_a_stale_server_changes_nothing_extends_nothing_and_hears_of_it(shared: Store) -> None:
    a, b = Server(shared, "a"), Server(shared, "b")
    a.step()
    stale = dict(a.ctx.held)
    expire(shared)
    assert b.step() == {SUBMIT, *ROLES}
    with pytest.raises(Conflict) as refused:
        a.write_as(stale[ROLES[0]])
    assert refused.value.code == "lease.lost" and boot(shared) == ""
    before = shared.read_sync(lambda c: [dict(r) for r in rows.all(c)])
    a.step()
    assert {r for what, r, _ in a.log if what == "ended"} == {SUBMIT, *ROLES} and a.ctx.held == {}
    assert shared.read_sync(lambda c: [dict(r) for r in rows.all(c)]) == before, "no lease was touched"
    b.write(ROLES[0], "UPDATE clusters SET boot = 'theirs'")
    assert boot(shared) == "theirs"


def test_taking_anew_makes_ones_own_older_token_stale(shared: Store) -> None:
    a = Server(shared, "a")
    a.step()
    old = a.ctx.held[ROLES[0]]
    expire(shared)
    a.step()
    a.step()
    assert a.ctx.held[ROLES[0]].token == old.token + 1
    with pytest.raises(Conflict):
        a.write_as(old)
    a.write(ROLES[0])
    assert boot(shared) == "mine"


def test_what_leaves_the_process_leaves_only_while_the_lease_is_sure_to_run(shared: Store) -> None:
    class Site:
        files: Any = None
        root = "/site"
        sent = 0

        async def submit(self) -> str:
            self.sent += 1
            return "1"

    site = Site()
    site.files = site
    held = Held("r", "a", 1, boottime() + 60)
    guarded: Any = Guarded(site, held)
    assert asyncio.run(guarded.submit()) == "1" and guarded.files.root == "/site"
    held.until = boottime() - 0.001
    for call in (guarded.submit, guarded.files.submit):
        with pytest.raises(Conflict):
            asyncio.run(call())
    assert site.sent == 1


def test_a_server_that_ends_in_order_leaves_everything_to_the_next(shared: Store) -> None:
    a, b = Server(shared, "a"), Server(shared, "b")
    a.step()
    asyncio.run(a.leases.stop())
    assert b.step() == {SUBMIT, *ROLES}


def test_a_server_started_again_in_its_home_takes_its_own_at_once(shared: Store) -> None:
    """Its home is locked: whoever had this name is dead."""
    Server(shared, "a").step()
    other = Server(shared, "b")
    assert other.step() == set()
    again = Server(shared, "a")
    assert len(again.step() | other.step()) == 4
    assert min(h.token for h in again.ctx.held.values()) == 2


def test_where_it_is_alone_it_waits_for_nobody_and_an_older_one_is_told(shared: Store) -> None:
    old = Server(shared, "a", alone=True)
    old.step()
    new = Server(shared, "b", alone=True)
    assert new.step() == {SUBMIT, *ROLES}
    assert old.step() == set()
    assert old.leases.superseded.is_set() and not new.leases.superseded.is_set()


def test_a_role_is_bound_to_its_first_place(shared: Store) -> None:
    assert shared.write_sync(lambda c: rows.bind(c, ROLES[0], "here")) == "here"
    assert shared.write_sync(lambda c: rows.bind(c, ROLES[0], "there")) == "here"


@pytest.mark.real
def test_who_waits_for_a_job_that_ends_on_another_server_does_not_wait_for_ever(postgres: Postgres, postgres_template: str) -> None:
    url = postgres.database(postgres_template)
    with Store.open(url, now_us=Ticks()) as one, Store.open(url, now_us=Ticks()) as two:
        bench = Bench(one)
        two.write_sync(lambda c: None)
        first = bench.submit()
        ending, commit = threading.Event(), threading.Event()

        def end(conn: Connection) -> None:
            conn.execute(jobs.update().where(jobs.c.id == first).values(cancel_wanted=True))
            assert refresh(conn, bench.ctx, [first], bench.clock()) == [first]
            ending.set()
            commit.wait(10)

        def wait(conn: Connection) -> int:
            wanted = intake.parse_body({"app": "t", "resources": {"wall_s": 60}, "after_any": [show("job", first)]}, APP)
            (job,) = intake.admit(conn, bench.ctx, bench.actor, [intake.with_reserve(wanted, 1)], bench.clock())
            refresh(conn, bench.ctx, [job], bench.clock())
            return job

        threads = ThreadPoolExecutor(2)
        ended = threads.submit(one.write_sync, end)
        assert ending.wait(10)
        waits = threads.submit(two.write_sync, wait)
        wait_for([waits], timeout=1.5)  # it must not go on before the other has committed
        assert not waits.done()
        commit.set()
        ended.result(10)
        assert bench.job(waits.result(10))["state"] == "pending"
    postgres.drop(url)


def test_a_server_takes_only_what_it_can_do(shared: Store) -> None:
    a, b = Server(shared, "a"), Server(shared, "b")
    b.leases.able = {SUBMIT, ROLES[2]}
    b.step()
    assert a.step() == {ROLES[0], ROLES[1]}
    a.leases.can([])  # its connectors are gone
    a.step()
    assert a.ctx.held == {}


@pytest.mark.real
def test_a_transaction_that_a_stopped_server_left_open_is_ended_by_who_wants_its_role(postgres: Postgres, postgres_template: str) -> None:
    """Without the database's own timer, which the setting of `idle_s` asks for."""
    url = postgres.database(postgres_template)
    with Store.open(url, now_us=Ticks(), name="a") as one, Store.open(url, now_us=Ticks(), name="b") as two:
        a, b = Server(one, "a", length=0.5), Server(two, "b", length=0.5)
        assert a.step() == {SUBMIT, *ROLES}
        locked, wake = threading.Event(), threading.Event()

        def stop(conn: Connection) -> None:
            assert rows.still(conn, SUBMIT, "a", a.ctx.held[SUBMIT].token)
            locked.set()
            wake.wait(20)

        with ThreadPoolExecutor(1) as pool:
            stopped = pool.submit(one.write_sync, stop)
            assert locked.wait(10)
            # the rest of what it had is there at once, when its time has run out
            assert until(lambda: b.step() >= set(ROLES))
            assert until(lambda: b.step() == {SUBMIT, *ROLES}), "what its open transaction holds too"
            wake.set()
            with pytest.raises(TideError):
                stopped.result(10)


def until(ask: Callable[[], bool], seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while not ask():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True
