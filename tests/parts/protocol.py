"""The protocol by hand: a real store, one tick or one placement at a time, and sites that say what a test tells them to."""

from __future__ import annotations

import asyncio
import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from sqlalchemy import select

from tests.parts.stores import Ticks, add_tenant, make_ids
from tidegrid import ledger
from tidegrid.catalog import document
from tidegrid.connectors.contract import Claim, Listed, Observation, Record, SiteUnsure, SpoolEntry
from tidegrid.control import intake
from tidegrid.control.acting import Held
from tidegrid.control.contact import Contact, native_name
from tidegrid.control.context import Context, Settings
from tidegrid.control.placing import Placer
from tidegrid.control.reconcile import Reconciler
from tidegrid.domain.actor import Actor
from tidegrid.domain.attempt import Ended, Reason, Started
from tidegrid.domain.clock import SECOND
from tidegrid.domain.errors import NoSpace
from tidegrid.domain.ids import b32
from tidegrid.domain.lease import Lease, cluster_role
from tidegrid.scheduling.decision import Candidate
from tidegrid.store import attempts, clusters, jobs, leases
from tidegrid.store.attempts import Stored
from tidegrid.store.engine import Store
from tidegrid.store.schema import attempts as attempts_table
from tidegrid.store.schema import jobs as jobs_table
from tidegrid.store.schema import parts as parts_table
from tidegrid.store.schema import usage as usage_table

APP = document.parse(
    "{id: t, title: {en: T, zh: T}, params: {type: object, additionalProperties: false}, script: 'true'}"
)


class Files:
    """A site's files as far as the protocol needs them. spooled: file name -> body; fences: (directory, task) -> holder."""

    root = "/site"

    def __init__(self) -> None:
        self.spooled: dict[str, str] = {}
        self.fences: dict[tuple[str, int], str] = {}
        self.written: dict[str, bytes] = {}
        self.full = False
        self.broken: set[str] = set()  # attempt directories that cannot be used
        self.begun: set[str] = set()  # attempts whose prologues were the first at their fences

    async def spool(self) -> list[SpoolEntry]:
        out = []
        for name, body in sorted(self.spooled.items()):
            attempt, task, restart, kind = name.split(".")
            out.append(SpoolEntry(name, kind, attempt, int(task), int(restart), body))
        return out

    async def unspool(self, files: Sequence[str]) -> list[str]:
        return [f for f in files if self.spooled.pop(f, None) is not None]

    async def claim(self, directory: str, task: int, restart: int, holder: str) -> Claim:
        if directory in self.broken:
            from tidegrid.domain.errors import InvalidInput

            raise InvalidInput("staging.path", f"{directory}: links are not followed")
        begun = directory.rpartition("/")[2] in self.begun
        held = self.fences.setdefault((directory, task), f"1:nonce{task}" if begun else holder)
        return Claim(held == holder, held)

    async def write(self, path: str, data: bytes, *, mode: int = 0o600) -> None:
        if self.full:
            raise NoSpace("site.disk_full", f"{path}: no space left")
        self.written[path] = data


class Site:
    """A cluster: `jobs` it lists, `records` not told yet; silent: it does not answer."""

    def __init__(self, cluster: str, clock: Ticks) -> None:
        self.cluster, self.clock, self.files = cluster, clock, Files()
        self.jobs: dict[str, Listed] = {}
        self.records: list[Record] = []
        self.more = self.silent = self.all_told = False
        self.cancelled: list[str] = []
        self.submitted: list[str] = []

    async def observe(self, cursor: str) -> Observation:
        if self.silent:
            raise SiteUnsure("silent")
        records, self.records = tuple(self.records), []
        return Observation(tuple(self.jobs.values()), records, cursor, self.more, (), self.clock.at, "boot", self.all_told)

    async def submit(self, request: Any) -> str:
        self.submitted.append(request.name)
        return "1"

    async def cancel(self, name: str, native_id: str, tasks: Sequence[int] = ()) -> None:
        self.cancelled.append(name)

    def lists(
        self, attempt: int, *, waiting: tuple[int, ...] = (), running: tuple[int, ...] = (), stuck: str = "",
        again: tuple[tuple[int, int], ...] = (),
    ) -> None:
        self.jobs[native_name(attempt)] = Listed(native_name(attempt), "1", waiting, running, stuck, again=again)

    def marks(self, attempt: int, task: int = 0, body: str | None = None, kind: str = "mark", restart: int = 0) -> str:
        """A prologue's file in the spool; its name."""
        name = f"{b32(attempt)}.{task}.{restart}.{kind}"
        self.files.spooled[name] = body if body is not None else f"nonce{task} 1 {self.clock.at}\n"
        return name

    def starts(self, attempt: int, at: int, task: int = 0) -> None:
        self.lists(attempt, running=(task,))
        self.records.append(Record(native_name(attempt), Started(task, 0, "1", at)))

    def ends(
        self, attempt: int, started: int | None, ended: int, reason: Reason = Reason.OK, exit: int = 0, task: int = 0
    ) -> None:
        self.jobs.pop(native_name(attempt), None)
        if reason is not Reason.CANCELLED and started is not None:
            self.files.begun.add(b32(attempt))
        self.records.append(Record(native_name(attempt), Ended(task, 0, "1", reason, exit, started, ended)))


