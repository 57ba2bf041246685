"""One cluster, one tick: ask once, commit what the answer means, then act on what was committed.

observe -> list the spool -> marks become permits -> one transaction -> cancels, fences -> lease

Marks come first, for each is a job that waits for its permit; while jobs are starting, they are also looked for between two answers
of the controller. What an answer says is read in `answer`, committed by `committing`, and carried out at the site by `actions`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import structlog

from tidegrid.connectors.contract import Connector, Observation, SiteRefused, SiteUnsure
from tidegrid.control import failover
from tidegrid.control.actions import Actions, carry_out
from tidegrid.control.answer import Answer
from tidegrid.control.committing import Commit
from tidegrid.control.contact import LOOK_S, Contact, attempt_of
from tidegrid.control.context import Context
from tidegrid.control.permits import Permits
from tidegrid.control.told import gather, id_of
from tidegrid.domain.clock import SECOND
from tidegrid.store import attempts, clusters

log = structlog.get_logger(__name__)
T = TypeVar("T")
AT_ONCE, PARTS = 24, 20  # attempts in one part of a tick, where there are many, and such parts at most
RESTS, REST_S = 4, 2.0  # between two questions: times what the last answer took, and at most
LAST_S = 0.25  # between two looks whether the last of what runs has ended


class Reconciler:
    """The tick of one cluster. `peers` are the contacts of all clusters, this one's included."""

    def __init__(self, ctx: Context, connector: Connector, peers: dict[str, Contact]) -> None:
        self.ctx, self.connector, self.peers = ctx, connector, peers
        self.cluster = connector.cluster
        self.contact = peers[self.cluster]
        self.permits = Permits(ctx, connector, self.contact)

    async def tick(self) -> bool:
        """True where the cluster answered."""
        ctx, contact = self.ctx, self.contact
        began = ctx.now()
        cursor = await ctx.store.read(lambda c: clusters.get(c, self.cluster)["cursor"])
        now = asyncio.get_running_loop().time
        asked = now()
        try:
            async with asyncio.timeout(ctx.settings.call):
                seen = await self._meanwhile(self.connector.observe(cursor))
                contact.asked, loads_at = (asked, now()), _loads_at(seen, ctx.now())
                spool = await self.connector.files.spool()
        except (SiteUnsure, SiteRefused, TimeoutError, OSError) as e:
            contact.failures += 1
            await failover.check(ctx, self.cluster, self.peers, str(e) or type(e).__name__)
            return False
        spool = await self.permits.grant(spool, seen)
        await contact.let_start(self.permits.look)
        given = list(contact.given)
        answer = Answer(seen, spool, gather(seen, spool, given), began, loads_at)
        early = await self._in_parts(answer) if contact.starting else Actions()
        actions = await ctx.write(lambda c: Commit(c, ctx, self.cluster, contact, answer).whole(early.settled))
        actions.add(early)
        del contact.given[: len(given)]
        contact.old_marks = actions.over
        contact.answers(seen, loads_at)
        if contact.silent:
            contact.silent = False
            log.info("cluster.back", cluster=self.cluster)
            ctx.wake("submit")
        await carry_out(ctx, self.connector, actions)
        return True

    async def _in_parts(self, answer: Answer) -> Actions:
        """What the answer says of many, but for the last of them: what starts does not wait for its permit until all is written."""
        out, now = Actions(), asyncio.get_running_loop().time
        to_do = await self._to_do(answer)
        size, looked = max(AT_ONCE, len(to_do) // PARTS), now()
        while len(to_do) > size:
            some, to_do = to_do[:size], to_do[size:]
            out.add(await self.ctx.write(lambda c: Commit(c, self.ctx, self.cluster, self.contact, answer).some(some)))  # noqa: B023 - awaited here
            if now() - looked >= LOOK_S:
                await self.permits.look()
                looked = now()
        return out

    async def _to_do(self, answer: Answer) -> list[int]:
        """Attempts of which this answer says something new; empty where they are few."""
        if len(answer.evidence) + len(answer.seen.jobs) <= AT_ONCE:
            return []
        slim = await self.ctx.store.read(lambda c: attempts.live_slim(c, self.cluster))
        return sorted({r["id"] for r in slim if answer.differs(r)} | set(answer.evidence))

    # Between two ticks ------------------------------------------------------------------------------------------------

    async def rest(self) -> None:
        """So long that a controller that takes its time to answer is not asked most of the time, and until what starts has started."""
        await self.contact.let_start(self.permits.look)
        began, answered = self.contact.asked
        left = min(REST_S, RESTS * (answered - began)) - (asyncio.get_running_loop().time() - answered)
        if left > 0:
            await self._meanwhile(asyncio.sleep(left) if self._more_to_come() else self._last_ends(left))

    def _more_to_come(self) -> bool:
        """Whether something waits there, or nothing runs."""
        running = [tasks for _, waiting, tasks in self.contact.listing if tasks or waiting]
        return not running or any(waiting for _, waiting, _ in self.contact.listing)

    async def _last_ends(self, seconds: float) -> None:
        """So long, or until the last of what runs there has said that it ended: then its controller has nothing else to do."""
        runs = {attempt_of(name) for name, _, tasks in self.contact.listing if tasks}
        until = asyncio.get_running_loop().time() + seconds
        try:
            while runs - self.contact.sightings.done.keys() and (left := until - asyncio.get_running_loop().time()) > 0:
                await asyncio.sleep(min(left, LAST_S))
                async with asyncio.timeout(self.ctx.settings.call):
                    runs -= {id_of(e) for e in await self.connector.files.spool() if e.kind == "end"}
        except (SiteUnsure, SiteRefused, TimeoutError, OSError):
            return  # the tick finds out what it is

    async def pause(self, seconds: float) -> bool:
        """Where something is starting; False where nothing is: then nothing was waited for."""
        if not self.contact.starting:
            return False
        await self._meanwhile(asyncio.sleep(seconds))
        return True

    async def _meanwhile(self, work: Coroutine[Any, Any, T]) -> T:
        """What the work gives; meanwhile whatever starts at the cluster gets its permit."""
        task = asyncio.create_task(work)
        try:
            while not (await asyncio.wait((task,), timeout=LOOK_S))[0]:
                if self.contact.starting:
                    await self.permits.look()
            return await task
        finally:
            task.cancel()


def _loads_at(seen: Observation, now: int) -> int:
    """When the loads of an answer that has come now were asked for, µs."""
    return now - int(seen.loads_age_s * SECOND)
