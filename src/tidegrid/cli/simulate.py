"""simulate: logs of jobs through a policy of the queue. No server is asked."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from tidegrid.cli.context import Json

_WINDOW = re.compile(r"^(\d+):(\d+)$")
_BOTH = ("mean_wait", "mean_bounded_slowdown", "max_wait")
_SHOWN = ("jobs", "mean_wait", "p95_wait", "max_wait", "mean_bounded_slowdown", "p95_bounded_slowdown", "utilisation", "seconds")


def register(app: typer.Typer) -> None:
    app.command()(simulate)


def simulate(
    log: Annotated[list[Path], typer.Argument(metavar="LOG...", help="Logs, as `tide trace info` reads them.", show_default=False)],
    policy: Annotated[str, typer.Option("--policy", "-p", help="Of the queue: default, easy, fcfs, conservative, sjf, saf, wfp3, f1 to f4 ...", metavar="NAME")] = "default",
    clairvoyant: Annotated[bool, typer.Option("--clairvoyant", help="It knows run times beforehand.")] = False,
    processors: Annotated[list[int] | None, typer.Option("--processors", min=1, help="One a log, in order [the headers'].", metavar="N", show_default=False)] = None,
    kill: Annotated[bool, typer.Option("--kill/--no-kill", help="Jobs end at their estimates.")] = True,
    network: Annotated[str, typer.Option("--network", help="The logs are the sites of one network, and its broker decides as this platform does live: tide, or by a job's objective balanced (the same), cheapest, fastest, deadline, budget, patient; fair to sites: tide-fair, tide-fair-slowdown; to compare with: home, earliest, least-work, two-choices.", metavar="POLICY", show_default=False)] = "",
    days: Annotated[int | None, typer.Option("--days", min=1, help="With --network: only so many days of each log.", metavar="N", show_default=False)] = None,
    price: Annotated[list[float] | None, typer.Option("--price", help="With --network: what a core-hour is sold for at each site, one a log, in order [0].", metavar="YUAN", show_default=False)] = None,
    cost: Annotated[list[float] | None, typer.Option("--cost", help="With --network: what a core-hour costs the operator at the margin [0].", metavar="YUAN", show_default=False)] = None,
    slack: Annotated[float | None, typer.Option("--slack", help="With --network: every job has a deadline, so many times its estimate after it came.", metavar="TIMES", show_default=False)] = None,
    data: Annotated[list[float] | None, typer.Option("--data", help="With --network: input data of every job at its home, one a log [0].", metavar="GB", show_default=False)] = None,
    bandwidth: Annotated[float | None, typer.Option("--bandwidth", help="With --network: between any two sites [100].", metavar="MB/S", show_default=False)] = None,
    latency: Annotated[float | None, typer.Option("--latency", help="With --network: seconds before a job can begin away from home [0].", metavar="S", show_default=False)] = None,
    outage: Annotated[list[str] | None, typer.Option("--outage", help="With --network: the site of the log with this number, from 1, is down from that day on for so many hours: 2:30:12. Repeatable.", metavar="SITE:DAY:HOURS", show_default=False)] = None,
    window: Annotated[list[str] | None, typer.Option("--window", help="Only JOBS jobs from the FIRST on, from an empty machine. Repeatable: means over all.", metavar="FIRST:JOBS", show_default=False)] = None,
    repair: Annotated[bool, typer.Option("--repair", help="Mend logs that are not right instead of refusing them.")] = False,
    json: Json = False,
) -> None:
    """Simulate logs, each on its own machine: waits, bounded slowdowns, utilisation. --json: an object a line and log.

    With --network one object for the network, its sites each with the figures of their own jobs alone and in the network."""
    from tidegrid.cli import context, show
    from tidegrid.domain.errors import InvalidInput
    from tidegrid.lab import networking, replaying, simulating

    how = replaying.policy(policy, knowing=clairvoyant)
    given = processors or []
    if len(given) > len(log):
        raise InvalidInput("simulate.processors", f"--processors is given {len(given)} times for {len(log)} logs", hint="give it once a log, in their order")
    windows = [_window(text) for text in window or ()]
    with context.noted_after(3.0, "compiling the simulator: once, under a minute; the machine code is kept beside the program"):
        compiled = networking.load() if network else replaying.compiled() is not None
    if not compiled:
        context.note("numba is not installed: the same policy runs as plain Python, much slower; pip install 'tidegrid[lab]'")
    if network:
        if window:
            raise InvalidInput("simulate.window", "--window is not for networks", hint="give --days")
        terms = {"price": price or (), "cost": cost or (), "slack": slack, "data": data or (), "outages": outage or ()}
        terms |= {name: value for name, value in (("bandwidth", bandwidth), ("latency", latency)) if value is not None}
        return _network(log, how, network, policy=policy, clairvoyant=clairvoyant, processors=given, kill=kill, repair=repair, days=days, terms=terms, json=json)
    if days is not None:
        raise InvalidInput("simulate.days", "--days is for networks", hint="give --network POLICY, or --window FIRST:JOBS")
    if price or cost or data or outage or (slack, bandwidth, latency) != (None, None, None):
        raise InvalidInput("simulate.terms", "--price, --cost, --slack, --data, --bandwidth, --latency and --outage are for networks", hint="give --network POLICY")
    rows: list[dict[str, Any]] = []
    for i, path in enumerate(log):
        n = given[i] if i < len(given) else None
        found = {"log": str(path), "policy": policy, "clairvoyant": clairvoyant,
                 **simulating.simulate(path, how, processors=n, kill=kill, windows=windows, repair=repair)}  # fmt: skip
        if json:
            _line(found)
        rows.append(found)
    if not json:
        show.table(["log", *(name.replace("_", " ") for name in _SHOWN)], [[Path(r["log"]).name, *(_cell(n, r[n]) for n in _SHOWN)] for r in rows],
                   right=[name.replace("_", " ") for name in _SHOWN])  # fmt: skip


def _network(log: list[Path], how: Any, name: str, *, policy: str, clairvoyant: bool, processors: list[int], kill: bool, repair: bool,
             days: int | None, terms: dict[str, Any], json: bool) -> None:  # fmt: skip
    from tidegrid.cli import show
    from tidegrid.lab import networking
    from tidegrid.lab.terms import GB, Terms

    broker = networking.policy(name)
    found = {"network": name, "policy": policy, "clairvoyant": clairvoyant,
             **networking.simulate(log, how, broker, processors=processors, kill=kill, repair=repair, days=days, terms=Terms(**terms))}  # fmt: skip
    if json:
        return _line(found)
    rows = [[s["site"], f"{s['jobs']:,}", *(_cell(k, s[w][k]) for k in _BOTH for w in ("alone", "network"))] for s in found["sites"]]
    rows.append(["all", f"{found['jobs']:,}", *(_cell(k, v) for k in _BOTH for v in (found["alone"][k], found[k]))])
    heads = ["jobs", *(f"{k.replace('_', ' ')} {w}" for k in _BOTH for w in ("alone", "network"))]
    show.table(["site", *heads], rows, right=heads)
    gap, worse = found["gap_closed"], found["worse_than_alone"]
    typer.echo(f"one pooled machine: mean wait {show.seconds(found['pooled']['mean_wait'])}; {gap['value']:.1%} of the way there ({gap['low']:.1%} to {gap['high']:.1%})")
    if not found["clairvoyant"]:
        typer.echo(f"run times known beforehand: mean wait {show.seconds(found['foreseen']['mean_wait'])}")
    here = found["scorecard"]
    if terms["price"] or terms["cost"]:
        typer.echo(f"customers pay {here['cost']:,.2f} yuan (alone {found['alone']['cost']:,.2f}), the operator's cost is {here['operator_cost']:,.2f} (alone {found['alone']['operator_cost']:,.2f})")
    if "deadlines" in here:
        kept = {w: f"{card['deadlines']['kept']:.1%}" for w, card in (("here", here), ("alone", found["alone"]), ("pooled", found["pooled"]))}
        typer.echo(f"deadlines kept: {kept['here']} (alone {kept['alone']}, pooled {kept['pooled']}); those that are late by {show.seconds(here['deadlines']['mean_late_s'])} on average")
    if here["carried_bytes"]:
        typer.echo(f"data brought from site to site: {here['carried_bytes'] / GB:,.0f} GB")
    if terms["outages"]:
        typer.echo(f"begun anew after an outage: {here['restarts']:,} (alone {found['alone']['restarts']:,})")
    typer.echo("worse than alone: " + "; ".join(f"{', '.join(names) or 'nobody'} by {k.replace('_', ' ')}" for k, names in worse.items()))
    return None


def _line(value: dict[str, Any]) -> None:
    import json

    typer.echo(json.dumps(value, ensure_ascii=False))


def _window(text: str) -> tuple[int, int]:
    from tidegrid.domain.errors import InvalidInput

    found = _WINDOW.match(text)
    if found is None or int(found[2]) < 1:
        raise InvalidInput("simulate.window", f"--window {text!r} is no window", hint="write FIRST:JOBS, as 0:1024")
    return int(found[1]), int(found[2])


def _cell(name: str, value: Any) -> str:
    from tidegrid.cli import show

    if name in ("mean_wait", "p95_wait", "max_wait"):
        return show.seconds(value)
    if name == "seconds":
        return f"{value:.2f}s"
    return f"{value:,}" if name == "jobs" else f"{value:.3f}" if name == "utilisation" else f"{value:,.1f}"
