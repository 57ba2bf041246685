"""This server's leases: takes what is its share, renews what it has, gives up what is another's.

One transaction a step, on the database's clock: say that this server lives, renew, take. What was lost is known at the next
step at the latest; until then every write of it is refused by its token (`control.acting`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy import Connection

from tidegrid.control.acting import Held, boottime
from tidegrid.control.context import Context
from tidegrid.domain.clock import SECOND
from tidegrid.domain.errors import TideError
from tidegrid.domain.lease import SUBMIT, Lease, give_up, renew, share, take
from tidegrid.store import leases

log = structlog.get_logger(__name__)
MARGIN = 0.25  # of the lease: what leaves the process leaves before the last quarter
FORGET_S = 86_400  # a server not seen for a day is not listed any more


@dataclass(frozen=True, slots=True)
class Step:
    """What one step found. kept, give: roles; next_s: until another server's lease runs out; usurped: somebody else took
    what was this server's."""

    kept: frozenset[str]
    taken: tuple[Lease, ...]
    give: tuple[str, ...]
    next_s: float
    usurped: bool


class Leases:
    """Start with `start`, end with `stop`. me: the columns of this server's row; alone: no other process can have the
    database (SQLite), so whatever is held there is held by the dead.

    began and ended are called with a lease that was taken, and with one that was lost or is about to be given up; `ended`
    returns when nothing acts under it any more. superseded: another process took the database over from one that was alone.
    """

    def __init__(self, ctx: Context, me: Mapping[str, Any], *, alone: bool) -> None:
        self.ctx, self.me, self.alone = ctx, dict(me), alone
        self.name: str = self.me["name"]
        self.able: set[str] = {SUBMIT}
        self.began: Callable[[Held], None] = lambda held: None
        self.ended: Callable[[Held], Awaitable[None]] = _nothing
        self.superseded = asyncio.Event()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._first = True

    async def start(self) -> None:
        """Take what is free, then go on in a task of its own."""
        await self.step()
        self._task = asyncio.create_task(self._forever(), name="leases")

    async def stop(self) -> None:
        """Give everything up, so that others need not wait. Nothing may act in a role any more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        held = list(self.ctx.held.values())
        self.ctx.held.clear()

        def farewell(conn: Connection) -> None:
            _give_up(conn, self.name, held)
            leases.farewell(conn, self.name)

        try:
            await self.ctx.store.write(farewell)
        except TideError as e:
            log.info("leases.not_given_up", why=e.message)

    def can(self, roles: Iterable[str]) -> None:
        """What this server could do, besides placing."""
        able = {SUBMIT, *roles}
        if able != self.able:
            self.able = able
            self._wake.set()

    def look(self) -> None:
        """Something was refused for a lost lease: see at once what is still held."""
        self._wake.set()

    # One step -------------------------------------------------------------------------------------------------------

    async def step(self) -> float:
        """Seconds until the next one."""
        ctx = self.ctx
        length = ctx.settings.server_lease
        mine = dict(ctx.held)
        before = boottime()
        done = await ctx.store.write(lambda c: self._step(c, mine))
        self._first = False
        until = before + length * (1 - MARGIN)
        lost = [held for role, held in mine.items() if role not in done.kept]
        for role in done.kept:
            mine[role].until = until
        for held in lost:
            log.warning("lease.lost", role=held.role, token=held.token)
        await self._drop(lost)
        if self.alone and done.usurped:
            self.superseded.set()
        for lease in done.taken:
            held = Held(lease.role, self.name, lease.token, until)
            ctx.held[lease.role] = held
            log.info("lease.taken", role=lease.role, token=lease.token)
            self.began(held)
        if done.give:
            await self._hand_over([mine[r] for r in done.give])
        return min(1.0, length / 5, done.next_s)

    def _step(self, conn: Connection, mine: Mapping[str, Held]) -> Step:
        me, length = self.name, int(self.ctx.settings.server_lease * SECOND)
        if self._first:  # an earlier life of this server has ended, for its home is locked
            leases.forfeit(conn, "" if self.alone else me)
        leases.ensure(conn, self.able)
        now = leases.now(conn)
        leases.beat(conn, self.me | {"able": " ".join(sorted(self.able)), "seen_at": now, "expires_at": now + length})
        if self._first:
            leases.forget(conn, now - FORGET_S * SECOND)
        kept = set()
        for lease in leases.locked(conn, sorted(mine)):
            renewed = renew(lease, me, mine[lease.role].token, now, length)
            if renewed is not None:
                leases.save(conn, renewed, now, renewal=True)
                kept.add(lease.role)
        rows = [leases.lease(r) for r in leases.all(conn)]
        living = leases.living(conn, now)
        ideal = share({r for s in living for r in s.able}, rows, living, now)
        want = [role for role, server in ideal.items() if server == me and role not in kept]
        taken = []
        for lease in leases.locked(conn, want, wait=False) if want else ():
            got = take(lease, me, now, length)
            if got is not None:
                leases.save(conn, got, now)
                taken.append(got)
        out = {x.role: x.holder for x in rows if not x.held(now) and x.holder not in ("", me)}
        dead = {out[role] for role in want if role in out} if len(taken) < len(want) else set()
        if dead and (ended := leases.evict(conn, dead, length)):
            log.warning("leases.evicted", servers=sorted(dead), transactions=ended)
        others = [x.expires_at for x in rows if x.held(now) and x.holder != me]
        return Step(
            kept=frozenset(kept),
            taken=tuple(taken),
            give=tuple(r for r in sorted(kept) if ideal.get(r) != me),
            next_s=max(0.02, min(others, default=now + length) - now) / SECOND + 0.01,
            usurped=any(x.role in mine and x.role not in kept and x.holder not in ("", me) for x in rows),
        )

    async def _drop(self, gone: list[Held]) -> None:
        """All at once: those that are kept must be renewed meanwhile."""
        for held in gone:
            if self.ctx.held.get(held.role) is held:
                del self.ctx.held[held.role]
        await asyncio.gather(*(self.ended(held) for held in gone))

    async def _hand_over(self, give: list[Held]) -> None:
        """To a server that has less to do, or because this one cannot do it any more."""
        await self._drop(give)
        await self.ctx.store.write(lambda c: _give_up(c, self.name, give))
        for held in give:
            log.info("lease.given_up", role=held.role, token=held.token)

    async def _forever(self) -> None:
        pause = 0.0
        while True:
            try:
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            try:
                pause = await self.step()
            except TideError as e:  # the database is away: what is held runs out by itself
                log.warning("leases.trouble", why=e.message)
                pause = min(1.0, self.ctx.settings.server_lease / 5)
            except Exception:  # a defect here must not end the server's other work
                log.exception("leases.defect")
                pause = 1.0


def _give_up(conn: Connection, server: str, given: list[Held]) -> None:
    tokens = {h.role: h.token for h in given}
    if not tokens:
        return
    now = leases.now(conn)
    for lease in leases.locked(conn, sorted(tokens)):
        left = give_up(lease, server, tokens[lease.role], now)
        if left is not None:
            leases.save(conn, left, now)


async def _nothing(held: Held) -> None:
    return None
