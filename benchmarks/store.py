"""The store: submissions singly and in bulk, and a page of jobs out of a million, on SQLite and on PostgreSQL.

Submissions write what intake writes (balance read and locked, job, part, event, idempotency key) and are durable when they return:
- `alone`: one after the other, each its own commit: the plain version;
- `together`: the same, asked for by 32 callers at once, so that they share commits; `ratio` is to `alone`;
- `bulk`: 500 jobs a request; `ratio` is to `alone`.

Pages of 50 jobs are read from 1,000,000 stored jobs of 20 organisations and from 10,000, in the same run, at the top and in the middle
of the list, for an organisation and for the operator, with and without filters; `ratio` is the large store's median to the small one's.
Three in a thousand jobs are not final, as in a network that has run for a while.

    python -m benchmarks.store [--jobs N] [--small N] [--submissions N] [--database sqlite|postgres|both]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.calibration import calibrate
from sqlalchemy import Connection, text
from tests.parts.postgres import Postgres, find_binaries
from tests.parts.stores import T0, Tenant, Ticks, add_tenant, job_row, make_ids, part_row

from tidegrid import ledger
from tidegrid.domain.ids import Ids
from tidegrid.store import events, idempotency, jobs, orgs
from tidegrid.store.engine import Store
from tidegrid.store.scope import OPERATOR, Scope

ORGS = 20
PAGE = 50
CALLERS = 32
BULK = 500
SPEC = json.dumps({"app": "md", "params": {"atoms": 4000, "steps": 200}, "resources": {"cores": 4, "wall_s": 600}})
STATES = (["succeeded"] * 900 + ["failed"] * 60 + ["timeout"] * 20 + ["cancelled"] * 17
          + ["running", "queued", "pending"])  # fmt: skip


# Submissions -----------------------------------------------------------------------------------------------------------


def _submit(conn: Connection, ids: Ids, tenant: Tenant, count: int) -> None:
    assert ledger.available(conn, tenant.org_id, lock=True) >= count
    rows = [job_row(ids, tenant, spec=SPEC, reserved=1) for _ in range(count)]
    jobs.insert_jobs(conn, rows, [part_row(ids, r, reserved=1) for r in rows])
    events.append_many(
        conn,
        [
            {"kind": "job.created", "at": T0, "org_id": tenant.org_id, "job_id": r["id"], "body": {"app": "md"}}
            for r in rows
        ],
    )
    key = str(rows[0]["id"])
    idempotency.put(conn, tenant.org_id, key, "h" * 64, json.dumps([r["id"] for r in rows]), T0)


def submissions(store: Store, count: int) -> dict[str, Any]:
    """Jobs a second, three ways."""
    ids = make_ids(1)
    tenant = store.write_sync(lambda c: add_tenant(c, ids, "bench"))
    store.write_sync(lambda c: ledger.deposit(c, ids, T0, tenant.org_id, 10**12, "first"))

    async def alone(n: int) -> None:
        for _ in range(n):
            await store.write(lambda c: _submit(c, ids, tenant, 1))

    async def together(n: int) -> None:
        await asyncio.gather(*[alone(n // CALLERS) for _ in range(CALLERS)])

    async def bulk(n: int) -> None:
        for _ in range(n // BULK):
            await store.write(lambda c: _submit(c, ids, tenant, BULK))

    asyncio.run(alone(20))
    out: dict[str, Any] = {}
    for name, run, n in (("alone", alone, count // 4), ("together", together, count // CALLERS * CALLERS),
                         ("bulk", bulk, max(BULK, count * 2 // BULK * BULK))):  # fmt: skip
        before, start = store.commits, time.perf_counter()
        asyncio.run(run(n))
        seconds = time.perf_counter() - start
        out[name] = {"jobs": n, "jobs_per_s": round(n / seconds), "commits": store.commits - before}
    for name in ("together", "bulk"):
        out[name]["ratio"] = round(out[name]["jobs_per_s"] / out["alone"]["jobs_per_s"], 1)
    return out


# Pages -----------------------------------------------------------------------------------------------------------------


def _fill(store: Store, count: int) -> list[Tenant]:
    """`count` jobs of 20 organisations, in time order; each organisation's project `rare` has one in a thousand of its."""
    ids, rng = make_ids(2), random.Random(3)
    tenants = store.write_sync(lambda c: [add_tenant(c, ids, f"org-{i}") for i in range(ORGS)])
    rare = {t.org_id: ids.new() for t in tenants}

    def projects(c: Connection) -> None:
        for t in tenants:
            orgs.create_project(c, id=rare[t.org_id], org_id=t.org_id, name="rare", at=T0)

    store.write_sync(projects)
    columns = (
        "id",
        "org_id",
        "project_id",
        "user_id",
        "name",
        "app",
        "app_version",
        "spec",
        "state",
        "open",
        "created_at",
    )
    names = ", ".join(columns)

    def rows() -> Iterator[tuple[Any, ...]]:
        for i in range(count):
            t, state = rng.choice(tenants), rng.choice(STATES)
            project = rare[t.org_id] if rng.random() < 0.001 else t.project_id
            yield (ids.new(), t.org_id, project, t.user_id, f"job {i}", "md", "v1", SPEC, state,
                   state in ("running", "queued", "pending"), T0 + i)  # fmt: skip

    def fill(c: Connection) -> None:
        raw: Any = c.connection.dbapi_connection
        if store.dialect == "sqlite":
            raw.executemany(f"INSERT INTO jobs ({names}) VALUES ({', '.join('?' * len(columns))})", rows())
            return
        with raw.cursor() as cursor, cursor.copy(f"COPY jobs ({names}) FROM STDIN") as copy:
            for row in rows():
                copy.write_row(row)

    store.write_sync(fill)
    store.write_sync(lambda c: c.execute(text("ANALYZE")))
    return tenants


