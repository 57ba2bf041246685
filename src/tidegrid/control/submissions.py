"""Jobs submitted, and what a submission would be offered; and how good what was predicted for such jobs has been."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection

from tidegrid.control import intake, locality, runtimes, views
from tidegrid.control.applications import Applications
from tidegrid.control.projection import refresh
from tidegrid.domain.actor import Actor
from tidegrid.domain.errors import InvalidInput, NotFound
from tidegrid.store import idempotency, jobs
from tidegrid.store.scope import Scope

View = dict[str, Any]
MAX_BULK = 1000


class Submissions(Applications):
    """A part of the platform."""

    async def submit(self, actor: Actor, body: View, key: str | None) -> View:
        return (await self.submit_many(actor, [body], key))[0]

    async def submit_many(self, actor: Actor, bodies: list[View], key: str | None) -> list[View]:
        """All or none, in one transaction. The same key with the same bodies answers as it did the first time."""
        if not 1 <= len(bodies) <= MAX_BULK:
            raise InvalidInput("bulk.size", f"{len(bodies)} jobs in one request; 1 to {MAX_BULK} are possible")
        digest = intake.body_hash(bodies)
        if key is not None:
            known = await self.ctx.store.read(lambda c: idempotency.get(c, actor.org_id, key, digest))
            if known is not None:
                return await self._views(actor, known)
        wanted = await self._wanted(actor, bodies)

        def commit(conn: Connection) -> list[int]:
            if key is not None:
                again = idempotency.get(conn, actor.org_id, key, digest)
                if again is not None:
                    return [int(i) for i in json.loads(again["response"])]
            now = self.ctx.now()
            ids = intake.admit(conn, self.ctx, actor, wanted, now)
            waiting = [i for i, w in zip(ids, wanted, strict=True) if w.waits]
            if waiting:
                refresh(conn, self.ctx, waiting, now)
            if key is not None:
                idempotency.put(conn, actor.org_id, key, digest, json.dumps(ids), now, status=201)
            return ids

        ids = await self.ctx.write(commit)
        self.ctx.wake("submit")
        return await self._by_ids(actor, ids)

    async def _wanted(self, actor: Actor, bodies: Sequence[View]) -> list[intake.Wanted]:
        parsed = []
        for i, body in enumerate(bodies):
            try:
                application = await self._named(str(body["app"]))
                parsed.append(intake.parse_body(body, application, await self._inputs_of(actor, body, application)))
            except (InvalidInput, NotFound) as e:
                if len(bodies) > 1:
                    e.details["index"] = i
                raise
            if i % 50 == 49:
                await asyncio.sleep(0)
        parsed = await locality.known(self.ctx, self.staging, actor.org_id, await self._timed(actor, parsed))
        prices = await self.picture.admission(parsed, actor.org_id)
        return [intake.with_reserve(w, p) for w, p in zip(parsed, prices, strict=True)]

    async def _timed(self, actor: Actor, parsed: list[intake.Wanted]) -> list[intake.Wanted]:
        """With wall times, where they were left to the platform."""
        if not any(w.spec.wall_auto for w in parsed):
            return parsed
        proposed = await self.picture.proposed(parsed, actor.org_id)
        return [intake.with_wall(w, p) for w, p in zip(parsed, proposed, strict=True)]

    async def _views(self, actor: Actor, known: Mapping[Any, Any]) -> list[View]:
        return await self._by_ids(actor, [int(i) for i in json.loads(known["response"])])

    async def _by_ids(self, actor: Actor, ids: Sequence[int]) -> list[View]:
        scope = Scope(actor.scope_org)

        def read(conn: Connection) -> list[View]:
            rows = jobs.named(conn, scope, ids)
            return [views.job(rows[i], 0, []) for i in ids if i in rows]

        return await self.ctx.store.read(read)

    async def offers(self, actor: Actor, body: View) -> View:
        application = await self._named(str(body["app"]))
        wanted = intake.parse_body(body, application, await self._inputs_of(actor, body, application))
        wanted = (await locality.known(self.ctx, self.staging, actor.org_id, await self._timed(actor, [wanted])))[0]
        found = await self.picture.offers(wanted, actor.org_id)
        return {"resources": asdict(wanted.spec.resources), "formulas": application.needs.describe(), **found}

    async def accuracy(self, actor: Actor, app: str | None, last: int) -> list[View]:
        """How good run times were predicted, for the last runs that the actor sees. NotFound (app.unknown)."""
        if app is not None:
            app = (await self._named(app)).id
        return await self.ctx.store.read(lambda c: runtimes.accuracy(c, Scope(actor.scope_org), app, last))
