"""What every part of the platform has, and how it finds what an actor names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tidegrid.catalog.network_model import Network
from tidegrid.control.context import Context
from tidegrid.control.picture import Picture
from tidegrid.control.programs import Known
from tidegrid.control.staging import Staging
from tidegrid.domain.actor import Actor
from tidegrid.domain.errors import Conflict, NotFound
from tidegrid.domain.ids import parse
from tidegrid.store import jobs, orgs
from tidegrid.store.scope import Scope


class Capability:
    """A part of the platform: operations on behalf of an actor, who sees no other organisation's rows."""

    ctx: Context
    picture: Picture
    staging: Staging

    async def _job_row(self, actor: Actor, job_id: str) -> Mapping[Any, Any]:
        """NotFound (job.unknown)."""
        id_ = parse("job", job_id)
        row = await self.ctx.store.read(lambda c: jobs.get(c, Scope(actor.scope_org), id_))
        if row is None:
            raise NotFound("job.unknown", f"there is no job {job_id}", hint="`tide ps` lists yours")
        return row

    async def _org(self, actor: Actor, org: str | None) -> tuple[int, str]:
        """Id and name; None: the actor's own. Others are for operators. NotFound (org.unknown)."""
        if org is None or org == actor.org:
            return actor.org_id, actor.org
        row = await self.ctx.store.read(lambda c: orgs.get_org(c, org)) if actor.is_operator else None
        if row is None:
            raise NotFound("org.unknown", f"there is no organisation {org!r}")
        return int(row["id"]), org

    async def _network(self) -> tuple[Network, Known]:
        """The network in force, and what is known of the software there. Conflict (network.none)."""
        network = await self.picture.network()
        if network is None:
            raise Conflict("network.none", "no network has been set up here", hint="`tide network apply FILE`")
        return network, await self.picture.software.known(network)
