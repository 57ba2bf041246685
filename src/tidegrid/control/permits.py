"""Permits to start: marks of live attempts are committed, then removed. See docs/decisions/0001-permit-to-start.md."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from sqlalchemy import Connection

from tidegrid.connectors.contract import Connector, Observation, SiteRefused, SiteUnsure, SpoolEntry
from tidegrid.control.actions import attempted, failed
from tidegrid.control.contact import Contact, attempt_of
from tidegrid.control.context import Context
from tidegrid.control.evidence import Batch
from tidegrid.control.projection import refresh
from tidegrid.control.told import gather_spool, id_of
from tidegrid.domain.attempt import over_before
from tidegrid.store import attempts

Permit = tuple[str, int, int, int]  # file, attempt, task, restart


class Permits:
    """Of one cluster."""

    def __init__(self, ctx: Context, connector: Connector, contact: Contact) -> None:
        self.ctx, self.connector, self.contact = ctx, connector, contact
        self.cluster = connector.cluster

    async def look(self) -> None:
        """The spool alone."""
        try:
            async with asyncio.timeout(self.ctx.settings.call):
                await self.grant(await self.connector.files.spool())
        except (SiteUnsure, SiteRefused, TimeoutError, OSError):
            self.contact.starting = False  # the tick finds out what it is

    async def grant(self, spool: list[SpoolEntry], seen: Observation | None = None) -> list[SpoolEntry]:
        """The rest of the spool. seen: the cluster's answer, which is older than the spool's listing."""
        marks = [e for e in spool if e.kind == "mark"]
        if not marks:
            return spool
        self.contact.permits()
        permits = await self.ctx.write(lambda c: self._commit(c, marks, seen))
        if permits:
            self.contact.permits()
            try:
                async with asyncio.timeout(self.ctx.settings.call):
                    await attempted(self.cluster, self._give(permits))
            except (SiteUnsure, TimeoutError) as e:  # given again when it is next listed
                failed(self.cluster, e)
        handled = {p[0] for p in permits}
        return [e for e in spool if e.file not in handled]

    async def _give(self, permits: Sequence[Permit]) -> None:
        removed = set(await self.connector.files.unspool([p[0] for p in permits]))
        self.contact.given += [p[1:] for p in permits if p[0] in removed]

    def _commit(self, conn: Connection, marks: Sequence[SpoolEntry], seen: Observation | None) -> list[Permit]:
        """What may start now."""
        batch = Batch(conn, self.ctx, self.ctx.now())
        told = gather_spool(marks)
        live = {}
        for stored in attempts.by_ids(conn, sorted(told)):
            if stored.attempt.live and stored.row["cluster"] == self.cluster:
                live[stored.attempt.id] = batch.apply(stored, told[stored.attempt.id])
        refresh(conn, self.ctx, batch.touched, batch.now)
        self.contact.sightings.heard((i, e.task) for e in marks if (i := id_of(e)) in live and i is not None)
        permits = [(e.file, i, e.task, e.restart) for e in marks if (i := id_of(e)) is not None and i in live]
        permits = [p for p in permits if (e := live[p[1]].execution(p[2], p[3])) is not None and e.marked]
        held = {p[0] for p in permits if p[3] and not over_before(live[p[1]], p[2], p[3])}
        since = {file: self.contact.again.get(file, batch.now) for file in held}
        if held and seen is not None:
            held -= self._may_run_again([p for p in permits if p[0] in held], seen)
        self.contact.again = since
        return [p for p in permits if p[0] not in held]

    def _may_run_again(self, held: Sequence[Permit], seen: Observation) -> set[str]:
        """Marks of another start of what nobody has told the end of: its controller knows that it started it before, or has forgotten
        that, and every node has been told since to abort what the controller does not know (see `orphans`)."""
        long_ago = self.ctx.now() - self.ctx.micro(self.ctx.settings.orphan)
        counted = {(i, t): n for j in seen.jobs if (i := attempt_of(j.name)) is not None for t, n in j.again}
        return {
            file
            for file, attempt, task, restart in held
            if counted.get((attempt, task), 0) >= restart or (seen.all_told and self.contact.again.get(file, long_ago + 1) <= long_ago)
        }
