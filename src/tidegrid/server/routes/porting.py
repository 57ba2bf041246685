"""The porting board: which application should run on which architecture next. For operators."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi import Path as PathParam

from tidegrid.server.auth import Network, ReadsNetwork, WritesNetwork
from tidegrid.server.bodies import PortingBody, PortingMoveBody
from tidegrid.server.fields import PortingId
from tidegrid.server.views import porting as views

router = APIRouter(tags=["porting"])
Item = Annotated[PortingId, PathParam(description="an item of the board")]
Days = Annotated[int, Query(ge=1, le=3660, description="of demand that count, up to now")]


@router.get("/porting", response_model=views.PortingList)
async def board(platform: Network, actor: ReadsNetwork, days: Days = 90) -> Any:
    """Items and candidates, highest score first: demand x gain / effort. What serves or was dropped comes last."""
    return {"items": await platform.porting(actor, days=days)}


@router.post("/porting", status_code=201, response_model=views.PortingDetails)
async def add(body: PortingBody, platform: Network, actor: WritesNetwork) -> Any:
    """Put an application and an architecture on the board, as planned."""
    return await platform.porting_add(actor, body.app, body.arch, body.effort_days, body.note)


@router.get("/porting/{item}", response_model=views.PortingDetails)
async def item(item: Item, platform: Network, actor: ReadsNetwork, days: Days = 90) -> Any:
    """One item with its history, oldest first."""
    return await platform.porting_item(actor, item, days=days)


@router.post("/porting/{item}/move", response_model=views.PortingDetails)
async def move(item: Item, body: PortingMoveBody, platform: Network, actor: WritesNetwork) -> Any:
    """Change its stage, effort or note. What it was stays in its history."""
    return await platform.porting_move(actor, item, state=body.state, effort_days=body.effort_days, note=body.note)
