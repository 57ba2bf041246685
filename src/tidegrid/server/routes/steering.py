"""Queues of Slurm clusters put into the product's order."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from tidegrid.server.auth import Network, ReadsNetwork, WritesClusters
from tidegrid.server.bodies import SteeringBody
from tidegrid.server.fields import Name
from tidegrid.server.params import ClusterName
from tidegrid.server.views import steering as views

router = APIRouter(tags=["network"])


@router.get("/steering/{cluster}", response_model=views.Steering)
async def show(cluster: ClusterName, platform: Network, actor: ReadsNetwork) -> Any:
    """Whether and how a cluster's queue is steered. For operators."""
    return await platform.steering(actor, cluster)


@router.put("/steering/{cluster}", response_model=views.Steering)
async def steer(cluster: ClusterName, body: SteeringBody, platform: Network, actor: WritesClusters) -> Any:
    """Steer a Slurm cluster's queue by the nice values of its waiting jobs, or stop it and give the queue back."""
    return await platform.steer(
        actor, cluster, mode=body.mode, partitions=body.partitions, policy=body.policy, bound=body.bound
    )


@router.get("/steering/{cluster}/preview", response_model=views.SteeringPreview)
async def preview(
    cluster: ClusterName,
    platform: Network,
    actor: ReadsNetwork,
    partition: Annotated[Name | None, Query(description="the cluster's first where none is named")] = None,
    policy: Annotated[Name, Query()] = "default",
    bound: Annotated[int, Query(ge=1, le=1_000_000_000)] = 1_000_000,
) -> Any:
    """The order a partition's queue would have, and the nice values for it. Changes nothing."""
    return await platform.steering_preview(actor, cluster, partition=partition or "", policy=policy, bound=bound)
