"""Installations and machine cards as people meet them: listed, set by hand, verified and measured by jobs, with their history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from tidegrid.catalog import acceptance, installations
from tidegrid.catalog.document import Application, AppTest
from tidegrid.catalog.installations import State
from tidegrid.control import views
from tidegrid.control.blobstore import BlobStore
from tidegrid.control.programs import Place
from tidegrid.control.submissions import Submissions
from tidegrid.domain.actor import Actor
from tidegrid.domain.errors import Conflict, InvalidInput, NotFound
from tidegrid.domain.ids import parse, show
from tidegrid.store import blobs, events, licences, machine_cards, orgs
from tidegrid.store import installations as kept
from tidegrid.store.scope import Scope

View = dict[str, Any]
CARD_APP = "machine-card"
MAX_TRIALS = 200  # jobs of one verification


class Installed(Submissions):
    """A part of the platform."""

    # Installations ----------------------------------------------------------------------------------------------------

    async def installations(
        self, actor: Actor, *, app: str | None = None, partition: str | None = None, state: str | None = None
    ) -> list[View]:
        """Where each application is, as its current version or, with `id@version`, as that one."""
        version = None
        if app is not None:
            wanted = await self._named(app)
            version = (wanted.id, wanted.version)
            self.picture.software.learn([version])
        _, known = await self._network()
        out = []
        for p in known.places:
            if p.state is None or (version is None and not p.current) or (version and (p.app.id, p.app.version) != version):
                continue
            if (partition is None or partition in (p.name, p.cluster)) and state in (None, p.state):
                out.append(_view(p, actor))
        return out

    async def installation_set(self, actor: Actor, app: str, place: str, state: str, reason: str = "") -> View:
        """What an operator knows of an installation. NotFound, Conflict as `installations.check_by_hand` has it."""
        found = await self._place(app, place)
        wanted = installations.check_by_hand(found.app.id, place, state, found.state, found.way)
        id_, now = self.ctx.ids.new(), self.ctx.now()
        await self.ctx.write(
            lambda c: say(c, id=id_, at=now, by=actor.user, place=found, state=wanted, reason=reason)
        )
        self.ctx.wake("submit")
        return _view(await self._place(app, place), actor)

    async def _place(self, app: str, place: str) -> Place:
        wanted = await self._named(app)
        self.picture.software.learn([(wanted.id, wanted.version)])
        _, known = await self._network()
        for p in known.places:
            if (p.app.id, p.app.version) == (wanted.id, wanted.version) and p.name == place:
                return p
        raise NotFound("partition.unknown", f"there is no partition {place!r}", hint="CLUSTER/PARTITION, as `tide cluster list` has them")

    async def installation_history(
        self, actor: Actor, app: str, place: str, *, limit: int = 50, after: str | None = None
    ) -> tuple[list[View], str | None]:
        """What was said of an application at a partition, whatever its version, newest first."""
        found = await self._place(app, place)
        last = parse("ins", after) if after else None
        rows = await self.ctx.store.read(
            lambda c: kept.history(c, found.app.id, found.cluster, found.partition, limit=limit + 1, after=last)
        )
        items = [
            {"id": show("ins", r["id"]), "version": r["version"], "state": r["state"], "reason": r["reason"], "way": r["way"],
             "at": views.when(r["at"]), "by": r["by"] if actor.is_operator else None}
            for r in rows[:limit]
        ]  # fmt: skip
        return items, items[-1]["id"] if len(rows) > limit else None

    # Verification -----------------------------------------------------------------------------------------------------

    async def verify(
        self, actor: Actor, app: str, *, partitions: Sequence[str] = (), tests: Sequence[str] = (), runs: int = 1
    ) -> list[View]:
        """Submit the acceptance tests as jobs of the actor's: at the partitions named, or everywhere the application is. Their ends
        are judged by whoever places jobs (`control.trials`)."""
        application = await self._named(app)
        chosen = _tests(application, tests)
        places = await self._where(application, partitions)
        if not runs >= 1 or len(places) * len(chosen) * runs > MAX_TRIALS:
            raise InvalidInput("verify.size", f"{len(places)} partitions, {len(chosen)} tests and {runs} runs make more than {MAX_TRIALS} jobs",
                               hint="fewer at a time")  # fmt: skip
        plan = [(place, test) for place in places for test in chosen for _ in range(runs)]
        uploads = await self._inputs(actor, chosen)
        bodies = []
        for place, test in plan:
            inputs = [{"path": path, "sha256": uploads[text]} for path, text in test.inputs.items()]
            bodies.append({**acceptance.submission(application, test, place.name), "inputs": inputs, "trial": True})
        jobs = await self._submitted(actor, bodies)
        batches = {p.name: self.ctx.ids.new() for p in places}
        rows = [
            self._trial(actor, "verify", application, place, test.name, job, batches[place.name])
            for (place, test), job in zip(plan, jobs, strict=True)
        ]
        return await self._keep(actor, rows)

    async def _where(self, app: Application, partitions: Sequence[str]) -> list[Place]:
        self.picture.software.learn([(app.id, app.version)])
        network, known = await self._network()
        here = [p for p in known.places if (p.app.id, p.app.version) == (app.id, app.version)]
        names = {p.name for p in here} | {c.name for c in network.clusters}
        for name in partitions:
            if name not in names:
                raise NotFound("partition.unknown", f"there is no partition {name!r}", hint="`tide cluster list`")
        asked = [p for p in here if not partitions or p.name in partitions or p.cluster in partitions]
        there = [p for p in asked if p.way is not None]
        if not there:
            text = f"{app.id} is installed at none of {', '.join(p.name for p in asked[:5]) or 'the partitions'}"
            raise Conflict("installation.not_listed", text, hint="name it in a cluster's `software` in the network file")
        return there

    async def _inputs(self, actor: Actor, tests: Sequence[AppTest]) -> dict[str, str]:
        """Text -> SHA-256 of what the tests are given; kept as the actor's uploads."""
        store, out = BlobStore(self.ctx.home / "blobs"), {}
        for text in {t for test in tests for t in test.inputs.values()}:
            out[text] = store.put_bytes(text.encode())
        scope, now = Scope(actor.org_id), self.ctx.now()

        def commit(conn: Connection) -> None:
            for text, sha in out.items():
                blobs.put(conn, scope, sha, len(text.encode()), now)

        if out:
            await self.ctx.write(commit)
        return out

    async def _submitted(self, actor: Actor, bodies: list[View]) -> list[int]:
        jobs = await self.submit_many(actor, bodies, None)
        return [parse("job", j["id"]) for j in jobs]

    def _trial(self, actor: Actor, kind: str, app: Application, place: Place, test: str, job: int, batch: int) -> View:
        return {
            "id": self.ctx.ids.new(), "org_id": actor.org_id, "batch": batch, "kind": kind, "app": app.id, "version": app.version,
            "cluster": place.cluster, "partition": place.partition, "test": test, "way": place.way, "job_id": job, "by": actor.user,
            "created_at": self.ctx.now(),
        }  # fmt: skip

    async def _keep(self, actor: Actor, rows: Sequence[View]) -> list[View]:
        await self.ctx.write(lambda c: kept.add_trials(c, rows))
        self.ctx.wake("trials")
        defaults: View = {"state": "running", "failed": [], "found": {}, "seconds": None, "ended_at": None}
        return [_trial_view({**defaults, **r}) for r in rows]

    async def trials(
        self, actor: Actor, *, app: str | None = None, kind: str | None = None, limit: int = 100, after: str | None = None
    ) -> tuple[list[View], str | None]:
        """Jobs that verify or measure, newest first. For operators."""
        wanted = await self._named(app) if app else None
        last = parse("try", after) if after else None
        rows = await self.ctx.store.read(
            lambda c: kept.page(
                c, app=wanted.id if wanted else "", version=wanted.version if wanted and app and "@" in app else "",
                kind=kind or "", limit=limit + 1, after=last,
            )
        )  # fmt: skip
        items = [_trial_view(r) for r in rows[:limit]]
        return items, items[-1]["id"] if len(rows) > limit else None

    # Licences ---------------------------------------------------------------------------------------------------------

    async def licences(self, actor: Actor) -> list[View]:
        """Every pool with what is in use of it; by whom, for operators."""
        network, _ = await self._network()

        def read(conn: Connection) -> tuple[list[View], dict[int, str]]:
            return licences.holders(conn), {r["id"]: r["name"] for r in orgs.list_orgs(conn)}

        held, names = await self.ctx.store.read(read)
        out = []
        for x in network.licences:
            mine = [h for h in held if h["pool"] == x.name]
            used = sum(int(h["count"]) for h in mine)
            who = [{"org": names.get(h["org_id"], ""), "count": int(h["count"])} for h in mine]
            out.append(
                {"name": x.name, "feature": x.feature, "count": x.count, "used": used, "free": max(0, x.count - used),
                 "at": list(network.served(x)), "holders": who if actor.is_operator else None}
            )  # fmt: skip
        return out

    # Machine cards ----------------------------------------------------------------------------------------------------

    async def machine_card_measure(self, actor: Actor, place: str) -> View:
        """Measure a node of a partition by a job that has all its cores. The card is kept when it has ended."""
        network, _ = await self._network()
        cluster, _, name = place.partition("/")
        found = network.cluster(cluster)
        partition = found.partition(name) if found is not None else None
        if partition is None:
            raise NotFound("partition.unknown", f"there is no partition {place!r}", hint="CLUSTER/PARTITION, as `tide cluster list` has them")
        application = await self._named(CARD_APP)
        where = (await self._where(application, [place]))[0]
        body = {
            "app": f"{application.id}@{application.version}", "name": f"machine card of {place}", "trial": True,
            "constraints": {"any_of": [place]},
            "resources": {"cores": partition.cores, "memory_mib": min(1024, partition.memory_mib), "gpus": 0},
        }  # fmt: skip
        (job,) = await self._submitted(actor, [body])
        batch = self.ctx.ids.new()
        return (await self._keep(actor, [self._trial(actor, "card", application, where, "", job, batch)]))[0]

    async def machine_cards(self, actor: Actor) -> list[View]:
        """The card in force of each partition that has one."""
        rows = await self.ctx.store.read(machine_cards.newest)
        return [_card_view(r, actor) for r in rows]

    async def machine_card(
        self, actor: Actor, place: str, *, limit: int = 1, after: str | None = None
    ) -> tuple[list[View], str | None]:
        """Cards of a partition, newest first."""
        cluster, _, name = place.partition("/")
        last = parse("card", after) if after else None
        rows = await self.ctx.store.read(lambda c: machine_cards.history(c, cluster, name, limit=limit + 1, after=last))
        items = [_card_view(r, actor) for r in rows[:limit]]
        return items, items[-1]["id"] if len(rows) > limit else None


