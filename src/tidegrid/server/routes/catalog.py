"""Applications."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi import Path as PathParam

from tidegrid.domain.errors import InvalidInput
from tidegrid.server.auth import Network, ReadsCatalog, ReadsJobs, WritesCatalog
from tidegrid.server.bodies import ApplicationBody
from tidegrid.server.fields import AppName, Name
from tidegrid.server.views import catalog as views

router = APIRouter(tags=["applications"])


@router.get("/apps", response_model=views.AppList)
async def apps(platform: Network, actor: ReadsCatalog) -> Any:
    """What can be run."""
    return {"items": list(await platform.apps())}


@router.get("/apps/{app}", response_model=views.App)
async def app(
    app: Annotated[AppName, PathParam(description="`id` or `id@version`")], platform: Network, actor: ReadsCatalog
) -> Any:
    """One application with its parameters."""
    return await platform.app(app)


@router.get("/apps/{app}/versions", response_model=views.AppVersions)
async def versions(app: Annotated[Name, PathParam(description="an application's id")], platform: Network, actor: ReadsCatalog) -> Any:
    """Every version there ever was, the current one first. Each can be run as `id@version`."""
    return {"items": await platform.app_versions(actor, app)}


@router.post("/apps", response_model=views.Published)
async def publish(
    body: ApplicationBody,
    platform: Network,
    actor: WritesCatalog,
    dry_run: Annotated[bool, Query(description="check it and change nothing")] = False,
) -> Any:
    """Publish a document: kept for ever by its hash, and the current version from now on. For operators."""
    if "\x00" in body.document:
        raise InvalidInput("document.invalid", "the document is no text", hint="send the YAML file as it is")
    return await platform.app_publish(actor, body.document, body.contents(), dry_run)


@router.get("/accuracy", response_model=views.AccuracyList)
async def accuracy(
    platform: Network,
    actor: ReadsJobs,
    app: Annotated[AppName | None, Query(description="of this application only")] = None,
    last: Annotated[int, Query(ge=1, le=10_000, description="runs of each application that are looked at")] = 500,
) -> Any:
    """How good run times were predicted for one's own jobs that have ended; operators see those of all."""
    return {"items": await platform.accuracy(actor, app, last)}
