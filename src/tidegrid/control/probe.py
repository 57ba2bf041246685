"""Probes: tiny jobs of the platform's own, which show that a drained place takes jobs, runs them and keeps its files.

A probe is no attempt: nobody is billed for it, and a second one would harm nobody, so it needs neither fence nor row. It proves the
whole way: its directory is staged, the cluster accepts it, and what it wrote on a compute node is read back.
"""

from __future__ import annotations

import asyncio

import structlog
from sqlalchemy import Connection

from tidegrid.connectors.contract import Connector, SiteRefused, SiteUnsure, SubmitRequest
from tidegrid.control import failover, health
from tidegrid.control.acting import acting
from tidegrid.control.contact import Contact
from tidegrid.control.context import Context
from tidegrid.control.picture import Picture
from tidegrid.domain.errors import TideError
from tidegrid.domain.ids import b32
from tidegrid.domain.lease import cluster_role
from tidegrid.scheduling.health import Sign, Standing, wants_probe
from tidegrid.store import clusters
from tidegrid.store.health import Place

log = structlog.get_logger(__name__)
LOOK_S = 2.0  # between two looks of `Watch`
POLL_S = 1.0
SILENT_S = 5.0  # between two withdrawals from a cluster that is silent
GONE_S = 5.0  # after the queue lost sight of a probe: how long its file may take to show
SCRIPT = b"#!/bin/sh\necho well >ran.tmp && mv ran.tmp ran\n"
UNIT_S = 10.0  # of ANSWERED and UNANSWERED


class Watch:
    """What makes time pass for the health of clusters: contact is counted, standings are looked at, probes are sent."""

    def __init__(self, ctx: Context, contacts: dict[str, Contact], picture: Picture) -> None:
        self.ctx, self.contacts, self.picture = ctx, contacts, picture
        self._probes: dict[Place, asyncio.Task[None]] = {}
        self._counted: dict[str, float] = {}
        self._withdrawn: dict[str, float] = {}

    async def step(self) -> int:
        ctx, now = self.ctx, asyncio.get_running_loop().time()
        seen: list[health.Seen] = []
        for name, contact in self.contacts.items():
            since = now - self._counted.get(name, now)
            if since < UNIT_S / 2 and name in self._counted:
                continue
            self._counted[name] = now
            if not contact.answered or contact.silent:
                continue  # silence is an incident of its own
            sign = Sign.UNANSWERED if contact.failures else Sign.ANSWERED
            seen.append((name, "", sign, min(since, UNIT_S) / UNIT_S))
        await self._silent(now)
        names = [n for n, c in self.contacts.items() if c.answered and not c.silent]

        def look(conn: Connection) -> dict[Place, Standing]:
            ours = set(ctx.ours(conn, {*names, *(s[0] for s in seen)}))
            if told := [s for s in seen if s[0] in ours]:
                health.apply(conn, ctx, told)
            return health.look(conn, ctx, [n for n in names if n in ours])

        unwell = await ctx.write(look)
        rows = {r["name"]: r for r in await ctx.store.read(clusters.all)} if unwell else {}
        for place, standing in unwell.items():
            if place in self._probes or not wants_probe(standing, ctx.now()):
                continue
            held = ctx.held.get(cluster_role(place[0]))
            with acting(held):
                row, connector = rows.get(place[0]), ctx.connector(place[0])
            partition = place[1] or await self._any_partition(place[0])
            if row is None or row["drained"] or row["dead_at"] is not None or connector is None or not partition:
                continue
            if held is None:
                continue
            with acting(held):
                task = asyncio.create_task(self._probe(connector, place, partition), name=f"probe:{place[0]}/{partition}")
            self._probes[place] = task
            task.add_done_callback(lambda _, p=place: self._probes.pop(p, None))  # type: ignore[misc]
        return 0

    async def _silent(self, now: float) -> None:
        """A look at a cluster that hangs takes as long as a call may: what may move meanwhile does not wait for it."""
        for name, contact in list(self.contacts.items()):
            held = self.ctx.held.get(cluster_role(name))
            if contact.silent and held is not None and now - self._withdrawn.get(name, 0.0) >= SILENT_S:
                self._withdrawn[name] = now
                with acting(held):
                    await failover.check(self.ctx, name, self.contacts, "it still does not answer")

    async def _any_partition(self, cluster: str) -> str:
        network = await self.picture.network()
        found = network.cluster(cluster) if network is not None else None
        return found.partitions[0].name if found is not None and found.partitions else ""

    async def stop(self) -> None:
        tasks = list(self._probes.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _probe(self, connector: Connector, place: Place, partition: str) -> None:
        try:
            why = await probe(connector, partition, b32(self.ctx.ids.new()), self.ctx.settings.health.probe_wait)
        except (SiteUnsure, SiteRefused, TimeoutError, OSError, TideError) as e:
            why = str(e) or type(e).__name__
        log.info("health.probe", cluster=place[0], partition=partition, ok=not why, why=why)
        await self.ctx.write(lambda c: health.probe_ended(c, self.ctx, place, not why, why[:300]))


async def probe(connector: Connector, partition: str, key: str, seconds: float) -> str:
    """Run a tiny job there; "" where it ran, else what went wrong. Raises what the connector raises."""
    directory, name = f"probe/{key}", f"tg-probe-{key}"
    files, loop = connector.files, asyncio.get_running_loop()
    end = loop.time() + seconds
    await files.write(f"{directory}/job.sh", SCRIPT, mode=0o700)
    request = SubmitRequest(
        name=name, directory=directory, script="job.sh", partition=partition, cores=1, memory_mib=64, wall_s=60
    )
    gone: float | None = None
    why, native = "", ""
    try:
        native = await connector.submit(request)
        while not (await files.read(f"{directory}/ran")).startswith(b"well"):
            found = await connector.find(name)
            if found is not None and found.stuck:
                why = f"the cluster will not start it: {found.stuck}"
                break
            if found is not None and (found.waiting or found.running):
                gone = None
            elif gone is None:
                gone = loop.time()
            elif loop.time() - gone > GONE_S:
                why = "it ended without having done its work"
                break
            if loop.time() > end:
                why = f"it did not run within {seconds:.0f} s"
                break
            await asyncio.sleep(POLL_S)
        if why:
            await connector.cancel(name, native)
    except SiteUnsure:
        # a submission in doubt may have landed: a wish to cancel by name cannot harm
        try:
            await connector.cancel(name, native)
        except (SiteUnsure, SiteRefused):
            pass
        raise
    finally:
        try:
            await files.remove(directory)
        except (SiteUnsure, SiteRefused, TideError, OSError):
            log.info("health.probe_left", directory=directory)
    return why