def say(conn: Connection, *, id: int, at: int, by: str, place: Place, state: State, reason: str = "") -> None:
    """Record a state, in history and as an event."""
    kept.say(
        conn, id=id, at=at, by=by, way=place.way, state=str(state), reason=reason, app=place.app.id, version=place.app.version,
        cluster=place.cluster, partition=place.partition,
    )  # fmt: skip
    body = {"app": place.app.id, "version": place.app.version, "partition": place.partition, "state": str(state), "by": by}
    events.append(conn, kind=f"installation.{state}", at=at, cluster=place.cluster, body=body | ({"reason": reason} if reason else {}))


def _tests(app: Application, names: Sequence[str]) -> list[AppTest]:
    if missing := sorted(set(names) - {t.name for t in app.tests}):
        raise NotFound("app.test_unknown", f"{app.id} has no test {missing[0]!r}", hint=", ".join(repr(t.name) for t in app.tests) or "it has none")
    if not app.tests:
        raise NotFound("app.no_tests", f"{app.id} has no acceptance tests", hint="its document may have them: `tests`")
    return [t for t in app.tests if not names or t.name in names]


def _view(p: Place, actor: Actor) -> View:
    row = p.kept
    return {
        "app": p.app.id, "version": p.app.version, "partition": p.name, "arch": p.arch, "state": p.state, "remark": p.remark,
        "reason": row["reason"] if row and p.state == row["state"] else "", "way": p.way, "invoked": installations.described(p.way),
        "speed": p.speed.to_json() if p.speed is not None else None, "tested": bool(p.app.tests),
        "changed_at": views.when(row["changed_at"]) if row else None,
        "changed_by": row["changed_by"] if row and actor.is_operator else None,
    }  # fmt: skip


def _trial_view(r: Mapping[str, Any]) -> View:
    return {
        "id": show("try", r["id"]), "kind": r["kind"], "app": r["app"], "version": r["version"],
        "partition": f"{r['cluster']}/{r['partition']}", "test": r["test"], "job": show("job", r["job_id"]), "state": r["state"],
        "failed": r["failed"], "values": r["found"], "seconds": r["seconds"], "by": r["by"],
        "created_at": views.when(r["created_at"]), "ended_at": views.when(r["ended_at"]),
    }  # fmt: skip


def _card_view(r: Mapping[str, Any], actor: Actor) -> View:
    own = actor.is_operator
    return {
        "id": show("card", r["id"]), "partition": f"{r['cluster']}/{r['partition']}", "measured_at": views.when(r["measured_at"]),
        "hash": r["hash"], "job": show("job", r["job_id"]) if own else None, "by": r["by"] if own else None, "card": r["body"],
    }  # fmt: skip


