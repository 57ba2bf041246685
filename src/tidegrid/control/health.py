"""Signs into standings, in the transaction that saw them; what follows becomes an event and an incident."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from tidegrid.control import incidents
from tidegrid.control.context import Context
from tidegrid.domain.attempt import Attempt, Execution, Reason, State
from tidegrid.scheduling.health import (
    TEXTS,
    Condition,
    Faculty,
    Sign,
    Standing,
    blame,
    probed,
    resumed,
    step,
)
from tidegrid.store import events
from tidegrid.store import health as rows

Seen = tuple[str, str, Sign, float]  # cluster, partition ("" for all of it), sign, weight
_GOOD = frozenset({Sign.ACCEPTED, Sign.RAN, Sign.ANSWERED})


def note(conn: Connection, ctx: Context, cluster: str, partition: str, sign: Sign, weight: float = 1.0) -> None:
    """One sign; all of a transaction are applied at its end."""
    if weight > 0:
        ctx.before_commit(conn, apply, (cluster, partition, sign, weight))


def apply(conn: Connection, ctx: Context, seen: Sequence[Seen]) -> None:
    """Signs of any places, in order."""
    now, limits = ctx.now(), ctx.settings.health
    known = rows.of(conn, {s[0] for s in seen}, lock=True)
    by_place: dict[rows.Place, list[tuple[Sign, float]]] = {}
    for cluster, partition, sign, weight in seen:
        by_place.setdefault((cluster, partition), []).append((sign, weight))
    after: dict[rows.Place, Standing] = {}
    for place, signs in by_place.items():
        was = known.get(place, Standing())
        after[place] = step(was, now, signs, limits)
        evidence: dict[str, float] = {}
        for sign, weight in signs:
            if sign not in _GOOD:
                evidence[sign] = evidence.get(sign, 0.0) + weight
        _tell(conn, ctx, place, was, after[place], evidence)
    rows.save(conn, after)


def look(conn: Connection, ctx: Context, clusters: Sequence[str]) -> dict[rows.Place, Standing]:
    """Let time pass for the places of the clusters that are not well; returns those."""
    known = rows.of(conn, clusters, lock=True)
    unwell = {k: s for k, s in known.items() if s.condition is not Condition.OK}
    after = {k: step(s, ctx.now(), (), ctx.settings.health) for k, s in unwell.items()}
    turned = {k: s for k, s in after.items() if s.condition is not unwell[k].condition}
    for place, s in turned.items():
        _tell(conn, ctx, place, unwell[place], s, {})
    rows.save(conn, turned)
    return after


def probe_ended(conn: Connection, ctx: Context, place: rows.Place, ok: bool, why: str) -> Standing:
    was = rows.of(conn, [place[0]], lock=True).get(place, Standing())
    after = probed(was, ctx.now(), ok, ctx.settings.health)
    word = "succeeded" if ok else f"failed: {why}"
    incidents.did(conn, ctx, *place, f"a probe {word}")
    events.append(
        conn, kind="health.probe", at=ctx.now(), cluster=place[0], body={"partition": place[1], "ok": ok, "why": why}
    )
    _tell(conn, ctx, place, was, after, {})
    rows.save(conn, {place: after})
    return after


def resume(conn: Connection, ctx: Context, cluster: str, who: str) -> None:
    """An operator says that the cluster is well: all its places begin anew."""
    known = rows.of(conn, [cluster], lock=True)
    now = ctx.now()
    rows.save(conn, {place: resumed(s, now, ctx.settings.health) for place, s in known.items()})
    for place in {(cluster, ""), *known}:
        incidents.over(conn, ctx, *place, f"resumed by {who}")


def _tell(
    conn: Connection, ctx: Context, place: rows.Place, was: Standing, now: Standing, evidence: dict[str, float]
) -> None:
    if was.condition is now.condition:
        if evidence:
            incidents.count(conn, ctx, *place, evidence)
        return
    cluster, partition = place
    cause = now.cause or was.cause
    why = TEXTS[Faculty(cause)] if cause else ""
    if was.condition is Condition.OK and cause:  # what had been counted before it was worth an incident
        earlier = now.of(Faculty(cause)).bad - sum(evidence.values())
        evidence = evidence | ({"earlier": round(earlier, 2)} if earlier > 0.05 else {})
    figures = (now if now.condition is not Condition.OK else was).figures()
    events.append(
        conn, kind="cluster.health", at=ctx.now(), cluster=cluster,
        body={"partition": partition, "was": str(was.condition), "now": str(now.condition), "cause": cause, "why": why, **figures},
    )  # fmt: skip
    if now.condition is Condition.OK:
        incidents.over(conn, ctx, cluster, partition, "no more trouble")
    else:
        said = f"{now.condition}: {why} (share of trouble {figures['share']}, level {figures['level']})"
        if was.condition is Condition.DRAINING:
            said = "in use again after probes, on trial"
        incidents.trouble(
            conn, ctx, cluster, partition, cause=cause, condition=str(now.condition), what=said, evidence=evidence
        )
    ctx.wake("submit")


# What attempts say ------------------------------------------------------------------------------------------------------

_OF_END = {
    Reason.OK: Sign.RAN,
    Reason.FAILED: Sign.RAN,
    Reason.TIMEOUT: Sign.RAN,
    Reason.OOM: Sign.RAN,
    Reason.NODE_FAIL: Sign.NODE_FAILED,
    Reason.REFUSED: Sign.LAUNCH_FAILED,
}


def note_ends(conn: Connection, ctx: Context, cluster: str, partition: str, ended: Sequence[Execution]) -> None:
    """Executions that have just ended."""
    for e in ended:
        sign = _OF_END.get(e.reason) if e.reason else None
        if sign is not None and not e.gave_up:
            note(conn, ctx, cluster, partition, sign)


def note_state(conn: Connection, ctx: Context, cluster: str, partition: str, before: Attempt, after: Attempt) -> None:
    """An attempt that changed its state."""
    if before.state is State.SUBMITTING and after.state in (State.QUEUED, State.RUNNING):
        note(conn, ctx, cluster, partition, Sign.ACCEPTED)
    elif after.state is State.IN_DOUBT:
        note(conn, ctx, cluster, partition, Sign.DOUBT, 0.25)


def note_refusal(conn: Connection, ctx: Context, cluster: str, partition: str, code: str) -> None:
    note(conn, ctx, cluster, partition, Sign.REFUSED, blame(code))
