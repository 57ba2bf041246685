"""machine-card: what this machine, or a partition's node, can do."""

from __future__ import annotations

import json as jsons
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from tidegrid.cli import context
from tidegrid.cli.context import Json
from tidegrid.cli.values import duration
from tidegrid.domain.errors import Broken, InvalidInput, NotFound

SCRIPT, SOURCE = "machine_card.py", "machine_card.c"
_LIMIT_S = 600
_PLACE = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*\Z")


def register(app: typer.Typer) -> None:
    app.command("machine-card")(machine_card)


def machine_card(
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write the JSON to this file.", metavar="FILE", show_default=False)] = None,
    partition: Annotated[str, typer.Option("--partition", help="Measure a node there, by a job, and keep its card.", metavar="CLUSTER/PARTITION", show_default=False)] = "",
    kept: Annotated[bool, typer.Option("--kept", help="With --partition: measure nothing, show the newest card.")] = False,
    timeout: Annotated[str, typer.Option("--timeout", help="With --partition: give up waiting after this time.", metavar="TIME")] = "1h",
    json: Json = False,
) -> None:
    """Measure the machine this runs on: peak, bandwidth, latency, clock, caches, filesystem, MPI, GPUs.

    Takes less than 30 s of CPU time. What cannot be had is unavailable, with the reason; never 0.
    """
    if kept and not partition:
        raise InvalidInput("card.whose", "--kept shows a partition's card", hint="name it: --partition CLUSTER/PARTITION")
    found = _of_partition(partition, kept, duration(timeout)) if partition else measured()
    if out is not None:
        out.write_text(jsons.dumps(found, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    if json:
        context.emit(found)
    elif out is None:
        show_card(found)
    else:
        context.note(f"{out} written")


def _of_partition(place: str, kept: bool, timeout: float) -> dict[str, Any]:
    if not _PLACE.match(place):
        raise InvalidInput("partition.malformed", f"{place!r} is no CLUSTER/PARTITION", hint="see `tide cluster list`")
    with context.connected() as tide:
        if not kept:
            begun = tide.measure_machine(place)
            context.note(f"{begun['job']} measures {place}")
            (done,) = tide.wait_trials([begun], timeout=timeout)
            if done["state"] != "passed":
                raise Broken("card.failed", f"{place} was not measured: {'; '.join(done['failed'])}", hint=f"`tide show {done['job']}`")
        newest = next(tide.machine_card(place, page=1), None)
    if newest is None:
        raise NotFound("card.none", f"{place} has not been measured", hint=f"`tide machine-card --partition {place}`")
    card: dict[str, Any] = newest["card"]
    return card


def measured() -> dict[str, Any]:
    """The card of this machine. Broken (card.failed) where the probe does not end well."""
    from tidegrid import apps
    from tidegrid.catalog import machine_card as cards

    with tempfile.TemporaryDirectory(prefix="tide-card-") as where:
        for name in (SCRIPT, SOURCE):
            (Path(where) / name).write_bytes(apps.content(name))
        words = [sys.executable, str(Path(where) / SCRIPT), "--dir", where]
        try:
            done = subprocess.run(words, capture_output=True, timeout=_LIMIT_S, check=False)
        except subprocess.TimeoutExpired:
            raise Broken("card.failed", f"the measurement did not end within {_LIMIT_S} s") from None
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise Broken("card.failed", f"the measurement failed: {said[-1] if said else done.returncode}")
    found: dict[str, Any] = jsons.loads(done.stdout)
    cards.parse(found)
    return found


def show_card(card: dict[str, Any]) -> None:
    from tidegrid.cli import show

    host = card.get("host") or {}
    show.facts([
        ("machine", f"{host.get('cpu_model')}, {host.get('arch')}, {host.get('cores')} cores, {host.get('memory_mib')} MiB"
         + (", virtual" if host.get("virtual") else "")),
        ("measured in", f"{card.get('cpu_s')} s of CPU time"),
    ])  # fmt: skip
    rows = [
        [name, "-" if v["value"] is None else f"{v['value']:g}", v["unit"], "" if v["error"] is None else f"{v['error']:.2g}",
         v["n"] or "", v["tier"], v.get("note", "")]
        for name, v in (card.get("values") or {}).items()
    ]  # fmt: skip
    show.table(["WHAT", "VALUE", "UNIT", "±", "N", "TIER", "NOTE"], rows, right=["VALUE", "±", "N"])
