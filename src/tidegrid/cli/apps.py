"""apps: list, show, versions, lint, test, publish. Other verbs join `group`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tidegrid.cli import context, documents
from tidegrid.cli.context import Json
from tidegrid.cli.values import duration

group = typer.Typer(help="Applications.", invoke_without_command=True, rich_markup_mode=None)
App = Annotated[str, typer.Argument(metavar="APP", help="`id` or `id@version`.", show_default=False)]


def register(app: typer.Typer) -> None:
    app.add_typer(group, name="apps")


@group.callback()
def apps(ctx: typer.Context, json: Json = False) -> None:
    """Applications: without a verb, list them."""
    if ctx.invoked_subcommand is None:
        apps_list(json)


@group.command("list")
def apps_list(json: Json = False) -> None:
    """List applications."""
    with context.connected() as tide:
        found = tide.apps()
    if json:
        context.emit(found)
        return
    from tidegrid.cli import show

    show.table(
        ["APPLICATION", "VERSION", "TITLE", "SUMMARY"],
        [[a["id"], str(a.get("version", ""))[:12], _text(a.get("title")), _text(a.get("summary"))] for a in found],
        empty="no applications",
    )


@group.command("show")
def apps_show(app: App, json: Json = False) -> None:
    """Show an application and its parameters."""
    with context.connected() as tide:
        found = tide.app(app)
    if json:
        context.emit(found)
        return
    from tidegrid.cli import show

    resources = found.get("resources") or {}
    show.facts([
        ("application", f"{found['id']}@{found.get('version', '')}"), ("title", _text(found.get("title"))),
        ("summary", _text(found.get("summary"))),
        ("resources", "  ".join(f"{k}={v}" for k, v in resources.items() if v)),
        ("computed", "  ".join(f"{k} {v}" for k, v in (found.get("formulas") or {}).items())),
        ("inputs", ", ".join(map(str, found.get("inputs") or []))),
        ("outputs", ", ".join(map(str, found.get("outputs") or []))),
    ])  # fmt: skip
    schema = found.get("params") or {}
    required = set(schema.get("required") or ())
    if schema.get("properties"):
        show.heading("parameters")
    show.table(
        ["NAME", "TYPE", "DEFAULT", "LIMITS", "DESCRIPTION"],
        [
            [name, p.get("type"), "required" if name in required and "default" not in p else show.scalar(p.get("default")),
             _limits(p), p.get("description") or _text(p.get("title"))]
            for name, p in (schema.get("properties") or {}).items()
        ],
    )  # fmt: skip


@group.command("versions")
def versions(app: Annotated[str, typer.Argument(metavar="APP", help="An application's id.", show_default=False)], json: Json = False) -> None:
    """List every version of an application. Each can be run as `id@version`; publishing one again makes it current again."""
    with context.connected() as tide:
        found = tide.app_versions(app)
    if json:
        context.emit(found)
        return
    from tidegrid.cli import show

    show.table(
        ["VERSION", "CURRENT", "ADDED", "BY", "TITLE"],
        [[v["version"][:16], "current" if v.get("current") else "", show.moment(v.get("added_at")), v.get("by") or "",
          _text(v.get("title"))] for v in found],
    )  # fmt: skip


@group.command("lint")
def lint(
    files: Annotated[list[Path], typer.Argument(metavar="FILE|DIR…", help="Documents, or directories of them.", show_default=False)],
    strict: Annotated[bool, typer.Option("--strict", help="Notes count as problems.")] = False,
    json: Json = False,
) -> int:
    """Check application documents without a server: all problems at once, with line and path. Exit 2 where there are any."""
    looked = [documents.look(path) for path in documents.named(files)]
    bad = sum(bool(d.problems or (strict and d.notes)) for d in looked)
    if json:
        context.emit([d.view() for d in looked])
        return 2 if bad else 0
    for d in looked:
        for kind, found in (("error", d.problems), ("note", d.notes)):
            for p in found:
                print(f"{d.path}:{p.line}:{p.column}: {kind}: {p.path or 'document'}: {p.message}")
    context.note(f"{len(looked)} documents, {bad} with problems" if bad else f"{len(looked)} documents, all good")
    return 2 if bad else 0


@group.command("publish")
def publish(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An application document; the files it names stand beside it.", show_default=False)],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check it at the server, change nothing.")] = False,
    json: Json = False,
) -> None:
    """Publish an application (operators): kept for ever by its hash, and the current version from now on."""
    found = documents.look(file)
    found.require()
    with context.connected() as tide:
        done = tide.publish_app(found.text, found.contents(), dry_run=dry_run)
    if json:
        context.emit(done)
        return
    print(f"{done['id']}@{done['version']}")
    context.note("not published: --dry-run" if dry_run else "published" if done["new"] else "was there; it is current now")


@group.command("test")
def test(
    app: App,
    on: Annotated[str, typer.Option("--partition", "--on", help="Only there: CLUSTER or CLUSTER/PARTITION.", metavar="PLACE", show_default=False)] = "",
    only: Annotated[list[str] | None, typer.Option("--test", help="Only this test. Repeatable.", metavar="NAME", show_default=False)] = None,
    timeout: Annotated[str, typer.Option(help="Give a test up after: 90s, 10m.", metavar="TIME")] = "30m",
    json: Json = False,
) -> int:
    """Run an application's acceptance tests as jobs, and check their results. Exit 1 where one does not pass."""
    from tidegrid.cli import accepting

    limit = float(duration(timeout))
    with context.connected() as tide:
        application, tests = accepting.tests_of(tide, app, only or ())
        done = accepting.run(tide, application, tests, on, limit, seen=None if json else lambda o: context.note(o.line()))
    if json:
        context.emit([o.view() for o in done])
        return 0 if all(o.passed for o in done) else 1
    from tidegrid.cli import show

    show.table(
        ["TEST", "WHERE", "JOB", "STATE", "RAN", "RESULT", "PASS"],
        [[o.test, o.where, o.job, show.state(o.state), f"{o.seconds:.1f} s", o.result(), "yes" if o.passed else "NO"] for o in done],
        right=["RAN"],
    )
    for o in done:
        for problem in o.failed:
            show.line(problem, "bold red")
    return 0 if all(o.passed for o in done) else 1


def _limits(p: dict[str, Any]) -> str:
    if "enum" in p:
        return " | ".join(map(str, p["enum"]))
    low, high = p.get("minimum", p.get("exclusiveMinimum")), p.get("maximum", p.get("exclusiveMaximum"))
    return f"{'' if low is None else low}..{'' if high is None else high}" if (low, high) != (None, None) else ""


def _text(value: Any) -> str:
    """A text in one language or several."""
    return str(value.get("en") or next(iter(value.values()), "")) if isinstance(value, dict) else str(value or "")
