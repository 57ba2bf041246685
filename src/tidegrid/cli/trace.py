"""trace: logs of jobs, to look at, convert and generate. No server is asked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from tidegrid.cli.context import Json

Log = Annotated[Path, typer.Argument(metavar="LOG", help="SWF, `sacct -P`, CSV, Parquet, Philly, openb or Tiresias; also .gz.", show_default=False)]
From = Annotated[str, typer.Option("--from", help="The log's format, where it is not recognised: swf, sacct, csv, parquet, philly, openb, tiresias.", metavar="FORMAT", show_default=False)]
Repair = Annotated[bool, typer.Option("--repair", help="Drop or blank what cannot be, and count it, instead of refusing the log.")]
Processors = Annotated[int | None, typer.Option("--processors", min=1, help="The machine's processors, where the log does not say.", metavar="N", show_default=False)]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Logs of jobs: look at one, convert it, generate one.", no_args_is_help=True, rich_markup_mode=None)
    group.command()(info)
    group.command()(convert)
    group.command()(generate)
    app.add_typer(group, name="trace")


def info(log: Log, form: From = "", repair: Repair = False, processors: Processors = None, json: Json = False) -> None:
    """What a log holds: jobs, users, load, run times, sizes, partitions, and what it does not say."""
    from tidegrid.cli import context
    from tidegrid.lab import logs
    from tidegrid.simulation.traces.info import describe

    found: dict[str, Any] = {"log": str(log), **describe(logs.load(log, form=form, repair=repair, processors=processors), processors)}
    machines = logs.machines(log)
    if machines:
        found["machines"] = [{"name": g.name, "nodes": g.nodes, "processors_a_node": g.processors, "memory_mib_a_node": g.memory_mib} for g in machines[:40]]
    if json:
        context.emit(found)
    else:
        _show(found)


def convert(
    log: Log,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The file to write; .gz packs it.", show_default=False)],
    to: Annotated[str, typer.Option("--to", help="swf, parquet or csv [what OUT's name says].", metavar="FORMAT", show_default=False)] = "",
    partition: Annotated[list[str] | None, typer.Option("--partition", help="Only jobs of this partition, by its name or number. Repeatable.", metavar="NAME", show_default=False)] = None,
    form: From = "",
    repair: Repair = False,
    processors: Processors = None,
    json: Json = False,
) -> None:
    """Write a log in another format; --repair also mends it, --partition takes a part of it."""
    from tidegrid.cli import context, show
    from tidegrid.lab import logs

    to = to or logs.form_of(out)
    trace = logs.load(log, form=form, repair=repair, processors=processors)
    if partition:
        trace = logs.of_partitions(trace, partition)
    count = logs.save(out, [trace], to)
    found = {"log": str(log), "out": str(out), "format": to, "jobs": count, "bytes": out.stat().st_size, "repairs": dict(trace.repairs)}
    if json:
        context.emit(found)
    else:
        show.line(f"{out}: {count:,} jobs as {to}, {out.stat().st_size:,} bytes" + _mended(trace.repairs))


def generate(
    out: Annotated[Path, typer.Option("-o", "--out", help="The file to write: .swf, .csv, either with .gz, or .parquet.", metavar="FILE", show_default=False)],
    model: Annotated[str, typer.Option(help="lublin: one machine; network: many partitions, regions, seasons, GPUs.", metavar="NAME")] = "lublin",
    jobs: Annotated[int, typer.Option(min=1, max=1_000_000_000, help="How many jobs.", metavar="N")] = 10_000,
    processors: Annotated[int | None, typer.Option(min=1, help="Of the machine, or of the whole network [256, or 1,024 a partition].", metavar="P", show_default=False)] = None,
    load: Annotated[float | None, typer.Option(help="Work asked for over what there is [lublin: as published; network: 0.7].", metavar="L", show_default=False)] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same log.", metavar="S")] = 1,
    widest: Annotated[int, typer.Option(min=0, help="lublin: processors of the widest job; 0: the machine, as published.", metavar="N")] = 0,
    partitions: Annotated[int, typer.Option(min=1, max=100_000, help="Of a network.", metavar="N")] = 8,
    gpu_part: Annotated[float, typer.Option(min=0, max=1, help="Part of a network's partitions that have GPUs.", metavar="PART")] = 0.2,
    start: Annotated[str, typer.Option(help="The log's first day.", metavar="DATE")] = "2026-01-01",
    json: Json = False,
) -> None:
    """Generate a log: after Lublin and Feitelson for one machine, or for a network of regions with seasons and GPUs."""
    from tidegrid.cli import context, show
    from tidegrid.domain.errors import InvalidInput
    from tidegrid.lab import generating, logs

    logs.form_of(out)
    if model not in ("lublin", "network"):
        raise InvalidInput("trace.model", f"there is no model {model!r}", hint="give lublin or network")
    if model == "lublin":
        found = generating.lublin_log(out, jobs=jobs, processors=processors or 256, load=load, seed=seed, start=start, widest=widest)
    else:
        found = generating.network_log(out, jobs=jobs, processors=processors or 1024 * partitions, load=0.7 if load is None else load, seed=seed,
                                       partitions=partitions, gpu_part=gpu_part, start=start, progress=not json)  # fmt: skip
    if json:
        context.emit(found)
        return
    beside = f", machines in {found['machines']}" if "machines" in found else ""
    show.line(f"{out}: {found['jobs']:,} jobs on {found['processors']:,} processors over {show.seconds(found['span_s'])}, load {found['load']}, seed {seed}{beside}")


def _show(found: Mapping[str, Any]) -> None:
    from tidegrid.cli import show
    from tidegrid.cli.values import date_of

    show.facts([
        ("log", found["log"]), ("computer", found["computer"]),
        ("jobs", f"{found['jobs']:,}, {found['usable']:,} of them usable (convention K)"), ("users", f"{found['users']:,}"),
        ("processors", f"{found['processors']:,} ({found['processors_from']})"),
        ("from", date_of(found["start"])), ("over", show.seconds(found["span_s"])), ("load", found["load"]),
        ("run time", _spread(found["run_s"], show.seconds)), ("wait", _spread(found["wait_s"], show.seconds)),
        ("processors a job", _spread(found["processors_a_job"], lambda v: f"{v:,.0f}")),
        ("estimates", f"{100 * found['estimated']:.0f}% of jobs" + (f"; a run takes {100 * found['accuracy']:.0f}% of its estimate" if found["accuracy"] is not None else "")),
        ("GPUs", f"{found['gpus']['jobs']:,} jobs, {_spread(found['gpus']['gpus_a_job'], lambda v: f'{v:,.0f}')}" if "gpus" in found else None),
        ("status", ", ".join(f"{name} {n:,}" for name, n in found["status"].items())),
        ("not known", ", ".join(f"{name} {n:,}" for name, n in found["unknown"].items())),
        ("out of order", f"{found['unsorted']:,}" if found["unsorted"] else None),
        ("repaired", ", ".join(f"{name} {n:,}" for name, n in found["repairs"].items())),
    ])  # fmt: skip
    for column, head in (("partitions", "PARTITION"), ("queues", "QUEUE"), ("gpu_types", "GPU")):
        if found.get(column):
            show.heading(column.replace("_", " "))
            show.table([head, "JOBS", "PROCESSOR-HOURS"], [[r["name"] or r["code"], f"{r['jobs']:,}", f"{r['processor_s'] / 3600:,.0f}"] for r in found[column]], right=["JOBS", "PROCESSOR-HOURS"])
    if found.get("machines"):
        show.heading("machines")
        show.table(["NAME", "NODES", "PROCESSORS A NODE", "MEMORY A NODE"], [[g["name"], g["nodes"], g["processors_a_node"], f"{g['memory_mib_a_node'] / 1024:.0f} GiB"] for g in found["machines"]])


def _spread(spread: Mapping[str, float] | None, form: Any) -> str:
    if spread is None:
        return ""
    return f"mean {form(spread['mean'])}, median {form(spread['p50'])}, 95% below {form(spread['p95'])}, most {form(spread['max'])}"


def _mended(repairs: Mapping[str, int]) -> str:
    return "; repaired: " + ", ".join(f"{name} {n:,}" for name, n in repairs.items()) if repairs else ""
