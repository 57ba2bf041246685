"""Looking at clusters on an operator's behalf: what a new one is, and whether one can do what it must."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from tidegrid.catalog import network as catalog
from tidegrid.catalog.network_model import Cluster
from tidegrid.connectors.findings import Say
from tidegrid.control.capability import Capability
from tidegrid.domain.actor import Actor
from tidegrid.domain.errors import Conflict, NotFound

View = dict[str, Any]


class Office(Protocol):
    """Who has the secrets and makes the connections: `launch.discovery.Office`."""

    async def discover(self, wanted: Mapping[str, Any]) -> View: ...

    async def check(self, cluster: Cluster, *, wait_s: float, skew_s: float, say: Say | None = None) -> View: ...


class Sites(Capability):
    """Part of the platform. Nothing of it is stored."""

    office: Office | None = None

    async def cluster_discover(self, actor: Actor, wanted: Mapping[str, Any]) -> View:
        """What the cluster is, and the network file's section for it. Nothing is changed here or there."""
        return await self._looking().discover(wanted)

    async def cluster_check(
        self, actor: Actor, name: str, *, wait_s: float = 60.0, document: str = "", say: Say | None = None
    ) -> View:
        """document: a network file that describes the cluster; by default the one in force. NotFound (cluster.unknown),
        Conflict (check.running, check.kind), InvalidInput (network.invalid)."""
        office = self._looking()
        network = catalog.parse(document) if document else await self.picture.network()
        cluster = network.cluster(name) if network is not None else None
        if cluster is None:
            raise NotFound("cluster.unknown", f"there is no cluster {name!r}", hint="`tide cluster list`")
        running = self.ctx.checking
        if name in running:
            raise Conflict("check.running", f"{name} is being checked already", hint="wait for the end of that check")
        running.add(name)
        try:
            return await office.check(cluster, wait_s=wait_s, skew_s=self.ctx.settings.skew, say=say)
        finally:
            running.discard(name)

    def _looking(self) -> Office:
        if self.office is None:
            raise Conflict("cluster.no_office", "this server looks at no clusters", hint="ask the one that `tide up` started")
        return self.office
