"""Decisions of placement, made again."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import AwareDatetime

from tidegrid.server import views
from tidegrid.server.auth import Network, ReadsNetwork
from tidegrid.server.fields import micros

router = APIRouter(tags=["network"])


@router.get("/decisions/replay", response_model=views.Replay)
async def replay(
    platform: Network,
    actor: ReadsNetwork,
    since: Annotated[AwareDatetime, Query(description="calls of then or later")],
    limit: Annotated[int, Query(ge=1, le=10_000, description="calls at most, oldest first")] = 1000,
) -> Any:
    """Decide again what was decided live, from the picture and the requests that were kept, and compare byte for byte. For
    operators."""
    return await platform.replay(actor, since=micros(since) or 0, limit=limit)
