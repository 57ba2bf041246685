"""Whether the server answers; the only route without a token."""

from __future__ import annotations

from fastapi import APIRouter

from tidegrid import __version__
from tidegrid.server.auth import Anyone
from tidegrid.server.views import health as views

router = APIRouter(tags=["server"])


@router.get("/health", response_model=views.Health)
async def health() -> dict[str, str]:
    """The server answers."""
    return {"status": "ok", "version": __version__}


@router.get("/me", response_model=views.Me)
async def me(actor: Anyone) -> dict[str, object]:
    """Whose token this is, and what it may do."""
    return {
        "org": actor.org,
        "user": actor.user,
        "role": str(actor.role),
        "permissions": sorted(p.value for p in actor.permissions),
    }
