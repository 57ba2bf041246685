"""Machine cards: what a node of each partition can do."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from fastapi import Path as PathParam

from tidegrid.server.auth import Network, ReadsCatalog, WritesNetwork
from tidegrid.server.fields import Name
from tidegrid.server.params import After, ClusterName, Limit
from tidegrid.server.views import machine_cards as views
from tidegrid.server.views.installations import Trial

router = APIRouter(tags=["machine cards"])
PartitionName = Annotated[Name, PathParam(description="a partition of that cluster")]


@router.get("/machine-cards", response_model=views.MachineCardList)
async def cards(platform: Network, actor: ReadsCatalog) -> Any:
    """The newest card of every partition that has one."""
    return {"items": await platform.machine_cards(actor)}


@router.get("/machine-cards/{cluster}/{partition}", response_model=views.MachineCardPage)
async def of_partition(
    cluster: ClusterName, partition: PartitionName, platform: Network, actor: ReadsCatalog, limit: Limit = 50, after: After = None
) -> Any:
    """All cards of a partition, newest first. None was ever changed."""
    items, following = await platform.machine_card(actor, f"{cluster}/{partition}", limit=limit, after=after)
    return {"items": items, "next": following}


@router.post("/machine-cards/{cluster}/{partition}", status_code=202, response_model=Trial)
async def measure(cluster: ClusterName, partition: PartitionName, platform: Network, actor: WritesNetwork) -> Any:
    """Measure a node there by a job with all its cores, which the caller's organisation pays. The card is kept at its end."""
    return await platform.machine_card_measure(actor, f"{cluster}/{partition}")
