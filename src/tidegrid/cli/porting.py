"""porting: which application should run on which architecture next."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tidegrid.cli import context
from tidegrid.cli.context import Json
from tidegrid.domain.errors import InvalidInput

Item = Annotated[str, typer.Argument(metavar="ITEM", help="An item's id.", show_default=False)]
Effort = Annotated[float | None, typer.Option("--effort", help="Person-days.", metavar="DAYS", show_default=False)]
Note = Annotated[str | None, typer.Option("--note", help="What there is to know.", metavar="TEXT", show_default=False)]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="The porting board (operators).", no_args_is_help=True, rich_markup_mode=None)
    group.command("list")(board)
    group.command("add")(add)
    group.command("move")(move)
    group.command("show")(show_item)
    app.add_typer(group, name="porting")


def board(
    days: Annotated[int, typer.Option("--days", min=1, max=3660, help="Demand of so many days counts.", metavar="N")] = 90,
    json: Json = False,
) -> None:
    """Rank what should be ported: demand x gain / effort. Candidates are what nobody has put on the board yet."""
    with context.connected() as tide:
        found = tide.porting(days=days)
    if json:
        context.emit(found)
        return
    from tidegrid.cli import show

    show.table(
        ["", "ITEM", "APPLICATION", "ARCH", "STATE", "YUAN/DAY", "USED", "REFUSED", "GAIN", "SPEED", "DAYS", "FOR"],
        [
            [i["rank"] or "", i["id"] or "-", i["app"], i["arch"], show.state(i["state"]), _number(i["score"]),
             f"{i['used_core_hours']:.1f}", f"{i['refused_core_hours']:.1f}", _number(i["gain"], 4), _speed(i),
             f"{i['effort_days']:g}" + ("?" if i["effort_tier"] == "estimated" else ""),
             ", ".join(c["org"] for c in i["customers"][:3])]
            for i in found
        ],
        right=["YUAN/DAY", "USED", "REFUSED", "GAIN", "SPEED", "DAYS"],
        empty="nothing to port: every application that is asked for runs on every architecture there is",
    )  # fmt: skip
    if found:
        context.note("used, refused: core-hours; gain: yuan a core-hour that moves; ?: nobody has said, or no machine card")


def add(
    app: Annotated[str, typer.Argument(metavar="APP", help="An application's id.", show_default=False)],
    arch: Annotated[str, typer.Argument(metavar="ARCH", help="An architecture, as aarch64.", show_default=False)],
    effort: Effort = None,
    note: Note = None,
    json: Json = False,
) -> None:
    """Put an application and an architecture on the board."""
    if effort is None:
        raise InvalidInput("porting.effort", "how much work is it?", hint="--effort DAYS, in person-days")
    with context.connected() as tide:
        found = tide.add_porting(app, arch, effort, note=note or "")
    context.emit(found) if json else print(found["id"])


def move(
    item: Item,
    state: Annotated[str, typer.Argument(metavar="[STATE]", help="planned, installing, porting, testing, tuning, serving or dropped.", show_default=False)] = "",
    effort: Effort = None,
    note: Note = None,
    json: Json = False,
) -> None:
    """Change an item's stage, effort or note."""
    changes = {k: v for k, v in (("state", state or None), ("effort_days", effort), ("note", note)) if v is not None}
    if not changes:
        raise InvalidInput("porting.nothing", "nothing is to be changed", hint="give a stage, --effort or --note")
    with context.connected() as tide:
        found = tide.move_porting(item, **changes)
    context.emit(found) if json else print(f"{found['id']}: {found['app']} on {found['arch']}: {found['state']}")


def show_item(item: Item, json: Json = False) -> None:
    """Show an item, its demand by customer, and its history."""
    with context.connected() as tide:
        found = tide.porting_item(item)
    if json:
        context.emit(found)
        return
    from tidegrid.cli import show

    show.facts([
        ("item", found["id"]), ("application", found["app"]), ("architecture", found["arch"]), ("state", show.state(found["state"])),
        ("would run at", found["place"]), ("score", f"{_number(found['score'])} yuan a person-day"), ("speed of a core", _speed(found)),
        ("effort", f"{found['effort_days']:g} person-days"), ("note", found["note"]),
    ])  # fmt: skip
    show.heading("demand")
    show.table(["CUSTOMER", "CORE-HOURS"], [[c["org"], f"{c['core_hours']:.2f}"] for c in found["customers"]], right=["CORE-HOURS"], empty="none")
    show.heading("history")
    show.table(
        ["WHEN", "STATE", "BY", "DAYS", "NOTE"],
        [[show.moment(h["at"]), show.state(h["state"]), h["by"], f"{h['effort_days']:g}", h["note"]] for h in found["history"]],
        right=["DAYS"],
    )


def _number(value: Any, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _speed(i: dict[str, Any]) -> str:
    return "-" if i["speed"] is None else f"{i['speed']:.2f}" + ("?" if i["speed_tier"] == "estimated" else "")
