"""Usage and prepaid accounts."""

from __future__ import annotations

import secrets
from typing import Annotated, Any

from fastapi import APIRouter, Query

from tidegrid.domain.money import parse_amount
from tidegrid.server import views
from tidegrid.server.auth import Network, ReadsJournal, ReadsUsage, WritesMoney
from tidegrid.server.bodies import DepositBody
from tidegrid.server.fields import JobId
from tidegrid.server.params import After, IdempotencyKey, Limit, OfOrg

router = APIRouter(tags=["money"])


@router.get("/usage", response_model=views.UsagePage)
async def usage(
    platform: Network,
    actor: ReadsUsage,
    org: OfOrg = None,
    job: Annotated[JobId | None, Query(description="of this job only")] = None,
    limit: Limit = 100,
    after: After = None,
) -> Any:
    """Journalled use, newest first."""
    found = await platform.usage(actor, org=org, job_id=job, limit=limit, after=after)
    items, following = found if isinstance(found, tuple) else (found, None)
    return {"items": items, "next": following}


@router.get("/balance", response_model=views.Balance)
async def balance(platform: Network, actor: ReadsUsage, org: OfOrg = None) -> Any:
    """What an organisation has, what is held for running jobs and reserved for waiting ones, and what is left."""
    return await platform.balance(actor, org or actor.org)


@router.post("/deposits", status_code=201, response_model=views.Deposit)
async def deposit(body: DepositBody, platform: Network, actor: WritesMoney, key: IdempotencyKey = None) -> Any:
    """Put money on a prepaid account."""
    return await platform.deposit(actor, body.org, parse_amount(body.amount), key or secrets.token_hex(16))


@router.get("/journal/check", response_model=views.JournalCheck)
async def check(platform: Network, actor: ReadsJournal) -> Any:
    """Recompute every balance from the journal."""
    return await platform.journal_check(actor)
