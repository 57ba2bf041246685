"""Where applications are installed, and how far that is to be trusted."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi import Path as PathParam

from tidegrid.server.auth import Network, ReadsCatalog, ReadsNetwork, WritesNetwork
from tidegrid.server.bodies import InstallationBody, VerifyBody
from tidegrid.server.fields import AppName, Name, Place
from tidegrid.server.params import After, ClusterName, Limit
from tidegrid.server.views import installations as views

router = APIRouter(tags=["installations"])
App = Annotated[AppName, PathParam(description="`id` or `id@version`")]
PartitionName = Annotated[Name, PathParam(description="a partition of that cluster")]
States = Literal["wanted", "installed", "verified", "tuned", "failed", "withdrawn"]


@router.get("/installations", response_model=views.InstallationList)
async def installations(
    platform: Network,
    actor: ReadsCatalog,
    app: Annotated[AppName | None, Query(description="of this application: `id` or `id@version`")] = None,
    partition: Annotated[Place | None, Query(description="at this cluster or cluster/partition")] = None,
    state: Annotated[States | None, Query(description="in this state")] = None,
) -> Any:
    """Where each application is and wanted, in which state, how it is invoked there, and how fast its tests ran."""
    return {"items": await platform.installations(actor, app=app, partition=partition, state=state)}


@router.put("/installations/{app}/{cluster}/{partition}", response_model=views.Installation)
async def set_state(
    app: App, cluster: ClusterName, partition: PartitionName, body: InstallationBody, platform: Network, actor: WritesNetwork
) -> Any:
    """Record a state: wanted, installed, tuned or withdrawn. What the network file does not list is at most wanted."""
    return await platform.installation_set(actor, app, f"{cluster}/{partition}", body.state, body.reason)


@router.get("/installations/{app}/{cluster}/{partition}/history", response_model=views.InstallationHistory)
async def history(
    app: App, cluster: ClusterName, partition: PartitionName, platform: Network, actor: ReadsCatalog, limit: Limit = 50,
    after: After = None,
) -> Any:
    """What was said of it, of every version, newest first."""
    items, following = await platform.installation_history(actor, app, f"{cluster}/{partition}", limit=limit, after=after)
    return {"items": items, "next": following}


@router.post("/apps/{app}/verifications", status_code=202, response_model=views.TrialList)
async def verify(app: App, body: VerifyBody, platform: Network, actor: WritesNetwork) -> Any:
    """Run the acceptance tests as jobs, which the caller's organisation pays. Their ends set the states: see `/trials`."""
    return {"items": await platform.verify(actor, app, partitions=body.partitions, tests=body.tests, runs=body.runs)}


@router.get("/licences", response_model=views.LicenceList)
async def licences(platform: Network, actor: ReadsCatalog) -> Any:
    """Pools of licences, how many there are, and how many are free."""
    return {"items": await platform.licences(actor)}


@router.get("/trials", response_model=views.TrialPage)
async def trials(
    platform: Network,
    actor: ReadsNetwork,
    app: Annotated[AppName | None, Query(description="of this application: `id` or `id@version`")] = None,
    kind: Annotated[Literal["verify", "card"] | None, Query(description="of this kind")] = None,
    limit: Limit = 100,
    after: After = None,
) -> Any:
    """Jobs that verify installations or measure machines, newest first. For operators."""
    items, following = await platform.trials(actor, app=app, kind=kind, limit=limit, after=after)
    return {"items": items, "next": following}
