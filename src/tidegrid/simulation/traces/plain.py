"""A trace as CSV with a line of names: our own columns, any of them, codes as their names where there are names."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

import numpy as np

from tidegrid.simulation.traces.bytesin import refuse
from tidegrid.simulation.traces.cells import read_cells
from tidegrid.simulation.traces.swf import coded
from tidegrid.simulation.traces.trace import COLUMNS, Floats, Header, Ints, Trace, build

LABELLED = ("user", "group", "application", "queue", "partition", "gpu_type")
_ESSENTIAL = ("submit", "run")


def read_csv(data: bytes, *, repair: bool = False) -> Trace:
    """`submit` and `run` are needed, and `requested`, `allocated` or `processors`; other columns of ours are taken, foreign ones left.

    A time may be seconds or ISO 8601; second 0 is the first submit where times are moments. Raises InvalidInput as `read_swf` does.
    """
    cells = read_cells(data, ",", repair=repair)
    cells.need(*_ESSENTIAL)
    if not any(map(cells.has, ("requested", "allocated", "processors"))):
        raise refuse("columns", "there is no column requested, allocated or processors", mendable=False)
    columns: dict[str, Ints] = {}
    labels: dict[str, dict[int, str]] = {}
    cpu: Floats | None = None
    for name in COLUMNS:
        if not cells.has(name):
            continue
        if name in LABELLED and not all(text.lstrip("-").isdigit() for text in cells.text(name) if text):
            columns[name], labels[name] = coded(cells.text(name))
        elif name == "submit":
            columns[name] = cells.moments(name, essential=True)
        elif name == "cpu":
            cpu = cells.decimal(name)
        else:
            columns[name] = cells.whole(name, essential=name == "run" and not cells.repair, least=-1)
    if cells.has("processors") and "requested" not in columns:
        columns["requested"] = cells.whole("processors", essential=True)
    start = None
    dated = any("-" in text[1:] for text in cells.text("submit")[:1])
    kept = cells.settle()
    if dated:
        start = int(columns["submit"][kept].min())
        columns["submit"] = columns["submit"] - start
    measured: dict[str, Floats] = {} if cpu is None else {"cpu": np.where(cpu < 0, -1.0, cpu)}
    return build(**columns, **measured, header=Header(start=start), labels=labels, repairs=cells.repairs).take(kept)


def write_csv(trace: Trace) -> bytes:
    return b"".join(rows_csv(trace))


def rows_csv(trace: Trace, *, first: bool = True, names: Sequence[str] | None = None, chunk: int = 100_000) -> Iterator[bytes]:
    """The text, some jobs at a time; `first`: with the line of names. By default columns that nothing is known of are left out."""
    names = names or [name for name in COLUMNS if name in ("submit", "run", "requested") or bool((getattr(trace, name) != -1).any())]
    for at in range(0, len(trace), chunk):
        part = trace.take(slice(at, at + chunk))
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        if first and at == 0:
            writer.writerow(names)
        writer.writerows(zip(*(named(part, name) for name in names), strict=True))
        yield out.getvalue().encode()


def named(trace: Trace, column: str) -> list[object]:
    """A column's values, as names where there are names; a code that has none keeps its number."""
    values = getattr(trace, column)
    labels = trace.labels.get(column)
    if not labels or column not in LABELLED:
        return list(values.tolist())
    return [labels.get(code, "" if code < 0 else str(code)) for code in values.tolist()]

