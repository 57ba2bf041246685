"""usage, balance, deposit."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tidegrid.cli import context
from tidegrid.cli.context import Json

Org = Annotated[str, typer.Option("--org", help="Of this organisation.", metavar="NAME", show_default=False)]


def register(app: typer.Typer) -> None:
    app.command()(usage)
    app.command()(balance)
    app.command()(deposit)


def usage(
    org: Org = "",
    job: Annotated[str, typer.Option("--job", help="Of this job only.", metavar="JOB", show_default=False)] = "",
    number: Annotated[int, typer.Option("--number", "-n", min=1, help="How many, newest first.", metavar="N")] = 50,
    check: Annotated[bool, typer.Option("--check", help="Recompute the books from the journal (operators).")] = False,
    json: Json = False,
) -> int:
    """Show what was used and charged. --check exits 1 where the books do not balance."""
    from itertools import islice

    from tidegrid.cli import show

    with context.connected() as tide:
        if check:
            report = tide.journal_check()
            context.emit(report) if json else show.tree(report)
            good = report.get("balanced", report.get("ok", True))
            return 0 if good else 1
        rows = list(islice(tide.usage(org=org or None, job=job or None, page=min(number, 500)), number))
    if json:
        context.emit(rows)
        return 0
    show.table(
        ["JOB", "TASK", "WHERE", "STARTED", "RAN", "CORES", "MEMORY", "CHARGED", "WITNESS"],
        [
            [r.get("job"), r.get("task"), f"{r.get('cluster')}/{r.get('partition')}", show.moment(r.get("started_at")),
             show.seconds((r.get("elapsed_ms") or 0) / 1000), r.get("cores"), f"{r.get('memory_mib')} MiB",
             show.money(r.get("charge")),
             f"{r.get('source') or ''}{' (estimated)' if r.get('estimated') else ''}"
             f"{' (reversed)' if r.get('reversed') else ''}"]
            for r in rows
        ],
        right=["TASK", "RAN", "CORES", "MEMORY", "CHARGED"],
        empty="no usage yet",
    )  # fmt: skip
    return 0


def balance(org: Org = "", json: Json = False) -> None:
    """Show what an organisation has, and how much of it is spoken for."""
    with context.connected() as tide:
        found = tide.balance(org or None)
    if json:
        context.emit(found)
        return
    _account(found)


def deposit(
    org: Annotated[str, typer.Argument(metavar="ORG", help="An organisation.", show_default=False)],
    amount: Annotated[str, typer.Argument(metavar="AMOUNT", help="Yuan: 100 or 99.95.", show_default=False)],
    key: Annotated[str, typer.Option("--key", help="Idempotency key: paying in twice with it pays in once.", metavar="KEY", show_default=False)] = "",
    json: Json = False,
) -> None:
    """Put money on a prepaid account (operators)."""
    from tidegrid.cli.signals import deferred
    from tidegrid.domain.money import format_amount, parse_amount

    exact = format_amount(parse_amount(amount))
    with context.connected() as tide, deferred():
        found = tide.deposit(org, exact, key=key or None)
    if json:
        context.emit(found)
        return
    _account(found)


def _account(found: dict[str, Any]) -> None:
    from tidegrid.cli import show

    currency = found.get("currency", "")
    show.facts([(k, v if k == "org" else f"{v} {currency}") for k, v in found.items() if k != "currency"])
