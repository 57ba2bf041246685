"""Intake, attempts and evidence in any order, late and contradictory, against the real store.

Whatever is thrown at it: ENDED absorbs, a part has at most one live attempt, a run is charged at most once, the books
balance, the stored state is the derived one, and nothing raises: what does not fit becomes a recorded anomaly.
"""

from __future__ import annotations

import json
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import select
from tests.parts.postgres import Postgres
from tests.parts.protocol import BarePlacer
from tests.parts.stores import Ticks, add_tenant

from tidegrid import ledger
from tidegrid.catalog import document
from tidegrid.control import failover, intake
from tidegrid.control.context import Context, Settings
from tidegrid.control.evidence import Batch
from tidegrid.control.projection import refresh
from tidegrid.domain import attempt as a
from tidegrid.domain.actor import Actor
from tidegrid.domain.errors import InsufficientFunds
from tidegrid.domain.ids import Ids
from tidegrid.domain.job import FINAL
from tidegrid.domain.ranges import expand
from tidegrid.scheduling.decision import Candidate
from tidegrid.store import attempts, clusters, events, jobs
from tidegrid.store.engine import Store
from tidegrid.store.schema import attempts as attempts_table
from tidegrid.store.schema import executions as executions_table
from tidegrid.store.schema import holds as holds_table
from tidegrid.store.schema import jobs as jobs_table
from tidegrid.store.schema import parts as parts_table
from tidegrid.store.schema import usage as usage_table
from tidegrid.store.scope import Scope

SECOND = 1_000_000
CLUSTERS = ("north", "east")
EVERYTHING = ("charged", "ENDED ok", "ENDED withdrawn", "ENDED refused", "ENDED failed")
APP = document.parse(
    "{id: t, title: {en: T, zh: T}, params: {type: object, additionalProperties: false}, script: 'true'}"
)

tasks = st.sampled_from([0, 0, 0, 1, 2, 3])
nonces = st.sampled_from(["n1", "n1", "n2"])
restarts = st.sampled_from([0, 0, 0, 1])
natives = st.sampled_from(["11", "11", "11", "12"])
moments = st.integers(0, 7200).map(lambda s: 1_800_000_000 * SECOND + s * SECOND)
reasons = st.sampled_from([r for r in a.Reason if r not in (a.Reason.WITHDRAWN, a.Reason.LOST)])
sources = st.sampled_from([a.Witness.CONTROLLER, a.Witness.ACCOUNTING, a.Witness.PROVISIONAL])


@st.composite
def ends(draw: Any) -> a.Ended:
    start = draw(st.one_of(st.none(), moments))
    end = (start if start is not None else 1_800_000_000 * SECOND) + draw(st.integers(0, 9000)) * SECOND // 2
    return a.Ended(draw(tasks), draw(restarts), draw(natives), draw(reasons), draw(st.integers(0, 255)), start, end,
                   draw(sources))  # fmt: skip


evidence = st.one_of(
    st.builds(a.Accepted, natives),
    st.builds(a.RefusedBySite, st.just("site.full")),
    st.builds(a.NotSent, st.just("no route")),
    st.builds(a.Unsure, st.just("no answer")),
    st.builds(a.Seen, natives, st.sets(tasks, max_size=2).map(tuple)),
    st.just(a.Absent()),
    st.builds(a.Marked, tasks, restarts, nonces, natives, moments),
    st.builds(a.Permitted, tasks, restarts),
    st.builds(a.GaveUp, tasks, restarts, nonces),
    st.builds(a.AppExited, tasks, restarts, st.integers(0, 3)),
    st.builds(a.Started, tasks, restarts, natives, moments),
    ends(),
    st.builds(a.FenceWon, tasks),
    st.builds(a.FenceLost, tasks, natives, nonces),
    st.builds(a.Withdrawn, st.just("silent")),
    st.builds(a.DeclaredDead, moments, st.just("dead")),
)


