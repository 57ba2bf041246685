"""The network as its operators run it: applied, drained, steered; who serves it, its incidents, its decisions made again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from sqlalchemy import Connection

from tidegrid.control import accounts, cluster_views, failover, health, incidents, network_file, replay, servers, views
from tidegrid.control.capability import Capability
from tidegrid.control.steering import Steering
from tidegrid.domain.actor import Actor
from tidegrid.domain.errors import InvalidInput, NotFound, Unreachable
from tidegrid.store import clusters, events

View = dict[str, Any]


class Operations(Capability):
    """A part of the platform. `on_network` connects what a new network document names; `steering_of`: the loops'."""

    on_network: Callable[[], Awaitable[None]] | None
    steering_of: Callable[[], Steering] | None

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
        network = await self.picture.network()
        return [] if network is None else await cluster_views.every(self.ctx, network, self.picture.contacts, operator=actor.is_operator)

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
        return await replay.replay(self.ctx, since=self.ctx.now() - self.ctx.micro(hours * 3600), limit=limit)

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
