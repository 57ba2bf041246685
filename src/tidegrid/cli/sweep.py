"""sweep: policies x seeds x loads over logs, compared. No server is asked."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from tidegrid.cli.context import Json

_POLICIES = ("easy", "default")


def register(app: typer.Typer) -> None:
    app.command()(sweep)


def sweep(
    log: Annotated[list[Path], typer.Argument(metavar="LOG...", help="Logs, as `tide trace info` reads them.", show_default=False)],
    out: Annotated[Path, typer.Option("-o", "--out", help="Directory of the results; what is finished there is not done again.", metavar="DIR", show_default=False)],
    policy: Annotated[list[str] | None, typer.Option("--policy", "-p", help="Repeatable; the first is compared with [easy, default; with --network easy].", metavar="NAME", show_default=False)] = None,
    clairvoyant: Annotated[bool, typer.Option("--clairvoyant", help="Each policy also knowing run times beforehand.")] = False,
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="How often: first as logged, then with submit times shaken.", metavar="N")] = 1,
    shake: Annotated[int, typer.Option(min=0, help="By how many seconds they are shaken at most.", metavar="S")] = 300,
    load: Annotated[list[float] | None, typer.Option("--load", help="Submit times drawn together or apart to this load. Repeatable.", metavar="L", show_default=False)] = None,
    network: Annotated[list[str] | None, typer.Option("--network", help="The logs as the sites of one network, under this policy of its broker: tide, cheapest, home, earliest ... as in `tide simulate`. Repeatable.", metavar="NAME", show_default=False)] = None,
    days: Annotated[int | None, typer.Option("--days", min=1, help="Only so many days of each log.", metavar="N", show_default=False)] = None,
    processors: Annotated[list[int] | None, typer.Option("--processors", min=1, help="One a log, in order [the headers'].", metavar="N", show_default=False)] = None,
    workers: Annotated[int, typer.Option(min=0, max=256, help="Processes; 0: as many as there are cores.", metavar="N")] = 0,
    repair: Annotated[bool, typer.Option("--repair", help="Mend logs that are not right instead of refusing them.")] = False,
    json: Json = False,
) -> None:
    """Simulate logs under policies, seeds and loads on all cores: results as Parquet, a page with plots. Ctrl-C and go on later."""
    import os
    import shlex

    from tidegrid.cli import context, show
    from tidegrid.lab import report, standings
    from tidegrid.lab import sweep as lab

    policies = list(dict.fromkeys(policy or (_POLICIES[:1] if network else _POLICIES)))
    runs = lab.plan(log, policies, networks=list(dict.fromkeys(network or ())), days=days, processors=processors or (), clairvoyant=clairvoyant, seeds=seeds, loads=load or (), shake_s=shake, repair=repair)
    labels = list(dict.fromkeys(run.label for run in runs))
    quiet = json or not sys.stderr.isatty()
    done: list[dict[str, Any]] = []
    try:
        for outcome in lab.sweep(runs, out, workers=workers or os.cpu_count() or 1, progress=None if quiet else _progress):
            done.append(outcome)
    except KeyboardInterrupt:
        context.note(f"{'' if quiet else chr(10)}{len(done)} of {len(runs)} runs are finished and kept in {out}; the same command goes on from there")
        raise
    found = standings.standings(done, labels)
    standings.write(out / "results.parquet", done)
    command = "tide sweep " + " ".join(shlex.quote(a) for a in sys.argv[2:]) if sys.argv[1:2] == ["sweep"] else ""
    report.write(out / "report.html", done, labels, command=command)
    files = {"report": str(out / "report.html"), "results": str(out / "results.parquet")}
    if json:
        context.emit({"runs": len(runs), **files, "standings": found, "over_logs": standings.over_logs(found, labels)})
        return
    for group in found:
        load_of = f"load {group['offered_load']:.3f}"
        show.heading(f"{group['log']}: {group['policies'][0]['jobs']:,} jobs, {group['processors']:,} processors, {load_of}")
        show.table(
            ["POLICY", "MEAN WAIT", "95% BELOW", "LONGEST", "SLOWDOWN", f"AGAINST {labels[0].upper()}", "UTILISATION"],
            [[r["policy"], show.seconds(r["mean_wait"]["median"]), show.seconds(r["p95_wait"]["median"]), show.seconds(r["max_wait"]["median"]),
              f"{r['mean_bounded_slowdown']['median']:.2f}", "-" if r["policy"] == labels[0] else f"{100 * (r['ratio'] - 1):+.1f}%",
              f"{100 * r['utilisation']['median']:.1f}%"] for r in group["policies"]],
            right=["MEAN WAIT", "95% BELOW", "LONGEST", "SLOWDOWN", f"AGAINST {labels[0].upper()}", "UTILISATION"],
        )  # fmt: skip
    if len(found) > 1:
        show.heading("slowdown, geometric mean over logs and loads")
        show.table(["POLICY", "RATIO", "BEST", "WORST"], [[r["policy"], f"{r['ratio']:.3f}", f"{r['best']:.3f}", f"{r['worst']:.3f}"] for r in standings.over_logs(found, labels)])
    show.line(f"\nreport {files['report']}\nrows   {files['results']}")


def _progress(done: int, of: int, took: float) -> None:
    from tidegrid.cli import show

    left = f", about {show.seconds(took / done * (of - done))} left" if 0 < done < of and took > 1 else ""
    sys.stderr.write(f"\r{done} of {of} runs{left}".ljust(48) + ("\n" if done == of else ""))
    sys.stderr.flush()
