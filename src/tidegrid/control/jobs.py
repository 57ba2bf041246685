"""Jobs as their owners meet them: looked at, changed, explained, and what they wrote."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from tidegrid.connectors.contract import SiteRefused, SiteUnsure
from tidegrid.control import views
from tidegrid.control.capability import Capability
from tidegrid.control.projection import refresh
from tidegrid.control.tails import Tails
from tidegrid.domain.actor import Actor, require_change_job
from tidegrid.domain.errors import Conflict, InvalidInput, Unreachable
from tidegrid.domain.ids import parse, show
from tidegrid.domain.job import JobState
from tidegrid.domain.ranges import expand
from tidegrid.store import attempts, decisions, events, jobs
from tidegrid.store.scope import Scope

View = dict[str, Any]


class Jobs(Capability):
    """A part of the platform."""

    _tails: Tails

    async def job(self, actor: Actor, job_id: str) -> View:
        row = await self._job_row(actor, job_id)
        scope, id_ = Scope(actor.scope_org), row["id"]

        def read(conn: Connection) -> View:
            return views.job(
                row,
                jobs.costs(conn, [id_]).get(id_, 0),
                attempts.page_of_job(conn, scope, id_),
                attempts.executions_of(conn, scope, id_),
            )

        return await self.ctx.store.read(read)

    async def jobs(
        self,
        actor: Actor,
        *,
        state: str | None = None,
        project: str | None = None,
        limit: int = 50,
        after: str | None = None,
    ) -> tuple[list[View], str | None]:
        scope = Scope(actor.scope_org)
        start = parse("job", after) if after else None
        if state is not None and state not in set(JobState):
            raise InvalidInput("job.state", f"{state!r} is no job state", hint=", ".join(JobState))

        def read(conn: Connection) -> tuple[list[View], str | None]:
            rows = jobs.page(conn, scope, state=state, project=project, limit=limit + 1, after=start)
            more, rows = len(rows) > limit, rows[:limit]
            costs = jobs.costs(conn, [r["id"] for r in rows])
            out = [views.job(r, costs.get(r["id"], 0)) for r in rows]
            return out, show("job", rows[-1]["id"]) if more else None

        return await self.ctx.store.read(read)

    async def _wish(self, actor: Actor, job_id: str, **flags: bool) -> View:
        row = await self._job_row(actor, job_id)
        require_change_job(actor, row["org_id"], row["user_id"], job_id)
        id_ = row["id"]

        def commit(conn: Connection) -> list[str]:
            current = jobs.get(conn, Scope(actor.scope_org), id_)
            assert current is not None
            if not current["open"]:
                if flags.get("cancel_wanted"):
                    return []  # ended already: the wish is fulfilled
                raise Conflict("job.ended", f"{job_id} has ended ({current['state']})")
            now = self.ctx.now()
            jobs.set_flags(conn, Scope(actor.scope_org), id_, **flags)
            name = next(iter(flags)) if all(flags.values()) else "released"
            kind = {"cancel_wanted": "cancel_wanted", "held": "held"}.get(name, name)
            events.append(
                conn, kind=f"job.{kind}", at=now, org_id=row["org_id"], job_id=id_, body={"by": actor.user}
            )  # fmt: skip
            refresh(conn, self.ctx, [id_], now)
            return [r["cluster"] for r in attempts.page_of_job(conn, Scope(None), id_) if r["state"] != "ENDED"]

        for cluster in await self.ctx.write(commit):
            self.ctx.wake(cluster)
        self.ctx.wake("submit")
        return await self.job(actor, job_id)

    async def cancel(self, actor: Actor, job_id: str) -> View:
        return await self._wish(actor, job_id, cancel_wanted=True)

    async def hold(self, actor: Actor, job_id: str) -> View:
        return await self._wish(actor, job_id, held=True)

    async def release(self, actor: Actor, job_id: str) -> View:
        return await self._wish(actor, job_id, held=False)

    async def explain(self, actor: Actor, job_id: str) -> View:
        row = await self._job_row(actor, job_id)
        scope, id_ = Scope(actor.scope_org), row["id"]

        def read(conn: Connection) -> tuple[list[Any], list[Any]]:
            return decisions.of_job(conn, scope, id_), events.after(conn, scope, 0, job_id=id_, limit=1000)

        made, happened = await self.ctx.store.read(read)
        history = [views.event(e) for e in happened]
        return {
            "job": show("job", id_),
            "state": row["state"],
            "reason": row["reason"],
            "decisions": [self._decision(d, actor) for d in made],
            "events": history,
        }

    @staticmethod
    def _decision(d: Mapping[Any, Any], actor: Actor) -> View:
        body = d["body"]
        if not actor.is_operator:  # what capacity costs the operator is not the customer's to see
            for c in body.get("candidates", []):
                c.pop("cost", None)
                c.pop("score", None)  # the cost is part of it
                c.get("terms", {}).pop("cost", None)
            body.get("prediction", {}).pop("runs", None)  # others' runs are among them
        return {
            "at": views.when(d["at"]),
            "chosen": d["chosen"],
            "snapshot": d["snapshot"],
            "policy": d["policy"],
            **body,
        }

    async def events(
        self, actor: Actor, after: int, kinds: Sequence[str] = (), job_id: str | None = None, limit: int = 500
    ) -> list[View]:
        scope = Scope(actor.scope_org)
        job = (await self._job_row(actor, job_id))["id"] if job_id else None
        rows = await self.ctx.store.read(lambda c: events.after(c, scope, after, kinds=kinds, job_id=job, limit=limit))
        return [views.event(e) for e in rows]

    # Files --------------------------------------------------------------------------------------------------------

    async def logs(self, actor: Actor, job_id: str, task: int, stream: str, offset: int, limit: int) -> bytes:
        """From the cluster while the job runs, from the results afterwards."""
        row = await self._job_row(actor, job_id)
        rows = await self.ctx.store.read(lambda c: attempts.page_of_job(c, Scope(actor.scope_org), row["id"]))
        of_task = [r for r in rows if task in expand(r["tasks"])]
        if not of_task:
            return b""
        last = of_task[-1]
        name = f"{task}.{'err' if stream == 'err' else 'out'}"
        if last["fetched"]:
            return await self.staging.read_log(last, name, offset=offset, limit=limit)
        connector = self.ctx.connectors.get(last["cluster"])
        if connector is None:
            return b""
        path = f"{last['directory']}/log/{name}"
        files = connector.files
        try:
            async with asyncio.timeout(self.ctx.settings.call):
                return await self._tails.read(
                    f"{last['cluster']}:{path}", offset, limit, lambda at, most: files.read(path, offset=at, limit=most)
                )
        except (SiteUnsure, SiteRefused, TimeoutError, OSError) as e:
            raise Unreachable(
                "cluster.silent",
                f"{last['cluster']} does not answer: {e}",
                hint="the log is kept there; try again later",
            ) from None

    async def outputs(self, actor: Actor, job_id: str) -> list[View]:
        row = await self._job_row(actor, job_id)
        return await self.staging.list_outputs(Scope(actor.scope_org), row)

    async def output_path(self, actor: Actor, job_id: str, path: str) -> Path:
        row = await self._job_row(actor, job_id)
        return await self.staging.output_path(Scope(actor.scope_org), row, path)
