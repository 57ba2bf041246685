"""steer: the queue of a Slurm cluster put into the product's order."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tidegrid.cli import context
from tidegrid.cli.context import Json


def register(app: typer.Typer) -> None:
    app.command("steer")(steer)


def steer(
    cluster: Annotated[str, typer.Argument(help="The cluster's name.", metavar="CLUSTER")],
    on: Annotated[bool, typer.Option("--on", help="Steer it from now on.")] = False,
    off: Annotated[bool, typer.Option("--off", help="Stop, and give every waiting job its own nice back at once.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the order and the nice values; change nothing.")] = False,
    partition: Annotated[
        list[str] | None, typer.Option("--partition", help="Of these partitions only [all].", metavar="NAME", show_default=False)
    ] = None,
    policy: Annotated[str, typer.Option("--policy", help="Whose order.", metavar="NAME")] = "default",
    bound: Annotated[int, typer.Option("--bound", help="No nice further from a job's own than this.", min=1)] = 1_000_000,
    json: Json = False,
) -> None:
    """Put the queue of a Slurm cluster into the product's order by the nice values of its waiting jobs (operators).

    Without an option: whether it is steered. The account at the site must be an operator of its Slurm.
    """
    if on + off + dry_run > 1:
        raise typer.BadParameter("one of --on, --off and --dry-run")
    with context.connected() as tide:
        if dry_run:
            found = [tide.steering_preview(cluster, partition=p, policy=policy, bound=bound) for p in (partition or [""])]
            if json:
                context.emit(found)
            else:
                _preview(found)
            return
        state = (
            tide.steer(cluster, "on" if on else "off", partitions=partition or (), policy=policy, bound=bound)
            if on or off
            else tide.steering(cluster)
        )
    if json:
        context.emit(state)
        return
    typer.echo(f"{cluster} is {'steered by ' + state['policy'] if state['mode'] == 'on' else 'not steered'}"
               + (f": {state['why']}" if state.get("why") else ""))  # fmt: skip
    from tidegrid.cli import show

    if state.get("last"):
        show.table(
            ["PARTITION", "AT", "WAITING", "CHANGED", "FIRST", "TROUBLE"],
            [[p, show.moment(s.get("at")), s.get("waiting"), s.get("changed"), " ".join((s.get("first") or [])[:3]), s.get("error") or ""]
             for p, s in state["last"].items()],
            right=["WAITING", "CHANGED"],
        )  # fmt: skip


def _preview(found: list[dict[str, Any]]) -> None:
    from tidegrid.cli import show

    for one in found:
        typer.echo(f"{one['cluster']}/{one['partition']} by {one['policy']}: {one['waiting']} wait, {one['changes']} nice values would change")
        show.table(
            ["JOB", "USER", "CORES", "LIMIT", "WAITED", "NICE", "TO"],
            [[j["id"], j["user"], j["cores"], f"{j['limit_s']} s", f"{j['waited_s']} s", j["nice"], j["to"]] for j in one["order"]],
            right=["CORES", "LIMIT", "WAITED", "NICE", "TO"],
            empty="nobody waits",
        )
