"""Settling with a centre: what was metered on its cluster against its own accounting, and late words of it taken in."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from tidegrid.connectors.contract import SiteRefused, SiteUnsure
from tidegrid.connectors.statement import Accountable, Allocation, Statement
from tidegrid.control import views
from tidegrid.control.capability import Capability
from tidegrid.control.contact import attempt_of
from tidegrid.control.context import Context
from tidegrid.control.evidence import Batch
from tidegrid.control.projection import refresh
from tidegrid.domain.actor import Actor
from tidegrid.domain.attempt import STRENGTH, Ended, Execution, Witness
from tidegrid.domain.clock import HOUR, SECOND
from tidegrid.domain.errors import Conflict, InvalidInput, Unreachable
from tidegrid.domain.ids import show
from tidegrid.domain.lease import cluster_role
from tidegrid.domain.money import MS_PER_HOUR
from tidegrid.rating.reconciliation import MENDABLE, Accounted, Difference, Metered, Report, compare
from tidegrid.store import attempts, clusters, events, leases, site_accounts, usage
from tidegrid.store.attempts import Stored

View = dict[str, Any]
DAY = 24 * HOUR
LONGEST = 400 * DAY
MARGIN = HOUR  # both sides are read so much further, for a run that they end on two sides of a bound
CALL_S = 300.0  # the whole answer: a month of a large centre takes its database a while


class Settlement(Capability):
    """A part of the platform."""

    async def usage_reconcile(
        self,
        actor: Actor,
        cluster: str,
        *,
        since: int | None = None,
        until: int | None = None,
        limit: int = 1000,
        correct: bool = False,
    ) -> View:
        """Runs that ended in [since, until) (µs, the site's clock; by default the last day) by both sides.

        correct: first take accounting's word for what was metered without it; each change is a reversal. NotFound
        (cluster.unknown), Conflict (usage.no_accounting), InvalidInput (usage.span), Unreachable (cluster.silent).
        """
        row = await self.ctx.store.read(lambda c: clusters.get(c, cluster))
        upto = until if until is not None else self.ctx.now() + row["skew_us"]
        begin = since if since is not None else upto - DAY
        if not 0 <= begin < upto or upto - begin > LONGEST:
            raise InvalidInput("usage.span", "the span begins before it ends, and is at most 400 days",
                               hint="give --since before --until")  # fmt: skip
        told = await self._statement(cluster, begin - MARGIN, upto + MARGIN)
        report = await self.ctx.store.read(lambda c: _report(c, cluster, told, begin, upto))
        corrected = 0
        if correct and any(d.cause in MENDABLE and d.accounted for d in report.differences):
            corrected = await self.ctx.write(lambda c: _correct(c, self.ctx, cluster, told, report, actor.user))
            report = await self.ctx.store.read(lambda c: _report(c, cluster, told, begin, upto))
        return await self.ctx.store.read(lambda c: _view(c, cluster, report, begin, upto, limit, corrected))

    async def _statement(self, cluster: str, since: int, until: int) -> Statement:
        connector = self.ctx.connectors.get(cluster)
        if connector is None:
            raise Unreachable("cluster.silent", f"{cluster} is not connected", hint="see `tide cluster list`")
        if not isinstance(connector, Accountable):
            raise _none(cluster)
        try:
            async with asyncio.timeout(CALL_S):
                return await connector.statement(max(0, since // SECOND), -(-until // SECOND))
        except SiteRefused as e:
            if e.code == "site.no_accounting":
                raise _none(cluster) from None
            raise Conflict("usage.refused", f"{cluster}: {e.message}") from None
        except (SiteUnsure, TimeoutError, OSError) as e:
            raise Unreachable("cluster.silent", f"{cluster}'s accounting does not answer: {e or 'no answer in time'}",
                              hint="nothing was compared; try again later") from None  # fmt: skip


def _none(cluster: str) -> Conflict:
    return Conflict("usage.no_accounting", f"{cluster} keeps no accounts to compare with",
                    hint="use there is metered by the controller's times and marked as estimated")  # fmt: skip


def _report(conn: Connection, cluster: str, told: Statement, since: int, until: int) -> Report:
    named = {i for a in told.allocations if (i := attempt_of(a.name)) is not None}
    ids = sorted({*usage.ended_on(conn, cluster, since - MARGIN, until + MARGIN), *named})
    stored = {s.attempt.id: s for s in attempts.by_ids(conn, ids)}
    here = {i: s for i, s in stored.items() if s.row["cluster"] == cluster}
    rows: dict[tuple[int, int, int], list[usage.Row]] = {}
    for row in usage.of_attempts(conn, list(here)):
        rows.setdefault((row["attempt_id"], row["task"], row["restart"]), []).append(row)
    metered = [
        _metered(s.attempt.id, e, rows.get((s.attempt.id, e.task, e.restart), ()))
        for s in here.values()
        for e in s.attempt.executions
    ]
    # what moved away from an attempt keeps what was journalled of it there
    known = {m.key for m in metered}
    for key, of in rows.items():
        if key not in known:
            metered.append(_metered(key[0], Execution(key[1], key[2]), of, running=False))
    users = {r["id"]: r["unix_user"] for r in site_accounts.page(conn, [cluster], retired=True)}
    accounted = [_accounted(a, stored, here, users) for a in told.allocations]
    return compare(metered, accounted, since, until, told.site_time_us)


def _metered(attempt_id: int, e: Execution, rows: Sequence[usage.Row], running: bool | None = None) -> Metered:
    found = Metered(
        attempt_id=attempt_id, task=e.task, restart=e.restart, native_id=e.native_id, reason=e.reason,
        running=not e.ended if running is None else running, started_at=e.started_at, ended_at=e.ended_at,
    )  # fmt: skip
    if not rows:
        return found
    last = rows[-1]
    return replace(
        found,
        native_id=e.native_id or last["native_id"],
        segments=len(rows),
        estimated=any(r["estimated"] for r in rows),
        weakest=min((Witness(r["source"]) for r in rows), key=STRENGTH.__getitem__),
        started_at=rows[0]["started_at"],
        ended_at=last["ended_at"],
        elapsed_ms=sum(r["elapsed_ms"] for r in rows),
        cores=last["cores"],
        gpus=last["gpus"],
        memory_mib=last["memory_mib"],
        charged=sum(r["sell"] for r in rows),
    )


def _accounted(a: Allocation, stored: dict[int, Stored], here: dict[int, Stored], users: Mapping[int, str]) -> Accounted:
    """users: of the cluster's further accounts, by id. A job that bears an attempt's name and ran as another account is not it."""
    owner = attempt_of(a.name)
    note = ""
    if owner is None and a.name.startswith("tg-probe-"):
        note = "a probe of this platform"
    elif owner is not None and owner not in stored:
        note = "of another installation of this platform"
    elif owner is not None and owner not in here:
        note = f"{show('att', owner)} was sent to {stored[owner].row['cluster']}"
    elif owner is not None:
        account = stored[owner].row["account_id"]
        right = a.user == users.get(account) if account is not None else a.user not in users.values()
        note = "" if right else f"carries the name of {show('att', owner)}, which ran under another account"
    return Accounted(
        attempt_id=owner if owner in here and not note else None, task=a.event.task, id=a.id, base=a.event.native_id,
        name=a.name, ended_at=a.event.ended_at, started_at=a.event.started_at, elapsed_ms=a.elapsed_ms,
        submitted_at=a.submitted_at, cores=a.cores, gpus=a.gpus, memory_mib=a.memory_mib, user=a.user, account=a.account,
        note=note,
    )  # fmt: skip


def _correct(conn: Connection, ctx: Context, cluster: str, told: Statement, report: Report, by: str) -> int:
    """Give the evidence machine what accounting says of runs that were metered without it; how many runs."""
    leases.locked(conn, [cluster_role(cluster)])  # its holder, on whichever server, is not in the middle of a tick
    batch = Batch(conn, ctx, ctx.now())
    word = {(a.name, a.id, a.event.ended_at): a.event for a in told.allocations}
    wanted: dict[int, list[Ended]] = {}
    for d in report.differences:
        a = d.accounted
        if d.cause in MENDABLE and a is not None and a.attempt_id is not None:
            event = word[a.name, a.id, a.ended_at]
            restart = d.metered.restart if d.metered is not None else 0
            wanted.setdefault(a.attempt_id, []).append(replace(event, restart=restart))
    for stored in attempts.by_ids(conn, sorted(wanted)):
        batch.apply(stored, wanted[stored.attempt.id])
    refresh(conn, ctx, batch.touched, batch.now)
    count = sum(len(w) for w in wanted.values())
    events.append(conn, kind="usage.reconciled", at=batch.now, cluster=cluster, body={"by": by, "runs": count})
    return count


def _view(
    conn: Connection, cluster: str, r: Report, since: int, until: int, limit: int, corrected: int
) -> View:
    shown = r.differences[:limit]
    ids = sorted({(d.metered or d.accounted).attempt_id or 0 for d in shown if d.metered or d.accounted})  # type: ignore[union-attr]
    job_of = {s.attempt.id: s.row["job_id"] for s in attempts.by_ids(conn, [i for i in ids if i])}
    return {
        "cluster": cluster,
        "since": views.when(since),
        "until": views.when(until),
        "runs": r.runs,
        "matched": r.matched,
        "unexplained": r.unexplained,
        "corrected": corrected,
        "counts": {str(c): n for c, n in r.counts.items()},
        "metered_core_hours": _hours(r.metered_core_ms),
        "accounted_core_hours": _hours(r.accounted_core_ms),
        "metered_gpu_hours": _hours(r.metered_gpu_ms),
        "accounted_gpu_hours": _hours(r.accounted_gpu_ms),
        "foreign_core_hours": _hours(r.foreign_core_ms),
        "charged": views.money(r.charged),
        "differences": [_difference(d, job_of) for d in shown],
        "left_off": len(r.differences) - len(shown),
    }


def _difference(d: Difference, job_of: dict[int, int]) -> View:
    m, a = d.metered, d.accounted
    side = m or a
    assert side is not None
    owner = side.attempt_id
    return {
        "cause": str(d.cause),
        "explained": d.explained,
        "text": d.text,
        "job": show("job", job_of[owner]) if owner in job_of else None,
        "attempt": show("att", owner) if owner is not None else None,
        "task": side.task,
        "native_id": a.id if a is not None else m.native_id if m is not None else None,
        "metered": None
        if m is None or not m.segments
        else {
            "started_at": views.when(m.started_at), "ended_at": views.when(m.ended_at), "elapsed_ms": m.elapsed_ms,
            "cores": m.cores, "gpus": m.gpus, "memory_mib": m.memory_mib, "source": str(m.weakest),
            "estimated": m.estimated, "charge": views.money(m.charged),
        },
        "accounted": None
        if a is None
        else {
            "name": a.name, "user": a.user, "account": a.account, "started_at": views.when(a.started_at),
            "ended_at": views.when(a.ended_at), "elapsed_ms": a.elapsed_ms, "cores": a.cores, "gpus": a.gpus,
            "memory_mib": a.memory_mib,
        },
    }  # fmt: skip


def _hours(ms: int) -> str:
    """Exact to a millisecond of one core: six decimals."""
    micro = ms * 1_000_000 // MS_PER_HOUR
    return f"{micro // 1_000_000}.{micro % 1_000_000:06d}"
