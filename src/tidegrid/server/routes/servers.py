"""The servers that share the network, and who of them does what."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from tidegrid.server.auth import Network, ReadsNetwork
from tidegrid.server.views import servers as views

router = APIRouter(tags=["network"])


@router.get("/servers", response_model=views.ServerList)
async def servers(platform: Network, actor: ReadsNetwork) -> Any:
    """Servers seen in the last day with the roles they hold, and roles that nobody holds. For operators."""
    return await platform.servers(actor)
