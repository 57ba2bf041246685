"""network, cluster."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from tidegrid.cli import context, discovery
from tidegrid.cli.context import Json
from tidegrid.domain.errors import InvalidInput

Cluster = Annotated[str, typer.Argument(metavar="CLUSTER", help="A cluster's name.", show_default=False)]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="The network file.", no_args_is_help=True, rich_markup_mode=None)
    group.command("apply")(apply)
    group.command("show")(show_network)
    group.command("fairness")(fairness)
    app.add_typer(group, name="network")
    group = typer.Typer(help="Clusters in operation.", no_args_is_help=True, rich_markup_mode=None)
    group.command("list")(cluster_list)
    group.command("drain")(drain)
    group.command("resume")(resume)
    group.command("dead")(dead)
    discovery.register(group)
    app.add_typer(group, name="cluster")


def apply(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A network file; - reads standard input.", show_default=False)],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the difference, change nothing.")] = False,
    json: Json = False,
) -> None:
    """Apply a network file. Applying it again changes nothing."""
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InvalidInput("network.text", f"{file} is no UTF-8 text", hint="give a network file in YAML") from None
    with context.connected() as tide:
        found = tide.apply_network(text, dry_run=dry_run)
    if json:
        context.emit(found)
        return
    from tidegrid.cli import show

    changes = found.get("changes") or []
    for change in changes:
        text = change if isinstance(change, str) else str(change.get("text") or change)
        show.line(text, {"+": "green", "-": "red", "~": "yellow"}.get(text[:1], ""))
    context.note(("nothing changes" if dry_run else "nothing changed") if not changes
                 else "not applied: --dry-run" if dry_run else "applied")  # fmt: skip


def show_network(json: Json = False) -> None:
    """Show the network document in force (operators)."""
    with context.connected() as tide:
        found = tide.network()
    if json:
        context.emit(found)
    elif isinstance(found.get("source"), str) and found["source"]:
        sys.stdout.write(found["source"].rstrip("\n") + "\n")
    else:
        from tidegrid.cli import show

        show.tree(found)


def fairness(json: Json = False) -> None:
    """Show which sites take guests, and what their own users gained by the network (operators)."""
    with context.connected() as tide:
        found = tide.fairness()
    if json:
        context.emit({"items": found})
        return
    from tidegrid.cli import show

    if not found:
        context.note("no site promises its own users anything: `home_of` and `fair` of a site in the network file do")
        return
    show.table(
        ["SITE", "HOME OF", "MAY NOT LOSE", "JOBS", "WAITED", "ALONE", "GAINED", "GUESTS"],
        [[f["site"], ", ".join(f["home_of"]), "waits" if f["fair"] == "wait" else "waits and slowdowns", f["jobs"],
          *(show.seconds(f[k]) if f[k] >= 0 else "-" + show.seconds(-f[k]) for k in ("waited_s", "alone_s", "gained_s")),
          "taken" if f["takes_guests"] else "not now"] for f in found],
        right=["JOBS", "WAITED", "ALONE", "GAINED"],
    )  # fmt: skip


def cluster_list(json: Json = False) -> None:
    """List clusters, their health and what is free."""
    with context.connected() as tide:
        found = tide.clusters()
    if json:
        context.emit(found)
        return
    from tidegrid.cli import show

    with_cost = any("cost_core_hour" in p for c in found for p in c.get("partitions") or ())
    show.table(
        ["CLUSTER", "REGION", "HEALTH", "PARTITION", "ARCH", "SUPPLY", "NODES", "CORES", "FREE", "RUNNING", "WAITING",
         "CORE-HOUR", *(["COST"] if with_cost else []), "LAST ANSWER"],
        [row for cluster in found for row in _rows(cluster, with_cost)],
        right=["NODES", "CORES", "FREE", "RUNNING", "WAITING", "CORE-HOUR", "COST"],
        empty="no clusters; `tide network apply network.yaml` makes them known",
    )  # fmt: skip


def _rows(c: dict[str, Any], with_cost: bool) -> list[list[Any]]:
    from tidegrid.cli import show

    health = show.state(f"{c.get('health', '')}")
    if c.get("drained"):
        health = health + show.state(", drained")
    out: list[list[Any]] = []
    for n, p in enumerate(c.get("partitions") or [{}]):
        cores = p.get("cores") or (p.get("cores_per_node") or 0) * (p.get("nodes") or 0)
        out.append([
            *((c.get("name"), c.get("region"), health) if n == 0 else ("", "", "")),
            p.get("name"), p.get("arch"), str(p.get("supply") or "").replace("_", "-"), p.get("nodes"), cores,
            *(show.scalar(p.get(k)) for k in ("cores_free", "running", "waiting")), p.get("core_hour"),
            *([p.get("cost_core_hour")] if with_cost else []), show.moment(c.get("last_answer_at")) if n == 0 else "",
        ])  # fmt: skip
    return out


def drain(cluster: Cluster, json: Json = False) -> None:
    """Send nothing new there."""
    _command(cluster, "drain", json)


def resume(cluster: Cluster, json: Json = False) -> None:
    """End a drain, or take back a word of death."""
    _command(cluster, "resume", json)


def dead(
    cluster: Cluster,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Declare that a cluster will not come back: what ran there is lost or started again elsewhere."""
    if not yes:
        if json or not sys.stdin.isatty():
            raise InvalidInput("confirm.missing", f"declaring {cluster} dead loses what runs there", hint="say --yes")
        typer.confirm(f"What runs on {cluster} and cannot restart will be lost. Declare it dead?", abort=True)
    _command(cluster, "dead", json)


def _command(cluster: str, what: str, json: bool) -> None:
    with context.connected() as tide:
        found = tide.cluster_command(cluster, what)
    context.emit(found) if json else print(f"{cluster}: {what} done")
