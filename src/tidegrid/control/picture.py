"""The network's picture: stored rows and the last answers of the clusters, as the arrays that placement decides on."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from sqlalchemy import Connection

from tidegrid.catalog.document import Application
from tidegrid.catalog.network_model import Network, Partition, from_json, price_rows
from tidegrid.control import access, guests, loads, locality, views
from tidegrid.control.contact import Contact
from tidegrid.control.context import Context
from tidegrid.control.failover import FAILURES_TO_BREAK
from tidegrid.control.intake import Wanted
from tidegrid.control.programs import Programs
from tidegrid.control.runtimes import Known
from tidegrid.domain.clock import SECOND
from tidegrid.domain.errors import Conflict, InvalidInput
from tidegrid.domain.job import JobSpec
from tidegrid.domain.lease import cluster_role
from tidegrid.domain.money import format_amount
from tidegrid.domain.ranges import expand
from tidegrid.rating.rates import Rates
from tidegrid.scheduling import forecasts, labels, placement
from tidegrid.scheduling.health import Condition
from tidegrid.scheduling.placement import Decision, Refusal, Request
from tidegrid.scheduling.runtime import Prediction
from tidegrid.scheduling.snapshot import Health, PartitionRow, Snapshot, need_of, with_sent
from tidegrid.store import attempts, clusters, leases, networks, orgs, porting
from tidegrid.store import health as healths

Row = Mapping[Any, Any]
WAITS_S = 60  # between two looks at how forecasts of waits came out
WAITS = 400  # attempts that they are learned from
Policy = Callable[[Sequence[Request], Snapshot], Sequence[Request]]


def as_asked(requests: Sequence[Request], snapshot: Snapshot) -> Sequence[Request]:
    """The default policy: placement is asked for what was asked."""
    return requests


class Picture:
    """Builds snapshots and asks placement. `contacts` is what the loops know of the clusters now; policy: what is asked
    of placement for the requests, otherwise than they have it where ways of placing are compared."""

    def __init__(self, ctx: Context, policy: Policy = as_asked) -> None:
        self.ctx, self.policy = ctx, policy
        self.runtimes = Known(ctx)
        self.contacts: dict[str, Contact] = {}
        self._network: Network | None = None
        self._unwell: dict[healths.Place, Condition] = {}
        self._held: frozenset[str] = frozenset()
        self._loaded = False
        self.software = Programs(ctx)
        self._waits: tuple[int, dict[str, Any]] = (-WAITS_S * SECOND, {})
        self._guests: guests.Guests | None = None
        self._orgs: dict[int, str] = {}

    def forget(self) -> None:
        """The network document has changed."""
        self._loaded, self._guests = False, None

    async def network(self) -> Network | None:
        if not self._loaded:
            row = await self.ctx.store.read(networks.current)
            self._network = from_json(json.loads(row["body"])) if row is not None else None
            self._loaded = True
        return self._network

    async def snapshot(self) -> Snapshot | None:
        """The network now; None before a network file was applied."""
        network = await self.network()
        if network is None:
            return None
        states, self._unwell, self._held, sent = await self.ctx.store.read(self._stored)
        prices = price_rows(network)
        rows = [
            self._row(network, c.name, p, states.get(c.name), prices, sent.get((c.name, p.name), ())) for c in network.clusters for p in c.partitions
        ]
        places, table = await self.software.now(network)
        return Snapshot.build(self.ctx.now() // SECOND, rows, places, table, await self._wait_tables())

    def _stored(self, conn: Connection) -> tuple[dict[str, Row], dict[healths.Place, Condition], frozenset[str], dict[healths.Place, list[Row]]]:
        """The clusters' rows, conditions of places, leases that run, and by place what was sent there and its load does not show."""
        states: dict[str, Row] = {r["name"]: r for r in clusters.all(conn)}
        return states, healths.conditions(conn), leases.running(conn), loads.sent(conn, self.contacts, states, self.ctx.now())

    async def guests(self) -> guests.Guests:
        """Which sites take guests; looked at again after `guests.LOOK_S`."""
        if self._guests is None or self.ctx.now() - self._guests.at >= guests.LOOK_S * SECOND:
            self._guests = await guests.look(self.ctx, await self.network())
        return self._guests

    async def _unwelcome(self, org_id: int) -> tuple[str, ...]:
        """Clusters that take no job of this organisation now."""
        found = await self.guests()
        if not found.sites:
            return ()
        if org_id not in self._orgs:
            self._orgs = await self.ctx.store.read(orgs.names)
        return found.unwelcome(self._orgs.get(org_id, ""))

    async def _wait_tables(self) -> dict[str, Any]:
        """What forecasts of waits were worth, by partition; looked at again after WAITS_S."""
        now = self.ctx.now()
        if now - self._waits[0] >= WAITS_S * SECOND:
            self._waits = (now, await self.ctx.store.read(lambda c: forecasts.from_past(past_waits(attempts.waits(c, limit=WAITS), now))))
        return self._waits[1]

    def _row(
        self, network: Network, cluster: str, p: Partition, state: Row | None, prices: Mapping[str, Any], sent: Sequence[Row]
    ) -> PartitionRow:
        site = network.site_of(cluster)
        price = prices[f"{cluster}/{p.name}"]
        load = loads.of(self.contacts.get(cluster), p.name, state)
        capacity = (p.nodes * p.cores * 1000, p.nodes * p.memory_mib, p.nodes * p.gpus)
        largest = (p.cores * 1000, p.memory_mib, p.gpus)
        free = capacity
        running: tuple[Any, ...] = ()
        waiting: tuple[Any, ...] = ()
        with_room: tuple[Any, ...] = ()
        if load is not None:
            capacity = (load["cores"][0] * 1000, load["memory_mib"][0], load["gpus"][0])
            free = (load["cores"][1] * 1000, load["memory_mib"][1], load["gpus"][1])
            running = tuple((r[0], (r[1] * 1000, r[2], r[3])) for r in load["running"])
            waiting = tuple((r[0], (r[1] * 1000, r[2], r[3])) for r in load["waiting"])
            with_room = tuple((r[0], (r[1] * 1000, r[2], r[3])) for r in load.get("holes", ()))
        row = PartitionRow(
            cluster=cluster,
            partition=p.name,
            region=site.region if site else "",
            arch=p.arch,
            capacity=capacity,
            free=free,
            largest=largest,
            sell=_rates(price["sell"]),
            cost=_rates(price["cost"]),
            gpu_type=p.gpu_type,
            max_wall_s=p.max_wall_s,
            health=self._health(cluster, p.name, state),
            supply=price["supply"],
            running=running,
            waiting=waiting,
            holes=with_room,
        )
        return with_sent(row, loads.tasks(sent)) if sent else row

    def _health(self, cluster: str, partition: str, state: Row | None) -> Health:
        if state is None:
            return Health.UNHEALTHY
        if state["drained"] or state["dead_at"] is not None:
            return Health.DRAINED
        contact = self.contacts.get(cluster)
        if contact is None:  # another server looks at it, and says in its row what it sees
            fresh = self.ctx.now() - (state["loads_at"] or 0) < self.ctx.micro(self.ctx.settings.silent_after)
            if state["health"] != "up" or not fresh or cluster_role(cluster) not in self._held:
                return Health.UNHEALTHY
        elif not contact.answered or contact.failures >= FAILURES_TO_BREAK:
            return Health.UNHEALTHY
        worst = {self._unwell.get((cluster, p)) for p in ("", partition)}
        if Condition.DRAINING in worst:
            return Health.FAILING
        return Health.SUSPECT if Condition.SUSPECT in worst else Health.UP

    # Asking placement -----------------------------------------------------------------------------------------------

    async def requests(self, rows: Sequence[Row], specs: Sequence[JobSpec], snapshot: Snapshot) -> Sequence[Request]:
        """What placement needs of parts that wait; their run times are for the partitions of the snapshot."""
        runs = await self.runtimes.predict([(s, r["org_id"]) for r, s in zip(rows, specs, strict=True)], snapshot)
        may = await access.access(self.ctx, await self.network())
        shut = {org: await self._unwelcome(org) for org in {r["org_id"] for r in rows}}
        lies = await self._lies([(r["org_id"], s) for r, s in zip(rows, specs, strict=True)])
        asked = [
            dataclasses.replace(
                self._request(r["id"], s, len(expand(r["tasks"])), p, tuple(r["excluded"].split())),
                closed=may.closed(r["org_id"], r["project_id"]),
                unwelcome=shut[r["org_id"]],
                input_bytes=data.bytes,
                already=data.at,
            )
            for r, s, p, data in zip(rows, specs, runs, lies, strict=True)
        ]
        return self.policy(asked, snapshot)

    async def _lies(self, rows: Sequence[tuple[int, JobSpec]]) -> list[locality.Lies]:
        if not any(s.inputs for _, s in rows):
            return [locality.Lies()] * len(rows)
        return await self.ctx.store.read(lambda c: locality.where(c, rows))

    def private(self) -> frozenset[str]:
        """Clusters whose own account is nobody's."""
        return access.private_clusters(self._network)

    def _request(
        self,
        id_: int,
        spec: JobSpec,
        tasks: int,
        runs: Prediction,
        excluded: tuple[str, ...] = (),
        balance: int | None = None,
    ) -> Request:
        r = spec.resources
        at_once = min(tasks, spec.throttle) if spec.throttle else tasks
        return Request(
            id=id_,
            app=self.software.name(spec.app, spec.app_version),
            trial=spec.trial,
            linked=labels.linked(spec.work, r),
            licences=tuple((f, n * at_once) for f, n in self.software.licences(spec.app, spec.app_version)),
            need=need_of(r),
            nodes=r.nodes,
            exclusive=r.exclusive,
            gpu_type=r.gpu_type,
            wall_s=r.wall_s,
            tasks=tasks,
            constraints=spec.constraints,
            excluded=excluded,
            runs=runs,
            objective=spec.objective,
            balance=balance,
            deadline_s=spec.deadline // SECOND if spec.deadline else None,
            budget=_share_of(spec, tasks),
        )

    async def admission(self, wanted: Sequence[Wanted], org_id: int) -> list[int]:
        """Micro-yuan to reserve for each: the full wall time at the cheapest offer of the network as it is when all of it
        is up, where the price is predicted. InvalidInput (job.impossible) with every reason where no partition could ever take one."""
        self.software.learn((w.spec.app, w.spec.app_version) for w in wanted)
        snapshot = await self._whole()
        runs = await self.runtimes.predict([(w.spec, org_id) for w in wanted], snapshot)
        may = dataclasses.replace(await access.access(self.ctx, await self.network()), mute=frozenset())
        requests = [
            dataclasses.replace(
                self._request(i, w.spec, len(w.tasks), p), objective="cheapest", excluded=(),
                closed=may.closed(org_id, w.spec.project),
            )
            for i, (w, p) in enumerate(zip(wanted, runs, strict=True))
        ]  # fmt: skip
        out = []
        for i, decision in enumerate(placement.decide(requests, snapshot, k=1)):
            if decision.best is None:
                await self._unmet(requests[i], decision, snapshot, org_id, wanted[i].spec)
                details = {"refusals": {str(r): n for r, n in decision.refusals.items()}}
                if len(wanted) > 1:
                    details["index"] = {"job": i}
                raise InvalidInput(
                    "job.impossible",
                    decision.why_not(),
                    hint="ask for less, or elsewhere: `tide cluster list`",
                    details=details,
                )
            out.append(decision.best.hold)
        return out

    async def _unmet(self, request: Request, decision: Decision, snapshot: Snapshot, org_id: int, spec: JobSpec) -> None:
        """Keep what could run nowhere for want of an installation or an architecture: demand for porting. What could run nowhere
        anyway is none."""
        archs = spec.constraints.arch
        reason = ""
        if Refusal.NOT_INSTALLED in decision.refusals:
            anywhere = placement.decide([dataclasses.replace(request, app="")], snapshot, k=1)[0]
            reason = "not_installed" if anywhere.best is not None else ""
        if not reason and archs and not set(archs) & set(snapshot.archs):
            reason = "arch"
        if not reason:
            return
        core_s = spec.resources.cores * spec.resources.nodes * spec.resources.wall_s * request.tasks
        day, arch = self.ctx.now() // SECOND // 86_400, archs[0] if len(archs) == 1 else ""
        await self.ctx.write(
            lambda c: porting.refuse(c, day=day, org_id=org_id, app=spec.app, arch=arch[:32], reason=reason, core_s=core_s)
        )

    async def _whole(self) -> Snapshot:
        snapshot = await self.snapshot()
        if snapshot is None or not snapshot.partitions:
            raise Conflict("network.none", "no network has been set up here", hint="`tide network apply FILE`")
        idle = dataclasses.replace(snapshot.software, pool_free=snapshot.software.pool_total)
        return dataclasses.replace(snapshot, health=np.zeros_like(snapshot.health), software=idle)

    async def proposed(self, wanted: Sequence[Wanted], org_id: int) -> list[int | None]:
        """A wall time for each, in seconds; None where too little is known."""
        snapshot = await self._whole()
        runs = await self.runtimes.predict([(w.spec, org_id) for w in wanted], snapshot)
        return [p.wall_s for p in runs]

    async def offers(self, wanted: Wanted, org_id: int) -> dict[str, Any]:
        """Where it could run now, best first, and why not elsewhere."""
        self.software.learn([(wanted.spec.app, wanted.spec.app_version)])
        snapshot = await self.snapshot()
        if snapshot is None or not snapshot.partitions:
            await self._whole()
        assert snapshot is not None
        runs = (await self.runtimes.predict([(wanted.spec, org_id)], snapshot))[0]
        may = await access.access(self.ctx, await self.network())
        request = dataclasses.replace(
            self._request(0, wanted.spec, len(wanted.tasks), runs),
            closed=may.closed(org_id, wanted.spec.project),
            unwelcome=await self._unwelcome(org_id),
        )
        data = (await self._lies([(org_id, wanted.spec)]))[0]
        request = dataclasses.replace(request, input_bytes=data.bytes, already=data.at)
        decision = placement.decide([request], snapshot, k=len(snapshot.partitions))[0]
        offers = [
            {
                **{k: v for k, v in c.to_json().items() if k not in ("cost", "score", "price", "hold", "terms")},
                "price": views.money(c.price),
                "at_most": views.money(c.hold),
            }
            for c in decision.candidates
        ]
        return {
            "offers": offers,
            "refusals": {str(r): n for r, n in decision.refusals.items()},
            "partitions": decision.partitions,
            "objective": decision.objective,
            "snapshot": decision.snapshot,
            "policy": decision.policy,
            "prediction": _told(decision, runs, wanted.spec.resources.wall_s),
            "summary": decision.why_not()
            if not offers
            else f"{len(offers)} of {decision.partitions} partitions can take it; "
            f"the best asks about {format_amount(decision.candidates[0].price)} CNY",
        }

    async def invocation(self, app: Application, cluster: str, partition: str) -> tuple[dict[str, Any], str]:
        """What the application's script may ask of the place, and what goes before it there (`Application.render`). An
        embedded cluster shares the server's interpreter."""
        network = await self.network()
        found = network.cluster(cluster) if network is not None else None
        place = found.partition(partition) if found is not None else None
        if found is None or place is None:
            return app.variables(), ""
        python = found.software.get("python") or (sys.executable if found.connector == "embedded" else "python3")
        way = app.invocation(place.arch, found.software)
        values = app.variables(arch=place.arch, python=str(python), software=found.software)
        return values, way.setup if way is not None else ""


