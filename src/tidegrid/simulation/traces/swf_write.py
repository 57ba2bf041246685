"""A trace as the Standard Workload Format. What was read from it comes back number by number."""

from __future__ import annotations

from collections.abc import Iterator

from tidegrid.simulation.traces.swf import FIELDS, FURTHER, LABELLED
from tidegrid.simulation.traces.trace import UNKNOWN, Trace

_CHUNK = 100_000
_OURS = {"MaxProcs", "MaxNodes", "UnixStartTime", "Computer", "TimeZoneString", "MaxJobs", "MaxRecords", "Version", "Columns", *LABELLED}


def write_swf(trace: Trace) -> bytes:
    """The whole log as text."""
    return b"".join((head_swf(trace), *rows_swf(trace)))


def head_swf(trace: Trace, *, jobs: int | None = None) -> bytes:
    """The comments before the jobs. `jobs`: how many will follow, where not those of the trace (None: that many)."""
    header = trace.header
    count = len(trace) if jobs is None else jobs
    pairs: list[tuple[str, object]] = [("Version", "2.2")]
    pairs += [("Computer", header.computer)] if header.computer else []
    pairs += [("MaxJobs", count), ("MaxRecords", count)]
    pairs += [("UnixStartTime", header.start)] if header.start is not None else []
    pairs += [("TimeZoneString", header.zone)] if header.zone else []
    pairs += [("MaxNodes", header.nodes)] if header.nodes else []
    pairs += [("MaxProcs", header.processors)] if header.processors else []
    pairs += [(name, value) for name, value in header.fields if name not in _OURS]
    for name, column in LABELLED.items():
        pairs += [(name, f"{code} {label}") for code, label in sorted(trace.labels.get(column, {}).items())]
    if _further(trace):
        pairs.append(("Columns", " ".join(FURTHER)))
    pairs += [("Note", note) for note in header.notes]
    return "".join(f"; {name}: {_one_line(value)}\n" for name, value in pairs).encode()


def rows_swf(trace: Trace, *, further: bool | None = None) -> Iterator[bytes]:
    """The jobs, some at a time. `further`: with the columns for GPUs (default: where any job has them)."""
    names = FIELDS + FURTHER if (_further(trace) if further is None else further) else FIELDS
    line = " ".join("%s" if name == "cpu" else "%d" for name in names)
    for first in range(0, len(trace), _CHUNK):
        part = trace.take(slice(first, first + _CHUNK))
        columns = [getattr(part, name).tolist() for name in names]
        columns[FIELDS.index("cpu")] = [_decimal(value) for value in columns[FIELDS.index("cpu")]]
        yield ("\n".join([line % row for row in zip(*columns, strict=True)]) + "\n").encode()


def _further(trace: Trace) -> bool:
    return any(bool((getattr(trace, name) != UNKNOWN).any()) for name in FURTHER)


def _decimal(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def _one_line(value: object) -> str:
    return " ".join(str(value).split())
