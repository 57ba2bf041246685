"""apps installed, install-state, verify, history: where applications run."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tidegrid.cli import context
from tidegrid.cli.apps import App, group
from tidegrid.cli.context import Json
from tidegrid.cli.values import duration

OneApp = Annotated[str, typer.Argument(metavar="[APP]", help="`id` or `id@version`; all where left out.", show_default=False)]
At = Annotated[str, typer.Argument(metavar="CLUSTER/PARTITION", help="A partition.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Its verbs are in the group `apps`, which `apps` registers."""


@group.command("installed")
def installed(
    app: OneApp = "",
    partition: Annotated[str, typer.Option("--partition", help="At this cluster or partition only.", metavar="PLACE", show_default=False)] = "",
    state: Annotated[str, typer.Option("--state", help="In this state only.", metavar="STATE", show_default=False)] = "",
    json: Json = False,
) -> None:
    """Show where applications are installed, verified and how fast."""
    with context.connected() as tide:
        found = tide.installations(app=app or None, partition=partition or None, state=state or None)
    if json:
        context.emit(found)
        return
    from tidegrid.cli import show

    show.table(
        ["APPLICATION", "VERSION", "WHERE", "ARCH", "STATE", "INVOKED AS", "SPEED", "N", "REMARK"],
        [
            [i["app"], i["version"][:12], i["partition"], i["arch"], show.state(i["state"]), i["invoked"], speed(i.get("speed")),
             (i.get("speed") or {}).get("n", ""), i.get("reason") or i.get("remark") or ""]
            for i in found
        ],
        right=["SPEED", "N"],
        empty="nothing is installed",
    )  # fmt: skip


def speed(found: dict[str, Any] | None) -> str:
    """`1.25 ±2%`: relative where there is something to relate to, else seconds of the test."""
    if not found:
        return "-"
    spread = f" ±{100 * found['spread']:.0f}%" if found.get("spread") is not None else ""
    return (f"{found['relative']:.2f}" if found.get("relative") is not None else f"{found['seconds']:.1f} s") + spread


@group.command("install-state")
def install_state(
    app: App,
    place: At,
    state: Annotated[str, typer.Argument(metavar="STATE", help="wanted, installed, tuned or withdrawn.", show_default=False)],
    reason: Annotated[str, typer.Option("--reason", help="Why.", metavar="TEXT", show_default=False)] = "",
    json: Json = False,
) -> None:
    """Record what is known of an installation (operators). Verified and failed are what `verify` finds."""
    with context.connected() as tide:
        found = tide.set_installation(app, place, state, reason=reason)
    context.emit(found) if json else print(f"{found['app']} at {found['partition']}: {found['state']}")


@group.command("verify")
def verify(
    app: App,
    partition: Annotated[list[str] | None, typer.Option("--partition", help="Cluster or partition; may be repeated. Default: wherever it is.", metavar="PLACE", show_default=False)] = None,
    test: Annotated[list[str] | None, typer.Option("--test", help="Name of a test; may be repeated. Default: all.", metavar="NAME", show_default=False)] = None,
    runs: Annotated[int, typer.Option("--runs", min=1, max=50, help="Of each test, for a speed with a spread.", metavar="N")] = 1,
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait for the ends.")] = False,
    timeout: Annotated[str, typer.Option("--timeout", help="Give up waiting after this time.", metavar="TIME")] = "1h",
    json: Json = False,
) -> int:
    """Run acceptance tests as jobs where the application is installed, and set its state there (operators). Exit 1 where one fails."""
    limit = duration(timeout)
    with context.connected() as tide:
        begun = tide.verify(app, partitions=partition or (), tests=test or (), runs=runs)
        if detach:
            context.emit(begun) if json else print("\n".join(f"{t['partition']}: {t['test']}: {t['job']}" for t in begun))
            return 0
        done = tide.wait_trials(begun, timeout=limit, seen=None if json else _line)
        states = tide.installations(app=app)
    places = {t["partition"] for t in done}
    after = [i for i in states if i["partition"] in places]
    if json:
        context.emit({"trials": done, "installations": after})
    else:
        from tidegrid.cli import show

        rows = [[i["partition"], show.state(i["state"]), speed(i.get("speed")), (i.get("speed") or {}).get("n", ""), i.get("reason") or i.get("remark") or ""] for i in after]
        show.table(["WHERE", "STATE", "SPEED", "N", "REMARK"], rows, right=["SPEED", "N"])
    return 0 if all(t["state"] == "passed" for t in done) else 1


def _line(t: dict[str, Any]) -> None:
    took = "" if t.get("seconds") is None else f" in {t['seconds']:.2f} s"
    why = "".join(f"\n    {w}" for w in t.get("failed") or ())
    context.note(f"{t['partition']}: {t['test']}: {t['state']}{took} ({t['job']}){why}")


@group.command("history")
def history(app: App, place: At, json: Json = False) -> None:
    """Show what was said of an application at a partition, newest first."""
    with context.connected() as tide:
        found = list(tide.installation_history(app, place))
    if json:
        context.emit(found)
        return
    from tidegrid.cli import show

    show.table(
        ["WHEN", "VERSION", "STATE", "BY", "REASON"],
        [[show.moment(e["at"]), e["version"][:12], show.state(e["state"]), e.get("by") or "", e.get("reason") or ""] for e in found],
        empty="nothing was said of it",
    )
