"""Unix accounts at centres, and whose each is when."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi import Path as PathParam

from tidegrid.server.auth import Network, ReadsSites, WritesSites
from tidegrid.server.bodies import BindingBody, SiteAccountBody
from tidegrid.server.fields import Name, SiteAccountId, micros
from tidegrid.server.views import site_accounts as views

router = APIRouter(tags=["accounts at centres"])
Account = Annotated[SiteAccountId, PathParam(description="an account's id")]


@router.get("/site-accounts", response_model=views.SiteAccountList)
async def accounts(
    platform: Network,
    actor: ReadsSites,
    cluster: Annotated[Name | None, Query(description="at this cluster only")] = None,
    retired: Annotated[bool, Query(description="with those that are not used any more")] = False,
) -> Any:
    """Accounts one sees: operators all; a provider (whose organisation bears its name in the network file) those at its centres,
    without whose they are."""
    return {"items": await platform.site_accounts(actor, cluster=cluster, retired=retired)}


@router.post("/site-accounts", status_code=201, response_model=views.SiteAccount)
async def add(body: SiteAccountBody, platform: Network, actor: WritesSites) -> Any:
    """Add an account. The server logs in with it first: never root, with a root of its own."""
    return await platform.site_account_add(actor, body.model_dump())


@router.get("/site-accounts/{account}/bindings", response_model=views.BindingList)
async def bindings(account: Account, platform: Network, actor: WritesSites) -> Any:
    """Whose it was when, oldest first."""
    return {"items": await platform.site_account_bindings(actor, account)}


@router.post("/site-accounts/{account}/bindings", status_code=201, response_model=views.SiteAccount)
async def bind(account: Account, body: BindingBody, platform: Network, actor: WritesSites) -> Any:
    """From now on it is this customer's, who runs at that cluster under no other."""
    return await platform.site_account_bind(actor, account, body.org, body.project, micros(body.until))


@router.post("/site-accounts/{account}/release", response_model=views.SiteAccount)
async def release(account: Account, platform: Network, actor: WritesSites) -> Any:
    """End the binding and remove what lies in the account's root. Refused while jobs run there or outputs are not home."""
    return await platform.site_account_release(actor, account)


@router.post("/site-accounts/{account}/retire", response_model=views.SiteAccount)
async def retire(account: Account, platform: Network, actor: WritesSites) -> Any:
    """Use it no more. Whose it was stays known."""
    return await platform.site_account_retire(actor, account)
