"""The network document and the clusters in operation."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi import Path as PathParam

from tidegrid.domain.errors import InvalidInput
from tidegrid.server.auth import Network, ReadsCatalog, ReadsNetwork, WritesClusters, WritesNetwork
from tidegrid.server.params import ClusterName
from tidegrid.server.views import network as views

router = APIRouter(tags=["network"])
_YAML = {"requestBody": {"required": True, "content": {"application/yaml": {"schema": {"type": "string"}}}}}


@router.get("/network", response_model=views.Network)
async def show(platform: Network, actor: ReadsNetwork) -> Any:
    """The document in force, with what capacity costs: for operators."""
    return await platform.network_show(actor)


@router.get("/network/fairness", response_model=views.FairnessList)
async def fairness(platform: Network, actor: ReadsNetwork) -> Any:
    """Sites that promise their own users that they lose nothing by the network: how these have done, and which take guests now."""
    return {"items": await platform.network_fairness(actor)}


@router.put("/network", response_model=views.NetworkChange, openapi_extra=_YAML)
async def apply(
    request: Request,
    platform: Network,
    actor: WritesNetwork,
    dry_run: Annotated[bool, Query(description="show the difference and change nothing")] = False,
) -> Any:
    """Apply a network document (YAML). Applying it again changes nothing."""
    raw = await request.body()
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = "\x00"
    if "\x00" in text:
        raise InvalidInput("network.text", "the network document is no UTF-8 text", hint="send the YAML file as it is")
    return await platform.network_apply(actor, text, dry_run)


@router.get("/clusters", response_model=views.ClusterList)
async def clusters(platform: Network, actor: ReadsCatalog) -> Any:
    """Clusters, their partitions and health."""
    return {"items": await platform.clusters(actor)}


@router.post("/clusters/{cluster}/{command}", response_model=views.Cluster)
async def command(
    cluster: ClusterName,
    command: Annotated[Literal["drain", "resume", "dead"], PathParam()],
    platform: Network,
    actor: WritesClusters,
) -> Any:
    """Drain a cluster, resume it, or declare it dead: what ran there without being restartable is then lost."""
    return await platform.cluster_command(actor, cluster, command)
