"""Organisations that the network document names: made once, with their projects and opening balance."""

from __future__ import annotations

from contextlib import suppress

from sqlalchemy import Connection

from tidegrid import ledger
from tidegrid.catalog.network_model import Account, Network
from tidegrid.control.context import Context
from tidegrid.domain.errors import Conflict
from tidegrid.store import orgs


async def open_accounts(ctx: Context, network: Network | None) -> None:
    """What exists stays as it is; an opening balance is deposited once, whatever the document says later."""
    if network is None or not network.accounts:
        return

    def commit(conn: Connection) -> None:
        for account in network.accounts:
            _open(conn, ctx, account)

    await ctx.write(commit)


def _open(conn: Connection, ctx: Context, account: Account) -> None:
    at = ctx.now()
    org = orgs.get_org(conn, account.org)
    if org is None:
        orgs.create_org(conn, id=ctx.ids.new(), name=account.org, at=at)
        org = orgs.get_org(conn, account.org)
    assert org is not None
    for name in dict.fromkeys(("default", *account.projects)):
        if orgs.get_project(conn, org["id"], name) is None:
            orgs.create_project(conn, id=ctx.ids.new(), org_id=org["id"], name=name, at=at)
    if account.opening_balance:
        with suppress(Conflict):  # opened before, with another balance: that one stands
            ledger.deposit(conn, ctx.ids, at, org["id"], account.opening_balance, "opening", "opening balance")
