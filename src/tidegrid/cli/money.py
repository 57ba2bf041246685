"""usage, usage reconcile, balance, deposit."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tidegrid.cli import context
from tidegrid.cli.context import Json

Org = Annotated[str, typer.Option("--org", help="Of this organisation.", metavar="NAME", show_default=False)]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Use and charges.", invoke_without_command=True, rich_markup_mode=None)
    group.callback()(usage)
    group.command("reconcile")(reconcile)
    app.add_typer(group, name="usage")
    app.command()(balance)
    app.command()(deposit)


def usage(
    ctx: typer.Context,
    org: Org = "",
    job: Annotated[str, typer.Option("--job", help="Of this job only.", metavar="JOB", show_default=False)] = "",
    number: Annotated[int, typer.Option("--number", "-n", min=1, help="How many, newest first.", metavar="N")] = 50,
    corrections: Annotated[bool, typer.Option("--corrections", help="With what was reversed.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Recompute the books from the journal (operators).")] = False,
    json: Json = False,
) -> int:
    """Show what was used and charged. --check exits 1 where the books do not balance."""
    if ctx.invoked_subcommand is not None:
        return 0
    from itertools import islice

    from tidegrid.cli import show

    with context.connected() as tide:
        if check:
            report = tide.journal_check()
            context.emit(report) if json else show.tree(report)
            good = report.get("balanced", report.get("ok", True))
            return 0 if good else 1
        found = tide.usage(org=org or None, job=job or None, page=min(number, 500), corrections=corrections)
        rows = list(islice(found, number))
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
             f"{' (reversed)' if r.get('reversed') else ' (corrected)' if r.get('revision') else ''}"]
            for r in rows
        ],
        right=["TASK", "RAN", "CORES", "MEMORY", "CHARGED"],
        empty="no usage yet",
    )  # fmt: skip
    return 0


def reconcile(
    cluster: Annotated[str, typer.Argument(metavar="CLUSTER", help="A cluster's name.", show_default=False)],
    since: Annotated[str, typer.Option(help="Runs that ended from then on: 2026-11-01, 2026-11-01T08:00, or 7d ago.", metavar="TIME", show_default="24h")] = "",
    until: Annotated[str, typer.Option(help="And before then.", metavar="TIME", show_default="now")] = "",
    correct: Annotated[bool, typer.Option("--correct", help="First take accounting's word for what was metered without it; changes are reversals.")] = False,
    number: Annotated[int, typer.Option("--number", "-n", min=1, max=10_000, help="Differences shown at most.", metavar="N")] = 1000,
    json: Json = False,
) -> int:
    """Compare what was metered on a cluster with its centre's own accounting (operators). Exits 1 where differences remain
    that nobody can explain."""
    from tidegrid.cli import show
    from tidegrid.cli.values import point

    with context.connected() as tide:
        found = tide.usage_reconcile(cluster, since=point(since), until=point(until), limit=number, correct=correct)
    status = 1 if found["unexplained"] else 0
    if json:
        context.emit(found)
        return status
    show.table(
        ["CAUSE", "JOB", "TASK", "THERE", "METERED", "ACCOUNTED", "WHAT"],
        [
            [show.state(f"{d['cause']}") if d["explained"] else f"{d['cause']} !", d.get("job") or "", d["task"], d.get("native_id"),
             _side(d.get("metered")), _side(d.get("accounted")), d["text"]]
            for d in found["differences"]
        ],
        right=["TASK", "METERED", "ACCOUNTED"],
    )  # fmt: skip
    if found["left_off"]:
        context.note(f"and {found['left_off']} more: --number")
    show.facts([
        ("cluster", found["cluster"]),
        ("runs that ended", f"{show.moment(found['since'])} to {show.moment(found['until'])}"),
        ("compared", f"{found['runs']}, {found['matched']} of them without any difference"),
        ("metered", f"{found['metered_core_hours']} core-hours, {show.money(found['charged'])} charged"),
        ("accounted", f"{found['accounted_core_hours']} core-hours"),
        ("foreign", f"{found['foreign_core_hours']} core-hours on the same Unix account, not ours" if found["counts"].get("foreign") else ""),
        ("corrected", f"{found['corrected']} runs" if found["corrected"] else ""),
        ("differences", ", ".join(f"{n} {c}" for c, n in found["counts"].items()) or "none"),
        ("unexplained", str(found["unexplained"])),
    ])  # fmt: skip
    return status


def _side(found: dict[str, Any] | None) -> str:
    from tidegrid.cli import show

    if found is None:
        return "-"
    return f"{show.seconds(found['elapsed_ms'] / 1000)} x {'?' if found['cores'] is None else found['cores']}"


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