class BarePlacer(Placer):
    """Commits what a test decided; keeps no explanation of it."""

    def _decision(self, row: Any, decision: Any, now: int) -> dict[str, Any]:
        return {"id": self.ctx.ids.new(), "org_id": row["org_id"], "job_id": row["job_id"], "part_id": row["id"],
                "at": now, "chosen": decision.best.name, "body": {}, "snapshot": "s", "policy": "p"}  # fmt: skip


class Bench:
    """One organisation, two clusters, and the loops' steps one by one."""

    def __init__(self, store: Store, *, balance: int = 10**9, settings: Settings | None = None) -> None:
        self.store, self.clock = store, Ticks()
        ids = make_ids(7, self.clock)
        self.ctx = Context(store, self.clock, ids, Path("/nowhere"), settings or Settings())  # type: ignore[arg-type]
        self.sites = {name: Site(name, self.clock) for name in ("north", "east")}
        self.contacts = {name: Contact() for name in self.sites}
        self.reconcilers = {
            name: Reconciler(self.ctx, site, self.contacts)  # type: ignore[arg-type]
            for name, site in self.sites.items()
        }
        self.placer = BarePlacer(self.ctx, None, None)  # type: ignore[arg-type]

        def setup(conn: Any) -> Actor:
            tenant = add_tenant(conn, ids)
            clusters.ensure(conn, self.sites)
            for name in self.sites:
                role = cluster_role(name)
                leases.ensure(conn, [role])
                leases.save(conn, Lease(role, "bench", 1, 1 << 62), 0)
                self.ctx.held[role] = Held(role, "bench", 1, math.inf)
            ledger.deposit(conn, ids, self.clock(), tenant.org_id, balance, "opening")
            return Actor(tenant.org_id, tenant.user_id, "acme", "ada")

        self.actor = store.write_sync(setup)

    def submit(self, reserve: int = 5_000, **body: Any) -> int:
        """The job's id."""
        base = {"app": "t", "resources": {"wall_s": 20_000}, "movable": False}
        wanted = intake.with_reserve(intake.parse_body({**base, **body}, APP), reserve)
        (job,) = self.store.write_sync(lambda c: intake.admit(c, self.ctx, self.actor, [wanted], self.clock()))
        return job

    def place(self, cluster: str = "north", hold: int = 3_000, *, state: str = "QUEUED") -> list[int]:
        """Everything that is due goes to `cluster`; the attempts made. state: SUBMITTING or QUEUED."""
        rows = self.store.read_sync(lambda c: jobs.parts_to_place(c, self.clock(), 500))
        best = Candidate(
            0, cluster, "cpu", 1, 0, 0, 0, 1, 2, hold, 0, hold, 0, "co_built", "r", (5_000_000, 0, 0), (1_000_000, 0, 0), (1000, 256, 0)
        )
        decision: Any = SimpleNamespace(best=best, snapshot="s", policy="p", licences=(), to_json=best.to_json)
        specs = [intake.spec_from(r) for r in rows]
        made = self.store.write_sync(lambda c: self.placer._commit(c, rows, specs, [decision] * len(rows), set())[0])
        ids = [m[2]["id"] for m in made]
        if state == "QUEUED":
            self.ctx.sending -= set(ids)
            self.store.write_sync(lambda c: c.execute(attempts_table.update().values(
                state="QUEUED", native_id="1", queued_at=self.clock()).where(attempts_table.c.id.in_(ids))) and None)  # fmt: skip
        return ids

    def tick(self, cluster: str = "north", *, seconds: float = 1) -> bool:
        self.clock.at += int(seconds * SECOND)
        return asyncio.run(self.reconcilers[cluster].tick())

    def attempt(self, id_: int) -> Stored:
        (stored,) = self.store.read_sync(lambda c: attempts.by_ids(c, [id_]))
        return stored

    def job(self, id_: int) -> Any:
        return self.store.read_sync(lambda c: jobs.many(c, [id_])[id_])

    def parts(self, job: int) -> list[Any]:
        query = select(parts_table).where(parts_table.c.job_id == job).order_by(parts_table.c.id)
        return self.store.read_sync(lambda c: list(c.execute(query).mappings()))

    def usage(self, job: int) -> list[tuple[int, int]]:
        """(segment, ms) of what counts."""
        query = (
            select(usage_table.c.segment, usage_table.c.elapsed_ms)
            .where(usage_table.c.job_id == job, ~usage_table.c.reversed)
            .order_by(usage_table.c.attempt_id, usage_table.c.task, usage_table.c.segment)
        )
        return self.store.read_sync(lambda c: [(s, ms) for s, ms in c.execute(query)])

    def wish(self, job: int, **flags: bool) -> None:
        from tidegrid.control.projection import refresh

        def write(conn: Any) -> None:
            conn.execute(jobs_table.update().where(jobs_table.c.id == job).values(**flags))
            refresh(conn, self.ctx, [job], self.clock())

        self.store.write_sync(write)

    def books(self) -> None:
        """Nothing leaks: the books balance, and what open jobs reserve is what their parts reserve."""
        report = self.store.read_sync(ledger.balanced)
        assert report.ok, report.problems
        for row in self.store.read_sync(lambda c: list(c.execute(select(jobs_table)).mappings())):
            want = sum(p["reserved"] for p in self.parts(row["id"])) if row["open"] else 0
            assert row["reserved"] == want


def settings(**changes: Any) -> Settings:
    return dataclasses.replace(Settings(), **changes)
