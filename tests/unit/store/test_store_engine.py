"""The writer commits together, delivers after the commit, and says clearly when the database cannot."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from tests.parts.postgres import Postgres
from tests.parts.stores import T0, Ticks, add_tenant

from tidegrid.domain.errors import Broken, InvalidInput, NoSpace, Unreachable
from tidegrid.domain.ids import Ids
from tidegrid.store import events, orgs
from tidegrid.store.engine import Store
from tidegrid.store.scope import OPERATOR


def _add(conn: Connection, kind: str = "k") -> str:
    events.append(conn, kind=kind, at=T0)
    return kind


def _kinds(store: Store) -> list[str]:
    return [e["kind"] for e in store.read_sync(lambda c: events.after(c, OPERATOR, 0, limit=10_000))]


def _grouped(store: Store, *fns):  # type: ignore[no-untyped-def]
    """Run functions in one group: the writer is kept busy until all of them are queued."""
    gate = threading.Event()

    async def run():  # type: ignore[no-untyped-def]
        busy = asyncio.ensure_future(store.write(lambda c: gate.wait(10)))
        await asyncio.sleep(0.05)
        tasks = [asyncio.ensure_future(store.write(f)) for f in fns]
        await asyncio.sleep(0.05)
        gate.set()
        await busy
        return await asyncio.gather(*tasks, return_exceptions=True)

    return asyncio.run(run())


def test_what_is_written_is_read(store: Store) -> None:
    assert store.write_sync(_add) == "k"
    assert _kinds(store) == ["k"]


def test_many_functions_share_a_commit(store: Store) -> None:
    before = store.commits
    assert _grouped(store, *[lambda c, i=i: _add(c, f"k{i}") for i in range(50)]) == [f"k{i}" for i in range(50)]
    assert store.commits - before <= 3
    assert _kinds(store) == [f"k{i}" for i in range(50)], "in the order they came"


def test_a_failing_function_undoes_itself_alone(store: Store) -> None:
    def fails(c: Connection) -> None:
        _add(c, "undone")
        raise ValueError("no")

    first, second, third = _grouped(store, lambda c: _add(c, "a"), fails, lambda c: _add(c, "b"))
    assert (first, third) == ("a", "b")
    assert isinstance(second, ValueError)
    assert _kinds(store) == ["a", "b"]


def test_a_failing_function_on_its_own_leaves_nothing(store: Store) -> None:
    def fails(c: Connection) -> None:
        _add(c, "undone")
        raise ValueError("no")

    before = store.commits
    with pytest.raises(ValueError, match="no"):
        store.write_sync(fails)
    assert _kinds(store) == []
    assert store.commits == before


def test_a_violated_constraint_is_the_functions_own(store: Store, ids: Ids) -> None:
    store.write_sync(lambda c: add_tenant(c, ids))

    def violates(c: Connection) -> None:
        c.execute(text("INSERT INTO orgs (id, name) VALUES (1, 'acme')"))

    good, bad, after = _grouped(store, lambda c: _add(c, "a"), violates, lambda c: _add(c, "b"))
    assert (good, after) == ("a", "b")
    assert isinstance(bad, IntegrityError)
    assert _kinds(store) == ["a", "b"]


def test_a_swallowed_error_is_still_an_error_or_harmless(store: Store) -> None:
    """A function that catches a database error and goes on commits all that it did after, or fails: never half."""

    def swallows(c: Connection) -> None:
        _add(c, "before")
        with pytest.raises(DBAPIError):
            c.execute(text("INSERT INTO orgs (id, name) VALUES (1, NULL)"))
        if c.dialect.name == "sqlite":
            _add(c, "after")

    results = _grouped(store, lambda c: _add(c, "a"), swallows, lambda c: _add(c, "b"))
    want = ["a", "before", "after", "b"] if store.dialect == "sqlite" else ["a", "b"]
    assert isinstance(results[1], DBAPIError) == (store.dialect == "postgresql")
    assert _kinds(store) == want


def test_results_come_only_after_the_commit(store: Store) -> None:
    """What a caller was told is there for another connection at once."""

    async def run() -> list[int]:
        async def one(i: int) -> int:
            await store.write(lambda c: _add(c, f"k{i}"))
            return await store.read(lambda c: sum(e["kind"] == f"k{i}" for e in events.after(c, OPERATOR, 0)))

        return await asyncio.gather(*[one(i) for i in range(40)])

    assert asyncio.run(run()) == [1] * 40


def test_a_reader_keeps_its_snapshot(store: Store) -> None:
    def reads(c: Connection) -> tuple[int, int]:
        first = events.last(c)
        store.write_sync(_add)
        return first, events.last(c)

    assert store.read_sync(reads) == (0, 0)
    assert store.read_sync(events.last) == 1


def test_a_reader_cannot_write(store: Store) -> None:
    with pytest.raises(NoSpace):
        store.read_sync(_add)


def test_foreign_keys_hold(store: Store) -> None:
    with pytest.raises(IntegrityError):
        store.write_sync(lambda c: orgs.create_project(c, id=1, org_id=99, name="p", at=T0))


def test_a_commit_wakes_those_who_wait(store: Store) -> None:
    async def run() -> tuple[bool, bool, bool]:
        seen = store.commits
        waiting = asyncio.ensure_future(store.wait_for_commit(5))
        await asyncio.sleep(0)
        await store.write(_add)
        return await waiting, await store.wait_for_commit(0.02), await store.wait_for_commit(0.02, after=seen)

    assert asyncio.run(run()) == (True, False, True)


def test_a_cancelled_caller_stops_nobody(store: Store) -> None:
    async def run() -> None:
        gate = threading.Event()
        busy = asyncio.ensure_future(store.write(lambda c: gate.wait(10)))
        await asyncio.sleep(0.05)
        gone = asyncio.ensure_future(store.write(lambda c: _add(c, "gone")))
        stays = asyncio.ensure_future(store.write(lambda c: _add(c, "stays")))
        await asyncio.sleep(0.05)
        gone.cancel()
        await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(busy, stays)

    asyncio.run(run())
    assert _kinds(store) == ["stays"]


def test_a_closed_store_says_so(store: Store) -> None:
    store.write_sync(_add)
    store.close()
    store.close()
    with pytest.raises(Unreachable) as refused:
        store.write_sync(_add)
    assert refused.value.code == "store.closed"


# What disks and databases do -----------------------------------------------------------------------------------------------


def test_a_full_disk_refuses_the_whole_group_and_the_next_one_works(tmp_path: Path) -> None:
    with Store.open(f"sqlite:///{tmp_path / 'a.db'}", now_us=Ticks()) as store:
        store.write_sync(
            lambda c: c.exec_driver_sql("PRAGMA max_page_count=1").scalar()
        )  # as large as it is, no larger

        def big(c: Connection) -> None:
            events.append(c, kind="big", at=T0, body={"x": "y" * 2_000_000})

        one, two = _grouped(store, lambda c: _add(c, "a"), big)
        assert isinstance(two, NoSpace)
        assert two.code == "store.no_space"
        told = ["a"] if one == "a" else []
        assert isinstance(one, NoSpace) or one == "a"
        store.write_sync(lambda c: c.exec_driver_sql("PRAGMA max_page_count=100000").scalar())
        store.write_sync(lambda c: _add(c, "b"))
        assert _kinds(store) == [*told, "b"], "who was told of success is there, who was refused is not"


def test_a_database_that_may_not_be_written_is_no_space(tmp_path: Path) -> None:
    with Store.open(f"sqlite:///{tmp_path / 'a.db'}", now_us=Ticks()) as store:
        store.write_sync(lambda c: c.exec_driver_sql("PRAGMA query_only=ON"))
        with pytest.raises(NoSpace) as refused:
            store.write_sync(_add)
        assert refused.value.code == "store.no_space"


def test_garbage_is_not_a_database(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    path.write_bytes(b"not a database at all" * 1000)
    with pytest.raises(Broken) as refused:
        Store.open(f"sqlite:///{path}", now_us=Ticks())
    assert refused.value.code == "store.corrupt"
    assert refused.value.hint


def test_a_damaged_page_is_found_on_opening(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with Store.open(f"sqlite:///{path}", now_us=Ticks()) as store:
        store.write_sync(lambda c: [_add(c, f"kind-{i}") for i in range(2000)])
    with path.open("r+b") as f:
        f.seek(path.stat().st_size // 2 // 4096 * 4096)
        f.write(b"\xde\xad\xbe\xef" * 4096)
    with pytest.raises(Broken) as refused:
        Store.open(f"sqlite:///{path}", now_us=Ticks())
    assert refused.value.code == "store.corrupt"


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:////nowhere/at/all.db", "mysql://h/d", "not a url"])
def test_a_wrong_url_is_wrong_use(url: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        Store.open(url, now_us=Ticks())
    assert refused.value.code == "store.url"


def test_a_database_that_is_not_there_is_unreachable() -> None:
    with pytest.raises(Unreachable) as refused:
        Store.open("postgresql+psycopg://ada:secret@127.0.0.1:1/none", now_us=Ticks())
    assert refused.value.code == "store.unreachable"
    assert "secret" not in str(refused.value)


@pytest.mark.real
def test_a_restarted_database_is_found_again(private_postgres: Postgres) -> None:
    server = private_postgres
    with Store.open(server.database(), now_us=Ticks()) as store:
        store.write_sync(lambda c: _add(c, "before"))

        def cut_off(c: Connection) -> None:
            _add(c, "half")
            server.stop(crash=True)
            _add(c, "done")

        with pytest.raises(Unreachable) as refused:
            store.write_sync(cut_off)
        assert refused.value.code == "store.unreachable"
        with pytest.raises(Unreachable):
            store.write_sync(lambda c: _add(c, "down"))
        with pytest.raises(Unreachable):
            store.read_sync(events.last)
        server.start()
        store.write_sync(lambda c: _add(c, "after"))
        assert _kinds(store) == ["before", "after"], "nothing half-done, nothing lost"


@pytest.mark.real
def test_a_stale_connection_is_not_the_callers_trouble(private_postgres: Postgres) -> None:
    server = private_postgres
    with Store.open(server.database(), now_us=Ticks()) as store:
        store.write_sync(lambda c: _add(c, "before"))
        assert store.read_sync(events.last) == 1
        server.stop()
        server.start()
        assert len(_kinds(store)) == 1
        store.write_sync(lambda c: _add(c, "after"))
        assert _kinds(store) == ["before", "after"]


@pytest.mark.real
def test_deadlocks_between_servers_are_run_again(postgres: Postgres, postgres_template: str, ids: Ids) -> None:
    url = postgres.database(postgres_template)
    with Store.open(url, now_us=Ticks()) as a, Store.open(url, now_us=Ticks()) as b:
        a.write_sync(lambda c: [orgs.create_org(c, id=i, name=f"o{i}", at=T0) for i in (1, 2)])
        meet = threading.Barrier(2, timeout=5)
        runs = {"a": 0, "b": 0}

        def cross(name: str, first: int, second: int):  # type: ignore[no-untyped-def]
            def work(c: Connection) -> None:
                runs[name] += 1
                c.execute(text("UPDATE orgs SET created_at = created_at + 1 WHERE id = :i"), {"i": first})
                if runs[name] == 1:
                    meet.wait()
                c.execute(text("UPDATE orgs SET created_at = created_at + 1 WHERE id = :i"), {"i": second})

            return work

        other = threading.Thread(target=lambda: b.write_sync(cross("b", 2, 1)))
        other.start()
        a.write_sync(cross("a", 1, 2))
        other.join()
        assert sum(runs.values()) > 2, "one of them was run again"
        found = a.read_sync(lambda c: [r["created_at"] - T0 for r in orgs.list_orgs(c)])
        assert found == [2, 2], "each counted once"
    postgres.drop(url)