_KINDS: dict[str, dict[str, Any]] = {
    "top": {},
    "middle": {"after": None},
    "state=failed": {"state": "failed"},
    "state=running": {"state": "running"},
    "state=held": {"state": "held"},  # there is none
    "project=rare": {"project": "rare"},
}


def pages(small: Store, large: Store, few: int, many: int, rounds: int = 25) -> dict[str, Any]:
    """Medians of `rounds` pages of each kind, taken from the two stores in turn."""
    start = time.perf_counter()
    filled = [(s, _fill(s, n)) for s, n in ((small, few), (large, many))]
    rng, out = random.Random(4), {}
    for who in ("org", "operator"):
        for kind, filters in _KINDS.items():
            if (who, kind) == ("operator", "project=rare"):
                continue  # a project's name says nothing without its organisation
            times: tuple[list[float], list[float]] = ([], [])
            for _ in range(rounds):
                for (store, tenants), kept in zip(filled, times, strict=True):
                    scope = OPERATOR if who == "operator" else Scope(rng.choice(tenants).org_id)
                    kept.append(_page_s(store, scope, filters))
            ms = [statistics.median(t) * 1000 for t in times]
            out[f"{who} {kind}"] = {
                "small_ms": round(ms[0], 3), "large_ms": round(ms[1], 3), "ratio": round(ms[1] / ms[0], 2),
            }  # fmt: skip
    worst = max(v["ratio"] for v in out.values())
    return {"small_jobs": few, "large_jobs": many, "page": PAGE, "pages": out, "worst_ratio": worst,
            "seconds": round(time.perf_counter() - start, 1)}  # fmt: skip


def _page_s(store: Store, scope: Scope, filters: dict[str, Any]) -> float:
    if "after" in filters:
        filters = {"after": store.read_sync(_middle)}
    start = time.perf_counter()
    store.read_sync(lambda c: jobs.page(c, scope, limit=PAGE, **filters))
    return time.perf_counter() - start


def _middle(conn: Connection) -> int:
    """An id half-way between the oldest and the newest."""
    low, high = conn.execute(text("SELECT min(id), max(id) FROM jobs")).one()
    return int(low + (high - low) // 2)


# Databases -------------------------------------------------------------------------------------------------------------


@contextmanager
def _stores(database: str) -> Iterator[Callable[[], Store]]:
    """A maker of fresh stores; all are gone at the end."""
    opened: list[Store] = []
    with tempfile.TemporaryDirectory(prefix="tide-bench-") as folder:
        directory = Path(folder)
        server = None
        if database == "postgres":
            binaries = find_binaries()
            assert binaries is not None
            (directory / "pg").mkdir()
            directory.chmod(0o755)
            server = Postgres(binaries, directory / "pg")
            server.create()

        def make() -> Store:
            url = server.database() if server else f"sqlite:///{directory / f'{len(opened)}.db'}"
            opened.append(Store.open(url, now_us=Ticks()))
            return opened[-1]

        try:
            yield make
        finally:
            for store in opened:
                store.close()
            if server:
                server.stop(crash=True)


def measure(database: str, count: int, few: int, many: int) -> dict[str, Any]:
    with _stores(database) as make:
        out = {"submissions": submissions(make(), count)}
        return {**out, "jobs_page": pages(make(), make(), few, many)}


def main() -> None:
    parser = argparse.ArgumentParser(description="Submissions and pages of jobs")
    parser.add_argument("--database", choices=["sqlite", "postgres", "both"], default="both")
    parser.add_argument("--submissions", type=int, default=4000)
    parser.add_argument("--small", type=int, default=10_000)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    args = parser.parse_args()
    report: dict[str, Any] = {"benchmark": "store"}
    for database in ("sqlite", "postgres") if args.database == "both" else (args.database,):
        if database == "postgres" and find_binaries() is None:
            report[database] = "PostgreSQL is not installed"
            continue
        report[database] = measure(database, args.submissions, args.small, args.jobs)
    report["calibration"] = calibrate()
    print(json.dumps(report))


if __name__ == "__main__":
    main()
