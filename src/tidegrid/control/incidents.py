"""The log of incidents, written in the transaction in which each thing happens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from tidegrid.control import views
from tidegrid.control.context import Context
from tidegrid.domain.clock import SECOND
from tidegrid.domain.errors import NotFound
from tidegrid.domain.ids import parse, show
from tidegrid.scheduling.health import Condition, Standing
from tidegrid.store import events, incidents
from tidegrid.store import health as conditions

_RANK = {"suspect": 0, "draining": 1, "silent": 2, "dead": 3}


def trouble(
    conn: Connection, ctx: Context, cluster: str, partition: str, *, cause: str, condition: str, what: str,
    evidence: Mapping[str, float] | None = None,
) -> None:  # fmt: skip
    """Open an incident at the place, or note in the open one that it came to this."""
    now, found = ctx.now(), incidents.open_at(conn, cluster, partition)
    step = {"at": now, "what": what[:300]}
    if found is None:
        id_ = ctx.ids.new()
        incidents.add(
            conn, id=id_, cluster=cluster, partition=partition, cause=cause, condition=condition, opened_at=now,
            changed_at=now, evidence=dict(evidence or {}), steps=[step],
        )  # fmt: skip
        _event(conn, "incident.opened", now, cluster, partition, id_, cause, condition, what)
        return
    worse = _RANK.get(condition, 0) > _RANK.get(found["condition"], 0)
    incidents.change(
        conn, found["id"], changed_at=now, steps=[*found["steps"], step], evidence=_sum(found["evidence"], evidence or {}),
        **({"condition": condition, "cause": cause} if worse else {}),
    )  # fmt: skip
    _event(conn, "incident.changed", now, cluster, partition, found["id"], cause, condition, what)


def count(conn: Connection, ctx: Context, cluster: str, partition: str, evidence: Mapping[str, float]) -> None:
    """More signs at a place, in its open incident, if there is one."""
    found = incidents.open_at(conn, cluster, partition)
    if found is not None:
        incidents.change(conn, found["id"], changed_at=ctx.now(), evidence=_sum(found["evidence"], evidence))


def over(conn: Connection, ctx: Context, cluster: str, partition: str, what: str) -> None:
    now, found = ctx.now(), incidents.open_at(conn, cluster, partition)
    if found is None:
        return
    steps = [*found["steps"], {"at": now, "what": what[:300]}]
    incidents.change(conn, found["id"], changed_at=now, closed_at=now, steps=steps)
    _event(conn, "incident.closed", now, cluster, partition, found["id"], found["cause"], found["condition"], what)


def answers(conn: Connection, ctx: Context, cluster: str, since: int | None) -> None:
    """The cluster answers again: that ends an incident that was for its silence alone."""
    found = incidents.open_at(conn, cluster, "")
    if found is None:
        return
    seconds = (ctx.now() - since) // SECOND if since is not None else 0
    what = f"answers again after {seconds} s"
    if conditions.of(conn, [cluster]).get((cluster, ""), Standing()).condition is Condition.OK:
        over(conn, ctx, cluster, "", what)
    else:
        did(conn, ctx, cluster, "", what)


def did(
    conn: Connection, ctx: Context, cluster: str, partition: str, what: str, *, moved: int = 0, lost: int = 0
) -> None:  # fmt: skip
    """What was done for it: in the incident of the partition, else in that of its cluster."""
    found = incidents.open_at(conn, cluster, partition) or incidents.open_at(conn, cluster, "")
    if found is None:
        return
    now = ctx.now()
    incidents.change(
        conn, found["id"], changed_at=now, moved=found["moved"] + moved, lost=found["lost"] + lost,
        steps=[*found["steps"], {"at": now, "what": what[:300]}],
    )  # fmt: skip


def _sum(a: Mapping[str, float], b: Mapping[str, float]) -> dict[str, float]:
    return {k: round(a.get(k, 0.0) + b.get(k, 0.0), 2) for k in [*a, *(k for k in b if k not in a)]}


def _event(
    conn: Connection, kind: str, now: int, cluster: str, partition: str, id_: int, cause: str, condition: str, what: str
) -> None:
    body = {"incident": show("inc", id_), "partition": partition, "cause": cause, "condition": condition, "what": what}
    events.append(conn, kind=kind, at=now, cluster=cluster, body=body)


async def page(
    ctx: Context, *, cluster: str | None, open_only: bool, limit: int, after: str | None
) -> tuple[list[dict[str, Any]], str | None]:
    """Newest first, and what to give as `after` for the next page."""
    start = parse("inc", after) if after else None
    rows = await ctx.store.read(
        lambda c: incidents.page(c, cluster=cluster, open_only=open_only, limit=limit + 1, after=start)
    )
    more, rows = len(rows) > limit, rows[:limit]
    return [view(r) for r in rows], show("inc", rows[-1]["id"]) if more else None


async def one(ctx: Context, incident_id: str) -> dict[str, Any]:
    """NotFound (incident.unknown)."""
    id_ = parse("inc", incident_id)
    row = await ctx.store.read(lambda c: incidents.get(c, id_))
    if row is None:
        raise NotFound("incident.unknown", f"there is no incident {incident_id}", hint="`tide incident list`")
    return view(row)


def view(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": show("inc", row["id"]),
        "cluster": row["cluster"],
        "partition": row["partition"],
        "cause": row["cause"],
        "condition": row["condition"],
        "opened_at": views.when(row["opened_at"]),
        "changed_at": views.when(row["changed_at"]),
        "closed_at": views.when(row["closed_at"]),
        "moved": row["moved"],
        "lost": row["lost"],
        "evidence": row["evidence"],
        "steps": [{"at": views.when(s["at"]), "what": s["what"]} for s in row["steps"]],
    }
