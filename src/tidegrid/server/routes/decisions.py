"""Decisions of placement, made again."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from tidegrid.server.auth import Network, ReadsNetwork
from tidegrid.server.views import decisions as views

router = APIRouter(tags=["network"])


@router.get("/decisions/replay", response_model=views.Replay)
async def replay(
    platform: Network,
    actor: ReadsNetwork,
    hours: Annotated[float, Query(gt=0, le=24 * 366, description="calls of the last hours")] = 24.0,
    limit: Annotated[int, Query(ge=1, le=10_000, description="calls at most, oldest first")] = 1000,
) -> Any:
    """Decide again what was decided live, from the picture and the requests that were kept, and compare byte for byte. For
    operators."""
    return await platform.replay(actor, hours=hours, limit=limit)
