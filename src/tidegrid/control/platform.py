"""The network's operations, on behalf of an actor. What the server calls; every method raises domain errors only."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from tidegrid import ledger
from tidegrid.connectors.contract import SiteRefused, SiteUnsure
from tidegrid.control import (
    accounts,
    failover,
    health,
    incidents,
    intake,
    locality,
    network_file,
    replay,
    runtimes,
    servers,
    views,
)
from tidegrid.control.applications import Applications
from tidegrid.control.batch_scripts import BatchScripts
from tidegrid.control.context import Context
from tidegrid.control.data import Data
from tidegrid.control.installed import Installed
from tidegrid.control.picture import Picture
from tidegrid.control.porting_board import PortingBoard
from tidegrid.control.projection import refresh
from tidegrid.control.settlement import Settlement
from tidegrid.control.site_accounts import SiteAccounts
from tidegrid.control.sites import Sites
from tidegrid.control.staging import Staging
from tidegrid.control.steering import Steering
from tidegrid.control.tails import Tails
from tidegrid.domain.actor import Actor, require_change_job
from tidegrid.domain.errors import Conflict, InvalidInput, NotFound, Unreachable
from tidegrid.domain.ids import parse, show
from tidegrid.domain.job import JobState
from tidegrid.domain.money import format_amount
from tidegrid.domain.ranges import expand
from tidegrid.store import attempts, clusters, decisions, events, idempotency, jobs, orgs, usage
from tidegrid.store.engine import Store
from tidegrid.store.scope import Scope

View = dict[str, Any]
MAX_BULK = 1000


class Platform(Applications, Settlement, SiteAccounts, Sites, Installed, PortingBoard, BatchScripts, Data):
    """Everything below the server. The loops run beside it (`control.loops`)."""

    def __init__(self, ctx: Context, picture: Picture, staging: Staging) -> None:
        self.ctx, self.picture, self.staging = ctx, picture, staging
        self.store: Store = ctx.store
        self.ids: Any = ctx.ids
        self.home: Path = ctx.home
        self._apps = {}
        self._tails = Tails()
        self.on_network: Callable[[], Awaitable[None]] | None = None  # connects what a new network document names
        self.steering_of: Callable[[], Steering] | None = None  # the loops'
        self.try_account: Callable[[str, Mapping[str, Any]], Awaitable[int]] | None = None  # logs in; the uid there

    def now(self) -> int:
        return self.ctx.now()

    # Submission ---------------------------------------------------------------------------------------------------

    async def submit(self, actor: Actor, body: View, key: str | None) -> View:
        return (await self.submit_many(actor, [body], key))[0]

    async def submit_many(self, actor: Actor, bodies: list[View], key: str | None) -> list[View]:
        """All or none, in one transaction. The same key with the same bodies answers as it did the first time."""
        if not 1 <= len(bodies) <= MAX_BULK:
            raise InvalidInput("bulk.size", f"{len(bodies)} jobs in one request; 1 to {MAX_BULK} are possible")
        digest = intake.body_hash(bodies)
        if key is not None:
            known = await self.store.read(lambda c: idempotency.get(c, actor.org_id, key, digest))
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

        return await self.store.read(read)

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
        return await self.store.read(lambda c: runtimes.accuracy(c, Scope(actor.scope_org), app, last))

    # Jobs ---------------------------------------------------------------------------------------------------------

    async def _job_row(self, actor: Actor, job_id: str) -> Mapping[Any, Any]:
        id_ = parse("job", job_id)
        row = await self.store.read(lambda c: jobs.get(c, Scope(actor.scope_org), id_))
        if row is None:
            raise NotFound("job.unknown", f"there is no job {job_id}", hint="`tide ps` lists yours")
        return row

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

        return await self.store.read(read)

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

        return await self.store.read(read)

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

        made, happened = await self.store.read(read)
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

    # Files --------------------------------------------------------------------------------------------------------

    async def logs(self, actor: Actor, job_id: str, task: int, stream: str, offset: int, limit: int) -> bytes:
        """From the cluster while the job runs, from the results afterwards."""
        row = await self._job_row(actor, job_id)
        rows = await self.store.read(lambda c: attempts.page_of_job(c, Scope(actor.scope_org), row["id"]))
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

    # Network --------------------------------------------------------------------------------------------------------

    async def network_apply(self, actor: Actor, text: str, dry_run: bool) -> View:
        view = await network_file.apply(self.ctx, text, dry_run=dry_run)
        if not dry_run:
            self.picture.forget()
            await accounts.open_accounts(self.ctx, await self.picture.network())
            if self.on_network is not None and view["changed"]:
                await self.on_network()
            self.ctx.wake("submit")
        return view

    async def network_show(self, actor: Actor) -> View:
        view = await network_file.show(self.ctx)
        return {**view, "applied_at": views.when(view["applied_at"])}

    async def network_fairness(self, actor: Actor) -> list[View]:
        """Sites that promise their own users something, how these have done, and whether they take guests now."""
        return (await self.picture.guests()).view()

    async def clusters(self, actor: Actor) -> list[View]:
        return await self.picture.cluster_views(operator=actor.is_operator)

    async def cluster_command(self, actor: Actor, name: str, command: str) -> View:
        """drain: nothing new is sent there; resume: again; dead: an operator's word that it will not come back."""

        def commit(conn: Connection) -> None:
            if clusters.get(conn, name) is None:
                raise NotFound("cluster.unknown", f"there is no cluster {name!r}", hint="`tide cluster list`")
            now = self.ctx.now()
            if command == "dead":
                failover.declare_dead(conn, self.ctx, name, actor.user)
                return
            if command not in ("drain", "resume"):
                raise InvalidInput("cluster.command", f"{command!r} is none of drain, resume, dead")
            drained = command == "drain"
            clusters.update(conn, name, drained=drained, **({} if drained else {"dead_at": None}))
            events.append(conn, kind=f"cluster.{command}", at=now, cluster=name, body={"by": actor.user})
            if drained:
                incidents.did(conn, self.ctx, name, "", f"drained by {actor.user}")
            else:
                health.resume(conn, self.ctx, name, actor.user)

        await self.ctx.write(commit)
        self.ctx.wake("submit")
        return next(v for v in await self.clusters(actor) if v["name"] == name)

    def _steering(self) -> Steering:
        if self.steering_of is None:
            raise Unreachable("server.starting", "the loops of this server do not run", hint="try again in a moment")
        return self.steering_of()

    async def steering(self, actor: Actor, name: str) -> View:
        return await self._steering().show(name)

    async def steer(
        self, actor: Actor, name: str, *, mode: str, partitions: Sequence[str] = (), policy: str = "default", bound: int
    ) -> View:
        """mode: on, or off: then the queue is given back at once."""
        return await self._steering().set(name, mode, list(partitions), policy, bound, actor.user)

    async def steering_preview(self, actor: Actor, name: str, *, partition: str, policy: str, bound: int) -> View:
        """The order a partition's queue would have; nothing is changed."""
        return await self._steering().preview(name, partition, policy, bound)

    async def servers(self, actor: Actor) -> View:
        """Who lives, and who holds what."""
        return await servers.overview(self.ctx)

    async def replay(self, actor: Actor, *, hours: float, limit: int) -> View:
        """Decisions of placement of the last hours made again from what was kept of them."""
        return await replay.replay(self.ctx, since=self.now() - self.ctx.micro(hours * 3600), limit=limit)

    async def incidents(
        self,
        actor: Actor,
        *,
        cluster: str | None = None,
        open_only: bool = False,
        limit: int = 50,
        after: str | None = None,
    ) -> tuple[list[View], str | None]:
        """Newest first."""
        return await incidents.page(self.ctx, cluster=cluster, open_only=open_only, limit=limit, after=after)

    async def incident(self, actor: Actor, incident_id: str) -> View:
        return await incidents.one(self.ctx, incident_id)

    # Money --------------------------------------------------------------------------------------------------------

    async def usage(
        self,
        actor: Actor,
        *,
        org: str | None = None,
        job_id: str | None = None,
        limit: int = 100,
        after: str | None = None,
        corrections: bool = False,
    ) -> tuple[list[View], str | None]:
        """Journalled segments of use, newest attempts first; operators see every organisation unless they name one.
        corrections: what was reversed too."""
        scope = Scope(actor.scope_org) if org is None else Scope((await self._org(actor, org))[0])
        job = (await self._job_row(actor, job_id))["id"] if job_id else None
        last = None
        if after:
            try:
                a, t, r, s, v = (int(x) for x in after.split("."))
                if not all(0 <= x < 1 << 63 for x in (a, t, r, s, v)):
                    raise ValueError
                last = (a, t, r, s, v)
            except ValueError:
                raise InvalidInput("page.after", f"{after!r} is not what a page gave as next") from None
        rows = await self.store.read(
            lambda c: usage.page(c, scope, job_id=job, limit=limit + 1, after=last, current=not corrections)
        )
        following = None
        if len(rows) > limit:
            rows = rows[:limit]
            e = rows[-1]
            following = ".".join(str(e[k]) for k in ("attempt_id", "task", "restart", "segment", "revision"))
        return [views.usage(r, operator=actor.is_operator) for r in rows], following

    async def _org(self, actor: Actor, org: str | None) -> tuple[int, str]:
        if org is None or org == actor.org:
            return actor.org_id, actor.org
        row = await self.store.read(lambda c: orgs.get_org(c, org)) if actor.is_operator else None
        if row is None:
            raise NotFound("org.unknown", f"there is no organisation {org!r}")
        return int(row["id"]), org

    async def balance(self, actor: Actor, org: str | None) -> View:
        org_id, name = await self._org(actor, org)
        b = await self.store.read(lambda c: ledger.balance(c, org_id))
        parts = {"prepaid": b.prepaid, "held": b.held, "reserved": b.reserved, "available": b.available}
        return {"org": name, "currency": "CNY", **{k: format_amount(v) for k, v in parts.items()}}

    async def deposit(self, actor: Actor, org: str, amount: int, key: str) -> View:
        org_id, name = await self._org(actor, org)
        if not 0 < amount <= 10**15:
            raise InvalidInput("deposit.amount", "a deposit is above 0 and at most 1,000,000,000 CNY")
        memo = f"deposit by {actor.user}"
        await self.ctx.write(lambda c: ledger.deposit(c, self.ctx.ids, self.ctx.now(), org_id, amount, key, memo))
        self.ctx.wake("submit")
        return await self.balance(actor, name)

    async def journal_check(self, actor: Actor) -> View:
        report = await self.store.read(ledger.balanced)
        return {"balanced": report.ok, **asdict(report)}

    async def events(
        self, actor: Actor, after: int, kinds: Sequence[str] = (), job_id: str | None = None, limit: int = 500
    ) -> list[View]:
        scope = Scope(actor.scope_org)
        job = (await self._job_row(actor, job_id))["id"] if job_id else None
        rows = await self.store.read(lambda c: events.after(c, scope, after, kinds=kinds, job_id=job, limit=limit))
        return [views.event(e) for e in rows]
