"""Clusters that do not answer: when to give up on them, and what may be placed elsewhere then.

Loss of contact is a state of the cluster. Only what provably cannot start there moves: attempts that wait for the
server's permit, of which no mark was committed. A restartable one may start without a permit while its lease lasts, so
it moves only after lease + wait + kill grace + skew.
"""

from __future__ import annotations

import asyncio

import structlog
from sqlalchemy import Connection

from tidegrid.control import incidents
from tidegrid.control.contact import Contact
from tidegrid.control.context import Context
from tidegrid.control.evidence import Batch
from tidegrid.control.projection import refresh
from tidegrid.domain.attempt import DeclaredDead, Reason, State, Withdrawn, can_withdraw
from tidegrid.domain.clock import SECOND
from tidegrid.domain.lease import cluster_role
from tidegrid.store import attempts, clusters, events, leases

log = structlog.get_logger(__name__)
FAILURES_TO_BREAK = 2  # consecutive failures after which nothing new is sent there


async def check(ctx: Context, cluster: str, peers: dict[str, Contact], why: str) -> None:
    """After a failed tick: open the breaker, and withdraw what may move once the silence has lasted."""
    contact = peers[cluster]
    now = asyncio.get_running_loop().time()
    quiet = now - contact.last_answer
    if contact.failures < FAILURES_TO_BREAK or quiet < ctx.settings.silent_after:
        return
    if not contact.silent:
        contact.silent = True
        log.warning("cluster.silent", cluster=cluster, seconds=round(quiet, 1), why=why)
        await ctx.write(lambda c: _silent(c, ctx, cluster, why))
    others = [p for name, p in peers.items() if name != cluster]
    if not any(p.answered and now - p.last_answer < ctx.settings.silent_after for p in others):
        since = ctx.now() - ctx.micro(ctx.settings.silent_after)
        answered = await ctx.store.read(lambda c: clusters.answered(c, since))
        if not answered - set(peers):  # those that other servers look at
            return  # every cluster is silent: suspect yourself, expire nothing
    await ctx.write(lambda c: withdraw(c, ctx, cluster))


def _silent(conn: Connection, ctx: Context, cluster: str, why: str) -> None:
    now = ctx.now()
    if clusters.get(conn, cluster)["health"] != "silent":
        clusters.update(conn, cluster, health="silent", silent_since=now)
        events.append(conn, kind="cluster.silent", at=now, cluster=cluster, body={"why": why[:300]})
        what = f"silent: {why}"
        incidents.trouble(conn, ctx, cluster, "", cause="silent", condition="silent", what=what)


def withdraw(conn: Connection, ctx: Context, cluster: str) -> int:
    """Take back every attempt on the cluster that cannot start; tasks taken back."""
    row = clusters.get(conn, cluster)
    batch = Batch(conn, ctx, ctx.now())
    s = ctx.settings
    site_now = batch.now + row["skew_us"]
    lease_over = site_now > row["lease_expires_at"] + (s.restart_wait + s.kill_grace + s.skew) * SECOND
    count = 0
    quiet = (batch.now - row["silent_since"]) / SECOND if row["silent_since"] is not None else 0.0
    why = {"cause": "silent", "why": f"{cluster} does not answer, and it cannot start there", "silent_s": round(quiet, 1)}
    for stored in attempts.live_on(conn, cluster):
        a = stored.attempt
        under_way = a.state is State.SUBMITTING and a.id in ctx.sending
        if not a.movable or (a.restartable and not lease_over) or under_way:
            continue
        batch.because[a.id] = why
        if can_withdraw(a):
            batch.apply(stored, [Withdrawn(f"{cluster} does not answer")])
            count += 1
        elif a.unstarted() and any(e.marked for e in a.executions):
            batch.split(stored, f"{cluster} does not answer")
            count += 1
    if count:
        incidents.did(conn, ctx, cluster, "", f"{count} waiting jobs placed anew", moved=count)
    refresh(conn, ctx, batch.touched, batch.now)
    return count


def declare_dead(conn: Connection, ctx: Context, cluster: str, who: str) -> int:
    """An operator's word: the cluster will not come back. What ran there is lost or, where licensed, placed anew.

    Whichever server hears it: the cluster's lease is locked, so that its holder is not in the middle of a tick."""
    leases.locked(conn, [cluster_role(cluster)])
    row = clusters.get(conn, cluster)
    now = ctx.now()
    clusters.update(conn, cluster, dead_at=now, drained=True)
    events.append(conn, kind="cluster.dead", at=now, cluster=cluster, body={"by": who})
    batch = Batch(conn, ctx, now)
    life = row["last_answer_at"] or now
    live = attempts.live_on(conn, cluster)
    lost = 0
    for stored in live:
        after = batch.apply(stored, [DeclaredDead(life, f"{cluster} was declared dead")])
        lost += after.reason is Reason.LOST
    what = f"declared dead by {who}"
    incidents.trouble(conn, ctx, cluster, "", cause="dead", condition="dead", what=what)
    if live:
        what = f"{len(live) - lost} attempts given back to be placed, {lost} lost"
        incidents.did(conn, ctx, cluster, "", what, moved=len(live) - lost, lost=lost)
    refresh(conn, ctx, batch.touched, now)
    return len(live)
