"""secret: the keys of the server on this machine. Local verbs: values never travel, and are never shown."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from tidegrid.cli import context
from tidegrid.cli.context import Json

Name = Annotated[str, typer.Argument(metavar="NAME", help="As the network file names it.", show_default=False)]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Keys of the server on this machine; never shown.", no_args_is_help=True, rich_markup_mode=None)
    group.command("put")(put)
    group.command("new")(new)
    group.command("list")(listed)
    group.command("remove")(remove)
    app.add_typer(group, name="secret")


def put(
    name: Name,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The private key; - reads standard input.", show_default=False)],
    replace: Annotated[bool, typer.Option("--replace", help="Put it in the place of the one there is.")] = False,
    json: Json = False,
) -> None:
    """Keep a private key under a name, readable by the server alone."""
    from tidegrid.launch import secrets

    text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8", errors="replace")
    found = secrets.put(context.home(), name, text, replace=replace)
    _say(found, json)


def new(name: Name, json: Json = False) -> None:
    """Make a key and show its public half, to be added to authorized_keys at the centre."""
    from tidegrid.launch import secrets

    _say(secrets.new(context.home(), name), json)


def listed(json: Json = False) -> None:
    """List secrets by name, keys with their fingerprints."""
    from tidegrid.launch import secrets

    found = secrets.listed(context.home())
    if json:
        context.emit([_view(s) for s in found])
        return
    from tidegrid.cli import show

    show.table(["NAME", "KIND", "FINGERPRINT"], [[s.name, s.kind, s.fingerprint] for s in found], empty="no secrets")


def remove(name: Name, json: Json = False) -> None:
    """Remove a secret. Clusters that name it cannot be reached from the next connection on."""
    from tidegrid.launch import secrets

    secrets.remove(context.home(), name)
    context.emit({"name": name, "removed": True}) if json else context.note(f"{name} is removed")


def _view(secret: object) -> dict[str, str]:
    import dataclasses

    return dataclasses.asdict(secret)  # type: ignore[call-overload,no-any-return]


def _say(secret: object, json: bool) -> None:
    view = _view(secret)
    if json:
        context.emit(view)
    elif view["public"]:
        print(view["public"])
    else:
        context.note(f"{view['name']}: {view['kind']}")
