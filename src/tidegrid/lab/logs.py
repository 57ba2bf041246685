"""Log files: which format, which machine, in and out."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from tidegrid.domain.errors import InvalidInput, NotFound
from tidegrid.simulation.traces.formats import read_log
from tidegrid.simulation.traces.machines import Group, read_machines
from tidegrid.simulation.traces.plain import rows_csv
from tidegrid.simulation.traces.swf_write import head_swf, rows_swf
from tidegrid.simulation.traces.trace import COLUMNS, Header, Trace, build

OUT = ("swf", "parquet", "csv")
_HEADER = ("start", "processors", "nodes", "computer", "zone")


def load(path: Path, *, form: str = "", repair: bool = False, processors: int | None = None) -> Trace:
    """A log of any format. Its machine: `processors`, else the log's header, else a file of machines beside it (`LOG.machines`).

    Raises NotFound `trace.not_found`, and InvalidInput as the readers do, with the file's name put before what is wrong.
    """
    data = _bytes(path)
    try:
        if data[:4] == b"PAR1" and form in ("", "parquet"):
            return _from_parquet(path)
        if processors is None:
            groups = machines(path)
            processors = sum(g.nodes * g.processors for g in groups) if groups else None
        trace = read_log(data, form=form, repair=repair, processors=processors)
    except InvalidInput as error:
        raise InvalidInput(error.code, f"{path}: {error.message}", hint=error.hint, details={**error.details, "file": str(path)}) from None
    if trace.header.processors is None and trace.header.nodes is None and processors:
        trace = replace(trace, header=replace(trace.header, processors=processors))
    return trace


def machines(path: Path) -> tuple[Group, ...]:
    """The groups of nodes that `LOG.machines` lists, where `LOG` may end in .gz; none where there is no such file."""
    for name in (path.name, path.name.removesuffix(".gz")):
        beside = path.with_name(name + ".machines")
        if beside.is_file():
            return read_machines(beside.read_bytes())
    return ()


def of_partitions(trace: Trace, wanted: Sequence[str]) -> Trace:
    """The jobs of some partitions, by name or number; the machine is no longer the whole one's. Raises InvalidInput `trace.partition`."""
    names = trace.labels.get("partition", {})
    there = {names.get(code, str(code)): code for code in np.unique(trace.partition).tolist() if code >= 0}
    missing = [name for name in wanted if name not in there and not (name.isdigit() and int(name) in there.values())]
    if missing:
        raise InvalidInput("trace.partition", f"no job ran in a partition {missing[0]!r}", hint=f"there are {', '.join(list(there)[:30]) or 'none'}")
    codes = [there[name] if name in there else int(name) for name in wanted]
    labels = {**trace.labels, **({"partition": {c: n for c, n in names.items() if c in codes}} if names else {})}
    header = replace(trace.header, processors=None, nodes=None)
    return replace(trace.take(np.isin(trace.partition, codes)), header=header, labels=labels)


def save(path: Path, traces: Iterable[Trace], form: str = "", *, jobs: int | None = None) -> int:
    """Write traces of one log, some jobs at a time, as `form` or as the name says (.swf, .csv, either with .gz, .parquet); how many jobs.

    The file is there whole or not at all. `jobs`: how many will come in all, for the header. Raises InvalidInput `trace.format`.
    """
    form = form or form_of(path)
    if form not in OUT:
        raise InvalidInput("trace.format", f"no log is written as {form!r}", hint=f"it is one of {', '.join(OUT)}")
    if form == "parquet":
        return _to_parquet(path, traces)
    part = path.with_name(f".{path.name}.part")
    count = 0
    try:
        with part.open("wb") as file, _packed(file, path) as out:
            for trace in traces:
                if form == "csv":
                    for text in rows_csv(trace, first=not count, names=_NAMES if jobs and jobs > len(trace) else None):
                        out.write(text)
                else:
                    if not count:
                        further = bool((trace.gpus >= 0).any())
                        out.write(head_swf(trace, jobs=jobs))
                    for text in rows_swf(trace, further=further):
                        out.write(text)
                count += len(trace)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return count


