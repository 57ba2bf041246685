"""A database written by an older release opens in this one, with its data, as the schema declares it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from tests.parts.postgres import Postgres
from tests.parts.stores import T0

from tidegrid.domain.errors import Broken
from tidegrid.ledger import balanced
from tidegrid.store import journal, migrations, usage
from tidegrid.store.connect import writer_engine
from tidegrid.store.engine import Store
from tidegrid.store.schema import metadata
from tidegrid.store.scope import OPERATOR
from tidegrid.store.usage import UsageKey

# As release 1 wrote it: an organisation with a deposit, one finished job billed provisionally, one by accounting, and a
# job that still waits with money reserved for it.
OLD = """
INSERT INTO orgs (id, name, created_at) VALUES (1, 'acme', 10);
INSERT INTO projects (id, org_id, name, created_at) VALUES (2, 1, 'default', 10);
INSERT INTO users (id, org_id, name, role, created_at) VALUES (3, 1, 'ada', 'user', 10);
INSERT INTO jobs (id, org_id, project_id, user_id, name, state, open, reserved, created_at) VALUES
  (10, 1, 2, 3, 'done', 'succeeded', false, 0, 11), (11, 1, 2, 3, 'waits', 'pending', true, 7000, 12);
INSERT INTO parts (id, org_id, job_id, done) VALUES (20, 1, 10, true), (21, 1, 11, false);
INSERT INTO attempts (id, org_id, job_id, part_id, cluster, partition, state, reason) VALUES
  (30, 1, 10, 20, 'east', 'cpu', 'ENDED', 'lost'), (31, 1, 10, 20, 'east', 'cpu', 'ENDED', 'ok');
INSERT INTO usage (org_id, attempt_id, task, restart, segment, revision, job_id, cluster, partition, source, started_at,
  ended_at, elapsed_ms, cores, sell, cost) VALUES
  (1, 30, 0, 0, 0, 0, 10, 'east', 'cpu', 'provisional', 20, 30, 1000, 1, 300, 0),
  (1, 31, 0, 0, 0, 0, 10, 'east', 'cpu', 'accounting', 40, 50, 1000, 1, 200, 0);
INSERT INTO journal (id, org_id, key, kind, at, attempt_id) VALUES
  (50, 1, 'deposit:0000000000001:a', 'deposit', 10, NULL), (51, 1, 'usage:000000000000y.0.0.0.r0', 'capture', 31, 30),
  (52, 1, 'usage:000000000000z.0.0.0.r0', 'capture', 51, 31);
INSERT INTO journal_lines (entry_id, line, account, amount) VALUES
  (50, 0, 'house:cash', 10000), (50, 1, 'customer:0000000000001:prepaid', -10000),
  (51, 0, 'customer:0000000000001:prepaid', 300), (51, 1, 'house:revenue', -300),
  (52, 0, 'customer:0000000000001:prepaid', 200), (52, 1, 'house:revenue', -200);
