"""What a tick does at the site once it is committed: the lease, cancels, fences, and the spool tidied.

Nothing is lost where an action fails: each follows again from what is stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field

import structlog
from sqlalchemy import Connection

from tidegrid.connectors.contract import Connector, SiteRefused, SiteUnsure
from tidegrid.control.context import Context
from tidegrid.control.evidence import Batch
from tidegrid.control.fences import race
from tidegrid.control.projection import refresh
from tidegrid.domain.attempt import Ended, FenceLost, Reason
from tidegrid.domain.clock import SECOND
from tidegrid.domain.errors import InvalidInput, NoSpace
from tidegrid.store import attempts

log = structlog.get_logger(__name__)


@dataclass
class Actions:
    """What a committed tick still has to do at the site."""

    sweep: list[str] = field(default_factory=list)
    cancels: list[tuple[str, str, Sequence[int]]] = field(default_factory=list)  # name, native id, tasks (none: all)
    doubts: list[tuple[int, str, tuple[int, ...]]] = field(default_factory=list)  # attempt, directory, tasks
    ended: dict[int, list[Ended]] = field(default_factory=dict)  # those in doubt because of these ends that their site told
    over: set[str] = field(default_factory=set)  # spool files of attempts that are over
    denied: dict[str, list[str]] = field(default_factory=dict)  # directory of such an attempt -> its marks
    settled: set[int] = field(default_factory=set)  # attempts of which all that was told is applied
    renew: int = 0  # lease sequence to write; 0: not now
    expires_at: int = 0

    def add(self, other: Actions) -> None:
        """What follows from single attempts."""
        self.cancels += other.cancels
        self.doubts += other.doubts
        self.ended |= other.ended
        self.settled |= other.settled


async def carry_out(ctx: Context, connector: Connector, actions: Actions) -> None:
    """One that the site will not do must not keep it from the others; a site that does not answer is left alone until the next
    tick."""
    files, cluster = connector.files, connector.cluster
    try:
        async with asyncio.timeout(ctx.settings.call):
            if actions.renew:
                text = f"{actions.renew} {actions.expires_at // SECOND} {ctx.token}\n"
                await attempted(cluster, files.write("lease", text.encode()))
            for name, native_id, tasks in actions.cancels:
                await attempted(cluster, connector.cancel(name, native_id, tasks))
            for attempt, directory, unknown in actions.doubts:
                await attempted(cluster, _fence(ctx, connector, attempt, directory, unknown, actions.ended.get(attempt, [])))
            for directory, marks in actions.denied.items():
                await attempted(cluster, _deny(connector, directory, marks))
            if actions.sweep:
                await attempted(cluster, files.unspool(actions.sweep))
    except (SiteUnsure, TimeoutError) as e:
        failed(cluster, e)


async def attempted(cluster: str, action: Awaitable[object]) -> None:
    """An action that may fail by itself. SiteUnsure (silent), TimeoutError where the site does not answer at all."""
    try:
        await action
    except SiteUnsure as e:
        if e.silent:
            raise
        failed(cluster, e)
    except (SiteRefused, InvalidInput, NoSpace, OSError) as e:
        if isinstance(e, TimeoutError):
            raise
        failed(cluster, e)


def failed(cluster: str, why: Exception) -> None:
    log.info("site.action_failed", cluster=cluster, why=str(why) or type(why).__name__)


async def _deny(connector: Connector, directory: str, marks: Sequence[str]) -> None:
    """Remove the marks of an attempt that is over: its prologue may still wait, and must not take that for its permit."""
    await connector.files.write(f"{directory}/over", b"")
    await connector.files.unspool(marks)


async def _fence(
    ctx: Context, connector: Connector, attempt: int, directory: str, tasks: tuple[int, ...], ended: Sequence[Ended]
) -> None:
    """Race for the fences of an attempt that nobody knows of, or that its site says is over and that never began. What had
    begun after all has ended as was told: it hid its mark."""
    why = "its site ended it before it started" if ended else ""
    claims = await race(connector, directory, tasks, ctx.token, why, refused=bool(ended))
    begun = {c.task for c in claims if isinstance(c, FenceLost)}
    true = [e for e in ended if e.reason is not Reason.CANCELLED and e.task in begun]

    def commit(conn: Connection) -> None:
        batch = Batch(conn, ctx, ctx.now())
        for stored in attempts.by_ids(conn, [attempt]):
            batch.apply(stored, [*claims, *true])
        refresh(conn, ctx, batch.touched, batch.now)

    await ctx.write(commit)
