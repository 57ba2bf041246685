"""site-account: Unix accounts at centres."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tidegrid.cli import context
from tidegrid.cli.context import Json
from tidegrid.domain.errors import NotFound

if TYPE_CHECKING:
    from tidegrid.client import Tide

Account = Annotated[str, typer.Argument(metavar="ACCOUNT", help="CLUSTER/USER, or its id: acct-…", show_default=False)]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Unix accounts at centres.", no_args_is_help=True, rich_markup_mode=None)
    verbs: dict[str, Callable[..., None]] = {"list": list_, "add": add, "bind": bind, "unbind": unbind, "history": history, "retire": retire}
    for verb, function in verbs.items():
        group.command(verb)(function)
    app.add_typer(group, name="site-account")


def _id(tide: Tide, text: str) -> str:
    cluster, slash, user = text.partition("/")
    if not slash:
        return text
    for row in tide.site_accounts(cluster=cluster, retired=True):
        if row["user"] == user:
            return str(row["id"])
    raise NotFound("site_account.unknown", f"{cluster} has no account {user}", hint="`tide site-account list`")


def list_(
    cluster: Annotated[str, typer.Option("--cluster", help="At this cluster only.", metavar="CLUSTER", show_default=False)] = "",
    retired: Annotated[bool, typer.Option("--retired", help="With those that are not used any more.")] = False,
    json: Json = False,
) -> None:
    """List accounts at centres, and whose they are (operators; providers see those at their own centres)."""
    from tidegrid.cli import show

    with context.connected() as tide:
        rows = tide.site_accounts(cluster=cluster or None, retired=retired)
    if json:
        context.emit(rows)
        return
    show.table(
        ["ACCOUNT", "KIND", "STATE", "CUSTOMER", "UNTIL", "LIVE", "ROOT", "TROUBLE"],
        [
            [f"{r['cluster']}/{r['user']}", r["kind"], r["state"], _customer(r.get("binding")),
             show.moment((r.get("binding") or {}).get("valid_until")), r["live_attempts"], r["root"], r["trouble"]]
            for r in rows
        ],
        right=["LIVE"],
        empty="no accounts but the clusters' own",
    )  # fmt: skip


def _customer(b: dict[str, Any] | None) -> str:
    return "" if not b else f"{b['org']}/{b['project']}" if b.get("project") else str(b["org"])


def add(
    cluster: Annotated[str, typer.Argument(metavar="CLUSTER", help="A cluster's name.", show_default=False)],
    user: Annotated[str, typer.Argument(metavar="USER", help="The Unix account there; never root.", show_default=False)],
    identity: Annotated[str, typer.Option("--identity", help="Name of the server's secret that holds its private key.", metavar="NAME", show_default=False)],
    root: Annotated[str, typer.Option("--root", help="Its own directory for jobs, seen by the compute nodes.", metavar="DIR", show_default=False)],
    account: Annotated[str, typer.Option("--account", help="Slurm's account.", metavar="NAME", show_default=False)] = "",
    qos: Annotated[str, typer.Option("--qos", help="Slurm's QOS.", metavar="NAME", show_default=False)] = "",
    dedicated: Annotated[bool, typer.Option("--dedicated", help="For one customer for ever, not of the pool.")] = False,
    json: Json = False,
) -> None:
    """Add an account at a centre (operators). The server logs in with it first."""
    with context.connected() as tide:
        made = tide.add_site_account(cluster, user, identity=identity, root=root, account=account, qos=qos,
                                     kind="dedicated" if dedicated else "pool")  # fmt: skip
    _say(made, json)


def bind(
    account: Account,
    org: Annotated[str, typer.Argument(metavar="ORG", help="An organisation.", show_default=False)],
    project: Annotated[str, typer.Option("--project", help="Of this project only.", metavar="NAME", show_default=False)] = "",
    until: Annotated[str, typer.Option("--until", help="Until then: 2027-01-01, or for so long: 90d. By default until it is released.", metavar="TIME", show_default=False)] = "",
    json: Json = False,
) -> None:
    """Give an account to a customer, from now on (operators). What an earlier one left is removed first."""
    from tidegrid.cli.values import ahead

    with context.connected() as tide:
        _say(tide.bind_site_account(_id(tide, account), org, project=project or None, until=ahead(until)), json)


def unbind(account: Account, json: Json = False) -> None:
    """Release an account and remove the customer's files there (operators). Refused while jobs run or outputs are not home."""
    with context.connected() as tide:
        _say(tide.release_site_account(_id(tide, account)), json)


def retire(account: Account, json: Json = False) -> None:
    """Use an account no more (operators). Whose it was stays known."""
    with context.connected() as tide:
        _say(tide.retire_site_account(_id(tide, account)), json)


def history(account: Account, json: Json = False) -> None:
    """Show whose an account was when (operators)."""
    from tidegrid.cli import show

    with context.connected() as tide:
        rows = tide.site_account_bindings(_id(tide, account))
    if json:
        context.emit(rows)
        return
    show.table(
        ["CUSTOMER", "FROM", "UNTIL", "BOUND BY", "RELEASED BY"],
        [[_customer(r), show.moment(r["valid_from"]), show.moment(r["valid_until"]), r["bound_by"], r["released_by"] or ""] for r in rows],
        empty="it was nobody's yet",
    )  # fmt: skip


def _say(view: dict[str, Any], json: bool) -> None:
    if json:
        context.emit(view)
        return
    whose = _customer(view.get("binding"))
    print(f"{view['cluster']}/{view['user']} {view['state']}" + (f" to {whose}" if whose else ""))