INSERT INTO balances (org_id, account, amount) VALUES (1, 'prepaid', 9500), (1, 'held', 0);
INSERT INTO events (org_id, at, kind, job_id) VALUES (1, 11, 'job.submitted', 10), (1, 12, 'job.submitted', 11);
"""


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.real)])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without tables."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'old.db'}"
        return
    server: Postgres = request.getfixturevalue("postgres")
    url = server.database()
    yield url
    server.drop(url)


def _old(url: str) -> None:
    engine = writer_engine(make_url(url))
    migrations.upgrade(engine, url, to="0001")
    with engine.begin() as conn:
        for statement in filter(None, (s.strip() for s in OLD.split(";"))):
            conn.execute(text(statement.replace(":", r"\:")))
    engine.dispose()


def _difference(engine: Engine) -> list[Any]:
    with engine.connect() as conn:
        return list(compare_metadata(MigrationContext.configure(conn, opts={"compare_type": True}), metadata))


def test_migrations_arrive_at_the_declared_schema(empty_url: str) -> None:
    """Where this fails, store.schema was changed without a revision: write one under store/migrations/versions."""
    engine = writer_engine(make_url(empty_url))
    migrations.upgrade(engine, empty_url)
    assert _difference(engine) == []
    assert _checks(engine) == {"journal_lines": {"a_line_moves_money"}, "bindings": {"a_binding_lasts"}}
    engine.dispose()


def _checks(engine: Engine) -> dict[str, set[str | None]]:
    look = inspect(engine)
    found = {t: {c["name"] for c in look.get_check_constraints(t)} for t in look.get_table_names()}
    return {t: names for t, names in found.items() if names}


def test_an_older_database_keeps_its_data(empty_url: str) -> None:
    _old(empty_url)
    with Store.open(empty_url, now_us=lambda: T0) as store:
        assert store.read_sync(balanced).problems == ()
        rows = {a: store.read_sync(lambda c, a=a: usage.last(c, UsageKey(a, 0, 0, 0))) for a in (30, 31)}
        assert [rows[a]["estimated"] for a in (30, 31)] == [True, False], "what was provisional is estimated"
        assert store.read_sync(lambda c: journal.reserved(c, 1)) == 7000
        assert len(store.read_sync(lambda c: journal.page(c, OPERATOR))) == 3
        assert _difference(store._writer) == []
        # and it goes on being used
        store.write_sync(lambda c: c.execute(text("INSERT INTO events (at, kind) VALUES (60, 'k')")))
        seqs = store.read_sync(lambda c: list(c.execute(text("SELECT seq FROM events ORDER BY seq")).scalars()))
        assert seqs == [1, 2, 3]


def test_opening_again_changes_nothing(empty_url: str) -> None:
    _old(empty_url)
    for _ in range(2):
        with Store.open(empty_url, now_us=lambda: T0) as store:
            found = store.read_sync(
                lambda c: c.execute(text("SELECT version_num FROM alembic_version")).scalars().all()
            )
            assert found == [migrations.HEAD]


@pytest.mark.parametrize("statement", ["UPDATE {0} SET {1} = 'x'", "DELETE FROM {0}"])
@pytest.mark.parametrize("table,column", [("journal", "memo"), ("journal_lines", "account")])
def test_nobody_changes_the_journal(empty_url: str, statement: str, table: str, column: str) -> None:
    _old(empty_url)
    with Store.open(empty_url, now_us=lambda: T0) as store, pytest.raises(DBAPIError, match="immutable"):
        store.write_sync(lambda c: c.execute(text(statement.format(table, column))))


def test_a_failing_migration_leaves_the_database_as_it_was(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _old(empty_url)
    engine = writer_engine(make_url(empty_url))
    with engine.begin() as conn:  # stands in the way of the last step of revision 0002 but one
        conn.execute(text("CREATE INDEX jobs_reserving ON jobs (name)"))
    with pytest.raises(DBAPIError):
        Store.open(empty_url, now_us=lambda: T0)
    with engine.connect() as conn:
        assert conn.execute(text("SELECT version_num FROM alembic_version")).scalar() == "0001"
        assert "estimated" not in {c["name"] for c in inspect(conn).get_columns("usage")}
    engine.dispose()


def test_a_database_of_a_later_release_is_refused(empty_url: str) -> None:
    with Store.open(empty_url, now_us=lambda: T0) as store:
        store.write_sync(lambda c: c.execute(text("UPDATE alembic_version SET version_num = '9999'")))
    with pytest.raises(Broken) as refused:
        Store.open(empty_url, now_us=lambda: T0)
    assert refused.value.code == "store.newer"
    assert refused.value.hint


def test_somebody_elses_database_is_refused(empty_url: str) -> None:
    engine = writer_engine(make_url(empty_url))
    with engine.begin() as conn:
        conn.execute(text("CREATE TABLE theirs (a INTEGER)"))
    engine.dispose()
    with pytest.raises(Broken) as refused:
        Store.open(empty_url, now_us=lambda: T0)
    assert refused.value.code == "store.foreign"


def test_the_newest_revision_is_the_one_this_release_expects() -> None:
    script = ScriptDirectory(str(migrations.VERSIONS.parent), version_locations=[str(migrations.VERSIONS)])
    assert script.get_heads() == [migrations.HEAD]
