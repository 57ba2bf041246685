"""Applications."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from fastapi import Path as PathParam

from tidegrid.server import views
from tidegrid.server.auth import Network, ReadsCatalog
from tidegrid.server.fields import AppName

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