@st.composite
def stories(draw: Any) -> list[Any]:
    """What truly happens to an attempt, partly lost, partly doubled, in any order, with one lie among it."""
    if draw(st.integers(0, 5)) == 5:
        return [a.RefusedBySite("site.full"), *draw(st.lists(evidence, max_size=2))]
    start = draw(moments)
    reason = draw(st.sampled_from([a.Reason.OK, a.Reason.OK, a.Reason.FAILED, a.Reason.TIMEOUT, a.Reason.NODE_FAIL]))
    true: list[Any] = [a.Accepted("11"), a.Seen("11", ()), a.Seen("11", (0,))]
    for task in range(draw(st.sampled_from([1, 1, 2, 4]))):
        true += [
            a.Marked(task, 0, "n1", "11", start),
            a.Permitted(task, 0),
            a.Started(task, 0, "11", start),
            a.Ended(task, 0, "11", reason, 0, start, start + draw(st.integers(0, 9000)) * SECOND),
        ]
    told = [piece for piece in true if draw(st.integers(0, 3))]
    told += draw(st.lists(st.sampled_from(true), max_size=2)) + draw(st.lists(evidence, max_size=1))
    return told if draw(st.booleans()) else draw(st.permutations(told))


class Machine(RuleBasedStateMachine):
    seen: Counter[str] = Counter()  # over all examples: how attempts ended, and what was charged
    open_store: Callable[[], tuple[Store, Callable[[], None]]]

    def __init__(self) -> None:
        super().__init__()
        self.store, self.close = type(self).open_store()
        self.clock = Ticks()
        ids = Ids(self.clock, random.Random(7).getrandbits)
        self.ctx = Context(self.store, self.clock, ids, Path("/nowhere"), Settings())  # type: ignore[arg-type]
        self.placer = BarePlacer(self.ctx, None, None)  # type: ignore[arg-type]
        self.ended: dict[int, tuple[str, str | None]] = {}
        self.final: dict[int, str] = {}
        self.known: list[int] = []

    @initialize(balance=st.sampled_from([10_000, 50_000_000]))
    def network(self, balance: int) -> None:
        def setup(conn: Any) -> Actor:
            tenant = add_tenant(conn, self.ctx.ids)
            clusters.ensure(conn, CLUSTERS)
            ledger.deposit(conn, self.ctx.ids, self.clock(), tenant.org_id, balance, "opening")
            return Actor(tenant.org_id, tenant.user_id, "acme", "ada")

        self.actor = self.store.write_sync(setup)

    # What users do ----------------------------------------------------------------------------------------------------

    @rule(array=st.sampled_from(["", "", "0-1", "0-3"]), movable=st.booleans(), restartable=st.booleans(), held=st.booleans(),
          after=st.booleans(), reserve=st.sampled_from([0, 5_000, 2_000_000]),
          cluster=st.sampled_from([*CLUSTERS, *CLUSTERS, ""]))  # fmt: skip
    def submit(
        self, array: str, movable: bool, restartable: bool, held: bool, after: bool, reserve: int, cluster: str
    ) -> None:
        wanted = intake.parse_body({"app": "t", "array": array, "movable": movable, "held": held,
                                    "restartable": restartable, "resources": {"wall_s": 3600}}, APP)  # fmt: skip
        ids = [r for r in self._all_jobs() if r["open"]]
        if after and ids:
            import dataclasses

            spec = dataclasses.replace(wanted.spec, after_ok=(ids[-1]["id"],))
            wanted = dataclasses.replace(wanted, spec=spec)
        try:
            self.store.write_sync(
                lambda c: intake.admit(c, self.ctx, self.actor, [intake.with_reserve(wanted, reserve)], self.clock())
            )
        except InsufficientFunds:
            return
        if cluster:
            self.place(cluster, 3_000)

    @precondition(lambda self: self._all_jobs())
    @rule(data=st.data(), what=st.sampled_from(["wish", "wish", "withdraw", "withdraw", "dead"]), cluster=st.sampled_from(CLUSTERS),
          wish=st.sampled_from([{"cancel_wanted": True}, {"held": True}, {"held": False}]))  # fmt: skip
    def meddle(self, data: Any, what: str, cluster: str, wish: dict[str, bool]) -> None:
        """Rules are few, since hypothesis leaves out some of them in each example."""
        if what == "wish":
            self.wish(data, wish)
        else:
            self.lose(cluster, what == "dead")

    def wish(self, data: Any, wish: dict[str, bool]) -> None:
        job = data.draw(st.sampled_from(self._all_jobs()))
        if not job["open"]:
            return

        def write(conn: Any) -> None:
            jobs.set_flags(conn, Scope(None), job["id"], **wish)
            refresh(conn, self.ctx, [job["id"]], self.clock())

        self.store.write_sync(write)

    # What the loops do ------------------------------------------------------------------------------------------------

    def place(self, cluster: str, hold: int) -> None:
        self.clock.at += 20 * SECOND
        rows = self.store.read_sync(lambda c: jobs.parts_to_place(c, self.clock(), 10))
        specs = [intake.spec_from(r) for r in rows]
        candidate = Candidate(
            0, cluster, "cpu", 1, 0, 0, 0, 1, 2, hold, 0, hold, 0, "co_built", "r", (5_000_000, 0, 0), (1_000_000, 0, 0), (1000, 256, 0)
        )
        decision = SimpleNamespace(best=candidate, snapshot="s", policy="p", text=[], licences=(), to_json=candidate.to_json)
        chosen: list[Any] = [decision] * len(rows)
        made = self.store.write_sync(lambda c: self.placer._commit(c, rows, specs, chosen, set())[0])
        self.known += [m[2]["id"] for m in made]

    @precondition(lambda self: self.known)
    @rule(data=st.data(), pieces=st.one_of(stories(), stories(), st.lists(evidence, max_size=8)))
    def evidence(self, data: Any, pieces: list[Any]) -> None:
        self.place(data.draw(st.sampled_from(CLUSTERS)), 3_000)
        id_ = data.draw(st.sampled_from(self.known[-4:]))

        def write(conn: Any) -> None:
            batch = Batch(conn, self.ctx, self.clock())
            for stored in attempts.by_ids(conn, [id_]):
                batch.apply(stored, pieces)
            refresh(conn, self.ctx, batch.touched, batch.now)

        self.store.write_sync(write)

    def lose(self, cluster: str, dead: bool) -> None:
        if dead:
            self.store.write_sync(lambda c: failover.declare_dead(c, self.ctx, cluster, "operator"))
        else:
            self.store.write_sync(lambda c: failover.withdraw(c, self.ctx, cluster))

    # What must hold ---------------------------------------------------------------------------------------------------

    def _all_jobs(self) -> list[Any]:
        return list(
            self.store.read_sync(lambda c: c.execute(select(jobs_table).order_by(jobs_table.c.id)).mappings().all())
        )

    @invariant()
    def ended_absorbs(self) -> None:
        rows = self.store.read_sync(lambda c: c.execute(select(attempts_table)).mappings().all())
        now = {r["id"]: (r["state"], r["reason"]) for r in rows}
        for id_, was in self.ended.items():
            assert now[id_] == was
        self.ended = {i: s for i, s in now.items() if s[0] == "ENDED"}
        live = Counter(r["part_id"] for r in rows if r["state"] != "ENDED")
        assert all(n == 1 for n in live.values())
        tasks_of: dict[int, Counter[int]] = {}
        for r in rows:
            if r["state"] != "ENDED":
                tasks_of.setdefault(r["job_id"], Counter()).update(expand(r["tasks"]))
        assert all(n == 1 for c in tasks_of.values() for n in c.values()), "a task is live twice"

    @invariant()
    def everything_is_somewhere(self) -> None:
        """Parts share out their job's tasks; each is done, waits to be placed, or has a live attempt; what is held is held for
        a live attempt; what ended left no execution open."""

        def read(conn: Any) -> tuple[list[Any], ...]:
            tables = (parts_table, attempts_table, executions_table, holds_table)
            return tuple(list(conn.execute(select(t)).mappings()) for t in tables)

        parts, tried, execs, holds = self.store.read_sync(read)
        live = {r["id"]: r for r in tried if r["state"] != "ENDED"}
        with_live = {r["part_id"] for r in live.values()}
        shared: dict[int, list[int]] = {}
        for p in parts:
            shared.setdefault(p["job_id"], []).extend(expand(p["tasks"]))
            assert bool(p["placed"]) == (p["id"] in with_live)
            assert not (p["done"] and p["placed"])
        for job in self._all_jobs():
            assert sorted(shared[job["id"]]) == list(range(job["tasks"]))
            if job["open"]:
                assert job["reserved"] == sum(p["reserved"] for p in parts if p["job_id"] == job["id"])
        assert all(h["attempt_id"] in live for h in holds if h["state"] == "pending")
        kept = {r["id"]: set(expand(r["tasks"])) for r in tried if r["id"] not in live}
        assert all(e["reason"] for e in execs if e["task"] in kept.get(e["attempt_id"], ()))

    @invariant()
    def final_jobs_stay(self) -> None:
        now = {r["id"]: r for r in self._all_jobs()}
        for id_, state in self.final.items():
            assert now[id_]["state"] == state
        self.final = {i: r["state"] for i, r in now.items() if r["state"] in FINAL}
        assert all(not now[i]["open"] and now[i]["reserved"] == 0 for i in self.final)

    @invariant()
    def charged_once_and_only_what_ran(self) -> None:
        def read(conn: Any) -> tuple[list[Any], dict[Any, Any], Any]:
            use = conn.execute(select(usage_table).where(~usage_table.c.reversed)).mappings().all()
            execs = conn.execute(select(executions_table)).mappings().all()
            return list(use), {(e["attempt_id"], e["task"], e["restart"]): e for e in execs}, ledger.balanced(conn)

        use, execs, books = self.store.read_sync(read)
        assert books.ok, books.problems
        keys = Counter((u["attempt_id"], u["task"], u["restart"], u["segment"]) for u in use)
        assert all(n == 1 for n in keys.values())
        self.seen["charged"] += len(use)
        by_run: dict[Any, int] = {}
        for u in use:
            key = (u["attempt_id"], u["task"], u["restart"])
            by_run[key] = by_run.get(key, 0) + u["elapsed_ms"]
            assert execs[key]["reason"] not in ("withdrawn", "refused")
        for key, ms in by_run.items():
            e = execs[key]
            if e["source"] == "accounting" and e["ended_at"] is not None:
                assert ms == (max(e["ended_at"], e["started_at"]) - e["started_at"]) // 1000, dict(e)

    @invariant()
    def the_projection_is_the_derivation(self) -> None:
        before = {r["id"]: r["state"] for r in self._all_jobs()}
        self.store.write_sync(lambda c: refresh(c, self.ctx, list(before), self.clock()) and None)
        assert {r["id"]: r["state"] for r in self._all_jobs()} == before

    def teardown(self) -> None:
        self.seen.update(f"{state} {reason}" for state, reason in self.ended.values())
        self.store.read_sync(
            lambda c: [json.loads(json.dumps(dict(e["body"]))) for e in events.after(c, Scope(None), 0)]
        )
        self.close()


