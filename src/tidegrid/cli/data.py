"""upload, data, quota: what users bring."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tidegrid.cli import context, values
from tidegrid.cli.context import Json
from tidegrid.domain.errors import InvalidInput

if TYPE_CHECKING:
    from tidegrid.client import Tide

data = typer.Typer(help="Data sets: uploaded directories with a name.", no_args_is_help=True)
Project = Annotated[str, typer.Option("--project", help="The project it is counted to.", metavar="NAME", show_default=False)]


def register(app: typer.Typer) -> None:
    app.command()(upload)
    app.add_typer(data, name="data")
    app.command()(quota)


def upload(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH…", help="Files, or directories.")],
    name: Annotated[str, typer.Option("--name", help="Make the directory a data set of this name.", metavar="NAME", show_default=False)] = "",
    stay_in: Annotated[list[str] | None, typer.Option("--stay-in", help="Region that the data set must not leave. Repeatable.", metavar="REGION", show_default=False)] = None,
    project: Project = "",
    json: Json = False,
) -> None:
    """Bring files or directories to the platform. What broke off goes on where it stopped; what is there does not travel again."""
    if (name or stay_in) and (len(paths) != 1 or not paths[0].is_dir() or not name):
        raise InvalidInput("upload.name", "--name and --stay-in are for one directory", hint="tide upload DIR --name NAME")
    found: list[dict[str, Any]] = []
    with context.connected() as tide:
        for path in paths:
            with progress(str(path), json) as said:
                found.append(_one(tide, path, project, said))
        if name:
            found = [{**found[0], **tide.name_dataset(name, found[0]["sha256"], regions=stay_in or [])}]
    if json:
        context.emit(found)
        return
    for f in found:
        print(f"{f['sha256']}  {f.get('name') or f['path']}")
        if "files" in f:
            context.note(f"{f['files']:,} files, {f['bytes']:,} bytes; {f['sent_files']:,} files, {f['sent_bytes']:,} bytes travelled")


def _one(tide: Tide, path: Path, project: str, said: Callable[[int, int], None]) -> dict[str, Any]:
    if path.is_dir():
        done = tide.upload_directory(path, project=project, progress=said)
        return {"path": str(path), "sha256": done.sha256, "files": done.files, "bytes": done.bytes,
                "sent_files": done.sent_files, "sent_bytes": done.sent_bytes}  # fmt: skip
    return {"path": str(path), **tide.upload(path, project=project, progress=said)}


class progress:
    """A line that shows how far it is, where a person looks on."""

    def __init__(self, what: str, quiet: bool) -> None:
        self.what, self.lively = what, not quiet and sys.stderr.isatty()

    def __enter__(self) -> Callable[[int, int], None]:
        def said(there: int, of: int) -> None:
            if self.lively:
                sys.stderr.write(f"\r\x1b[K{self.what}  {there:,} of {of:,} bytes")
                sys.stderr.flush()

        return said

    def __exit__(self, *_: object) -> None:
        if self.lively:
            sys.stderr.write("\r\x1b[K")


@data.command("ls")
def data_list(json: Json = False) -> None:
    """Show the data sets of one's organisation."""
    from tidegrid.cli import show

    with context.connected() as tide:
        found = tide.datasets()
    if json:
        context.emit(found)
        return
    show.table(["NAME", "FILES", "BYTES", "STAYS IN", "SHA-256"],
               [[d["name"], f"{d['files']:,}", f"{d['bytes']:,}", ", ".join(d["regions"]) or "-", d["sha256"][:16]] for d in found],
               right=["FILES", "BYTES"], empty="no data sets")  # fmt: skip


@data.command("rm")
def data_remove(name: Annotated[str, typer.Argument(metavar="NAME")], json: Json = False) -> None:
    """Remove a data set, with what of its content no other has."""
    with context.connected() as tide:
        found = tide.remove_dataset(name)
    context.emit(found) if json else context.note(f"{name} is removed: {found['files']:,} contents, {found['bytes']:,} bytes")


def quota(
    org: Annotated[str, typer.Option("--org", help="An organisation, for operators.", metavar="NAME", show_default=False)] = "",
    project: Annotated[str, typer.Option("--project", help="With --set-…: of this project.", metavar="NAME", show_default=False)] = "",
    set_bytes: Annotated[str, typer.Option("--set-bytes", help="Set how much may be kept: 500G; `none`: no limit.", metavar="SIZE", show_default=False)] = "",
    set_files: Annotated[str, typer.Option("--set-files", help="Set how many files may be kept.", metavar="N", show_default=False)] = "",
    json: Json = False,
) -> None:
    """Show, or set, what an organisation and its projects may keep."""
    from tidegrid.cli import show

    with context.connected() as tide:
        found = tide.quota(org or None)
        if set_bytes or set_files:
            now = next((p for p in found["projects"] if p["project"] == project), {}) if project else found
            amounts = {"bytes": now.get("limit_bytes"), "files": now.get("limit_files")}
            if set_bytes:
                amounts["bytes"] = None if set_bytes == "none" else values.memory(set_bytes) << 20
            if set_files:
                amounts["files"] = None if set_files == "none" else _number(set_files)
            found = tide.set_quota(org=org or None, project=project, **amounts)
    if json:
        context.emit(found)
        return
    rows = [{**found, "project": f"({found['org']})"}, *found["projects"]]
    show.table(["PROJECT", "BYTES", "OF", "FILES", "OF", "ARRIVING"],
               [[r["project"], f"{r['bytes']:,}", _limit(r["limit_bytes"]), f"{r['files']:,}", _limit(r["limit_files"]),
                 f"{r['arriving_bytes']:,}"] for r in rows], right=["BYTES", "FILES", "ARRIVING"])  # fmt: skip


def _limit(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise InvalidInput("option.malformed", f"--set-files {text!r}: that is no number", hint="a number, or none")
    return int(text)