def _told(decision: Decision, runs: Prediction, asked_s: int) -> dict[str, Any]:
    """What the run times come from, for a customer; and the wall time that would be enough."""
    basis = {k: v for k, v in (decision.prediction or {}).items() if k not in ("runs", "speed")}
    return {**basis, "text": runs.text(decision.terms.app), "wall_s": asked_s, "proposed_wall_s": runs.wall_s}


def _share_of(spec: JobSpec, tasks: int) -> int | None:
    """Micro-yuan of the job's budget that so many of its tasks may cost; None where it has none."""
    if not spec.budget:
        return None
    return spec.budget * tasks // (len(expand(spec.array)) if spec.array else 1)


def past_waits(rows: Sequence[Row], now: int) -> Iterator[forecasts.Said]:
    """What was said of these attempts (`attempts.waits`), and how long they waited. Decisions of before there was a forward run in them, and
    jobs that were to start at once, say nothing."""
    for r in rows:
        body = json.loads(r["body"])
        said = next((c for c in body.get("candidates", ()) if c["partition"] == f"{r['cluster']}/{r['partition']}"), None)
        if said is None or not said.get("wait_ahead_s"):
            continue
        end = r["started_at"]
        yield forecasts.Said(
            said["partition"], said["wait_ahead_s"], said["start_now"], said["wait_p50_s"], said["wait_p90_s"],
            max(0.0, ((now if end is None else end) - r["queued_at"]) / SECOND), end is not None,
        )  # fmt: skip


def _rates(prices: Any) -> Rates | None:
    if prices is None:
        return None
    return Rates(prices["core_hour"], prices.get("gpu_hour", 0), prices.get("memory_gib_hour", 0))
