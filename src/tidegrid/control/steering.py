"""Queues of real Slurm clusters put into the product's order, where an operator wants it: looked at, on, or off again at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import structlog
from sqlalchemy import Connection

from tidegrid.connectors.contract import SiteRefused, SiteUnsure
from tidegrid.control import views
from tidegrid.control.acting import acting
from tidegrid.control.context import Context
from tidegrid.control.picture import Picture
from tidegrid.domain.errors import Conflict, InvalidInput, NotFound, TideError, Unreachable
from tidegrid.domain.lease import cluster_role
from tidegrid.scheduling.kernel.policy import POLICIES
from tidegrid.store import clusters, events

log = structlog.get_logger(__name__)
EVERY_S = 2.0
LEASE_S = 15  # the site gives a queue back so long after the last step
BOUND = 1_000_000


class Steering:
    """One step looks at every cluster that this server holds and that is to be steered."""

    def __init__(self, ctx: Context, picture: Picture) -> None:
        self.ctx, self.picture = ctx, picture
        self._steerers: dict[tuple[str, str], Any] = {}
        self._last: dict[tuple[str, str], dict[str, Any]] = {}

    async def step(self) -> int:
        """0, always: the next step waits for its time."""
        rows = await self.ctx.store.read(clusters.all)
        wanted = {r["name"]: json.loads(r["steering"]) for r in rows if r["steering"] and r["dead_at"] is None}
        await asyncio.gather(*(self._cluster(name, how) for name, how in wanted.items() if how["mode"] == "on"))
        return 0

    async def _cluster(self, name: str, how: Mapping[str, Any]) -> None:
        held = self.ctx.held.get(cluster_role(name))
        if held is None or name not in self.ctx.connectors:
            return
        async with self.ctx.lock(f"steer:{name}"):
            now = await self.ctx.store.read(lambda c: clusters.get(c, name)["steering"])
            if not now or json.loads(now) != how:  # changed meanwhile
                return
            for partition in how["partitions"]:
                said: dict[str, Any] = {"at": views.when(self.ctx.now())}
                try:
                    with acting(held):
                        held.require()
                        said |= await self._steerer(name, partition, how).step()
                except SiteRefused as e:
                    said["error"] = f"{e}"
                    await self._stop(name, str(e))
                except (SiteUnsure, TideError, OSError) as e:
                    said["error"] = str(e)
                    log.info("steer.later", cluster=name, partition=partition, why=str(e))
                self._last[name, partition] = said

    async def _stop(self, name: str, why: str) -> None:
        """The site does not let its queue be steered: no use in trying again."""

        def commit(conn: Connection) -> None:
            row = clusters.get(conn, name)
            how = {**json.loads(row["steering"] or "{}"), "mode": "off", "why": why}
            clusters.update(conn, name, steering=json.dumps(how))
            events.append(conn, kind="cluster.steering", at=self.ctx.now(), cluster=name, body=how)

        await self.ctx.write(commit)

    def _steerer(self, name: str, partition: str, how: Mapping[str, Any]) -> Any:
        key = (name, partition)
        found = self._steerers.get(key)
        connector = self.ctx.connectors.get(name)
        if connector is None:
            raise _away(name)
        if found is None or found.shell is not getattr(connector, "shell", None):
            make = getattr(connector, "steerer", None)
            if make is None:
                raise Conflict("steering.unsupported", f"{name} orders its queue by the product's policy itself",
                               hint="only the queues of Slurm clusters are steered")  # fmt: skip
            found = self._steerers[key] = make(partition)
        found.policy, found.bound, found.lease_s = POLICIES[how["policy"]], how["bound"], LEASE_S
        return found

    # What operators ask -----------------------------------------------------------------------------------------------

    async def show(self, name: str) -> dict[str, Any]:
        row = await self.ctx.store.read(lambda c: clusters.get(c, name))
        how = json.loads(row["steering"]) if row["steering"] else self._how(name, "off", [], "default", BOUND)
        return {"cluster": name, **how, "last": {p: said for (c, p), said in self._last.items() if c == name}}

    async def set(
        self, name: str, mode: str, partitions: list[str], policy: str, bound: int, who: str
    ) -> dict[str, Any]:
        """Conflict (steering.unsupported), Unreachable (steering.not_undone) where it is off now and the site has not yet
        given the queue back: its guard does within LEASE_S of the last step."""
        known = await self._partitions(name)
        _known(name, partitions, known)
        how = self._how(name, mode, partitions or known, policy, bound)
        if mode == "on":
            self._steerer(name, how["partitions"][0], how)  # refuses what cannot be steered
        before = await self.show(name)

        def commit(conn: Connection) -> None:
            clusters.get(conn, name)
            clusters.update(conn, name, steering=json.dumps(how))
            events.append(conn, kind="cluster.steering", at=self.ctx.now(), cluster=name, body={**how, "by": who})

        async with self.ctx.lock(f"steer:{name}"):  # no step is under way, and none begins with what was wanted before
            await self.ctx.write(commit)
            left = before["partitions"] if mode == "off" else [p for p in before["partitions"] if p not in how["partitions"]]
            if before["mode"] == "on":
                await self._undo(name, left, how)
        self.ctx.wake("steer")
        return await self.show(name)

    async def _undo(self, name: str, partitions: list[str], how: Mapping[str, Any]) -> None:
        for partition in partitions:
            try:
                await self._steerer(name, partition, how).undo()
            except (SiteUnsure, SiteRefused, OSError) as e:
                raise Unreachable("steering.not_undone", f"{name}/{partition} is no longer steered, but could not be given back now: {e}",
                                  hint=f"the site does it by itself within {LEASE_S} s of the last step; repeat this to be sure") from None  # fmt: skip
            self._last.pop((name, partition), None)

    async def preview(self, name: str, partition: str, policy: str, bound: int) -> dict[str, Any]:
        """What the next step would do; nothing is changed."""
        from tidegrid.connectors.slurm.steering import summary

        known = await self._partitions(name)
        _known(name, [partition] if partition else [], known)
        partition = partition or known[0]
        how = self._how(name, "off", [partition], policy, bound)
        try:
            return {"cluster": name, "partition": partition, "policy": policy, **summary(*await self._steerer(name, partition, how).look())}
        except (SiteUnsure, SiteRefused, OSError) as e:
            raise Unreachable("cluster.no_answer", f"{name}: {e}", hint="`tide cluster list` shows whether it answers") from None

    async def _partitions(self, name: str) -> list[str]:
        network = await self.picture.network()
        found = network.cluster(name) if network is not None else None
        if found is None or name not in self.ctx.connectors:
            raise _away(name)
        return [p.name for p in found.partitions]

    @staticmethod
    def _how(name: str, mode: str, partitions: list[str], policy: str, bound: int) -> dict[str, Any]:
        if policy not in POLICIES:
            raise InvalidInput("policy.unknown", f"there is no policy {policy!r}", hint="one of " + ", ".join(POLICIES))
        return {"mode": mode, "partitions": partitions, "policy": policy, "bound": bound}


def _away(name: str) -> Conflict:
    return Conflict("cluster.not_connected", f"{name} is not connected to this server", hint="`tide cluster list` names them")


def _known(cluster: str, wanted: list[str], known: list[str]) -> None:
    for name in wanted:
        if name not in known:
            raise NotFound("partition.unknown", f"{cluster} has no partition {name}", hint="it has " + ", ".join(known))
