"""The log of incidents: what went wrong at a cluster or partition, what was done, how it ended."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from tidegrid.server.auth import Network, ReadsNetwork
from tidegrid.server.fields import Name
from tidegrid.server.params import After, Incident, Limit
from tidegrid.server.views import incidents as views

router = APIRouter(tags=["network"])


@router.get("/incidents", response_model=views.IncidentPage)
async def incidents(
    platform: Network,
    actor: ReadsNetwork,
    cluster: Annotated[Name | None, Query(description="of this cluster only")] = None,
    open: Annotated[bool, Query(description="leave out what is over")] = False,
    limit: Limit = 50,
    after: After = None,
) -> Any:
    """Troubles of clusters and partitions, newest first. For operators."""
    items, following = await platform.incidents(actor, cluster=cluster, open_only=open, limit=limit, after=after)
    return {"items": items, "next": following}


@router.get("/incidents/{incident}", response_model=views.Incident)
async def incident(incident: Incident, platform: Network, actor: ReadsNetwork) -> Any:
    """One incident with its evidence and all its steps."""
    return await platform.incident(actor, incident)