def _run(open_store: Callable[[], tuple[Store, Callable[[], None]]], *, examples: int, steps: int, reached: tuple[str, ...]) -> None:
    """reached: what some example must have come to, so that the invariants cannot hold for want of anything happening."""
    seen: Counter[str] = Counter()
    machine = type("EvidenceMachine", (Machine,), {"open_store": staticmethod(open_store), "seen": seen})
    run_state_machine_as_test(
        machine,
        settings=settings(max_examples=examples, stateful_step_count=steps, deadline=None, derandomize=True, report_multiple_bugs=False,
                          phases=(Phase.generate,),  # shrinking takes minutes: the first failure is printed as it is
                          suppress_health_check=list(HealthCheck)),
    )  # fmt: skip
    for what in reached:
        assert seen[what] > 0, f"no example came to {what}: {seen}"


@pytest.mark.timeout(400)  # a busy machine shares its cores
def test_evidence_in_any_order_on_sqlite(sqlite_template: Path) -> None:
    def open_store() -> tuple[Store, Callable[[], None]]:
        directory = Path(tempfile.mkdtemp())
        shutil.copy(sqlite_template, directory / "t.db")
        store = Store.open(f"sqlite:///{directory / 't.db'}", now_us=Ticks(), readers=1)

        def close() -> None:
            store.close()
            shutil.rmtree(directory)

        return store, close

    _run(open_store, examples=90, steps=25, reached=EVERYTHING)


@pytest.mark.real
@pytest.mark.timeout(400)  # a busy machine shares its cores
def test_evidence_in_any_order_on_postgres(postgres_template: str, postgres: Postgres) -> None:
    def open_store() -> tuple[Store, Callable[[], None]]:
        url = postgres.database(postgres_template)
        store = Store.open(url, now_us=Ticks(), readers=1)

        def close() -> None:
            store.close()
            postgres.drop(url)

        return store, close

    _run(open_store, examples=20, steps=25, reached=("charged", "ENDED withdrawn"))  # SQLite's run reaches the rest