_NAMES = tuple(name for name in COLUMNS if name not in ("cpu", "used_memory", "preceding", "think", "wait"))


def form_of(path: Path) -> str:
    """The format a name stands for. Raises InvalidInput `trace.format` for a name that says none."""
    suffix = Path(path.name.removesuffix(".gz")).suffix.lstrip(".").lower()
    if suffix not in OUT:
        raise InvalidInput("trace.format", f"{path.name} does not say in which format to write", hint="end it in .swf, .swf.gz, .csv or .parquet, or give --to")
    return suffix


def save_machines(path: Path, groups: Iterable[Group]) -> None:
    """Alea's file of machines, with two more columns: GPUs a node and their type."""
    lines = [f"{i}\t{g.name}\t{g.nodes}\t{g.processors}\t1\t{g.memory_mib * 1024}\t{g.gpus}\t{g.gpu_type or '-'}\n" for i, g in enumerate(groups)]
    path.write_text("".join(lines), encoding="utf-8")


def _bytes(path: Path) -> bytes:
    if path.is_dir():
        raise InvalidInput("trace.directory", f"{path} is a directory", hint="name a log file")
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise NotFound("trace.not_found", f"there is no log {path}", hint="name a log file: SWF, `sacct -P`, CSV, Parquet, or a GPU trace") from None


def _packed(file: IO[bytes], path: Path) -> AbstractContextManager[Any]:
    # mtime 0 and no name: the same log is the same bytes.
    return gzip.GzipFile(fileobj=file, mode="wb", compresslevel=6, mtime=0, filename="") if path.name.endswith(".gz") else nullcontext(file)


def _to_parquet(path: Path, traces: Iterable[Trace]) -> int:
    from tidegrid.lab import parquet

    stream = iter(traces)
    first = next(stream)
    header = {name: getattr(first.header, name) for name in _HEADER}
    labels = {column: {str(code): name for code, name in names.items()} for column, names in first.labels.items()}

    def tables() -> Iterator[dict[str, np.ndarray]]:
        yield _columns(first)
        yield from map(_columns, stream)

    return parquet.write(path, tables(), {"header": header, "labels": labels, "fields": list(map(list, first.header.fields))})


def _columns(trace: Trace) -> dict[str, np.ndarray]:
    return {name: getattr(trace, name) for name in COLUMNS}


def _from_parquet(path: Path) -> Trace:
    from tidegrid.lab import parquet

    columns, meta = parquet.read(path)
    known: dict[str, Any] = {name: np.ma.filled(values, -1) if isinstance(values, np.ma.MaskedArray) else values for name, values in columns.items() if name in COLUMNS}
    missing = {"submit", "run"} - set(known)
    if missing or not {"requested", "allocated"} & set(known):
        raise InvalidInput("trace.columns", f"there is no column {', '.join(sorted(missing)) or 'requested or allocated'}")
    if not len(known["submit"]):
        raise InvalidInput("trace.empty", "the log has no jobs")
    bad = [name for name, values in known.items() if not np.issubdtype(values.dtype, np.number) or not np.isfinite(values).all()]
    if bad:
        raise InvalidInput("trace.number", f"column {bad[0]} has values that are no numbers")
    if (known["submit"] < 0).any() or (known["run"] < -1).any():
        raise InvalidInput("trace.negative", f"row {int(np.flatnonzero((known['submit'] < 0) | (known['run'] < -1))[0]) + 1} has a negative time")
    header = Header(**{name: meta.get("header", {}).get(name, getattr(Header, name)) for name in _HEADER},
                    fields=tuple((a, b) for a, b in meta.get("fields", [])))  # fmt: skip
    labels = {column: {int(code): name for code, name in names.items()} for column, names in meta.get("labels", {}).items()}
    return build(**known, header=header, labels=labels)
