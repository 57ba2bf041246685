"""Usage and prepaid accounts."""

from __future__ import annotations

import secrets
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import AwareDatetime

from tidegrid.domain.money import parse_amount
from tidegrid.server.auth import Network, ReadsJournal, ReadsUsage, WritesMoney
from tidegrid.server.bodies import DepositBody
from tidegrid.server.fields import JobId, micros
from tidegrid.server.params import After, ClusterName, IdempotencyKey, Limit, OfOrg
from tidegrid.server.views import money as views

router = APIRouter(tags=["money"])
Moment = Annotated[AwareDatetime | None, Query(description="on the site's clock; by default the last day")]
Differences = Annotated[int, Query(ge=1, le=10_000, description="differences shown at most")]


@router.get("/usage", response_model=views.UsagePage)
async def usage(
    platform: Network,
    actor: ReadsUsage,
    org: OfOrg = None,
    job: Annotated[JobId | None, Query(description="of this job only")] = None,
    limit: Limit = 100,
    after: After = None,
    corrections: Annotated[bool, Query(description="with the revisions that were reversed")] = False,
) -> Any:
    """Journalled use, newest first."""
    found = await platform.usage(actor, org=org, job_id=job, limit=limit, after=after, corrections=corrections)
    items, following = found if isinstance(found, tuple) else (found, None)
    return {"items": items, "next": following}


@router.get("/usage/reconciliation/{cluster}", response_model=views.Reconciliation)
async def reconcile(
    cluster: ClusterName,
    platform: Network,
    actor: ReadsJournal,
    since: Moment = None,
    until: Moment = None,
    limit: Differences = 1000,
) -> Any:
    """What was metered on a cluster against its centre's own accounting, run by run, with the cause of each difference."""
    return await platform.usage_reconcile(actor, cluster, since=micros(since), until=micros(until), limit=limit)


@router.post("/usage/reconciliation/{cluster}", response_model=views.Reconciliation)
async def correct(
    cluster: ClusterName,
    platform: Network,
    actor: WritesMoney,
    since: Moment = None,
    until: Moment = None,
    limit: Differences = 1000,
) -> Any:
    """The same, after taking accounting's word for what was metered without it. Corrections are reversals: nothing that was
    booked is changed."""
    found = await platform.usage_reconcile(
        actor, cluster, since=micros(since), until=micros(until), limit=limit, correct=True
    )
    return found


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
