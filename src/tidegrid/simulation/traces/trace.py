"""A log of jobs as one struct of arrays, and the convention under which its figures are compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

UNKNOWN = -1

# Status codes, as the Standard Workload Format has them.
FAILED, COMPLETED, PARTIAL, LAST_COMPLETED, LAST_FAILED, CANCELLED = range(6)


@dataclass(frozen=True)
class Header:
    """What a log says of itself. `start`: Unix time of the log's second 0; `processors` and `nodes` of the machine; None: not said.

    `fields` keeps every `Name: value` as it stood (repeated names in order), `notes` the rest of the comments.
    """

    start: int | None = None
    processors: int | None = None
    nodes: int | None = None
    computer: str = ""
    zone: str = ""
    fields: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Trace:
    """Jobs in the order of the log, one element each; -1 is "not known", as in the Standard Workload Format.

    Times are whole seconds: `submit` since the header's start, `wait` as recorded, `run` (wall), `estimate` (wall time asked for).
    `allocated` and `requested` are processors; `processors` is what convention K takes. `cpu` is average CPU seconds a processor.
    `used_memory` and `memory` (asked for) are KiB a processor. `gpus` is GPUs a job; `gpu_milli` thousandths of one GPU where it is shared.
    `user`, `group`, `application`, `queue`, `partition`, `gpu_type` are codes; `labels` maps a column's codes to names where there are any.
    `repairs` counts what was mended on reading, by the code of the defect.
    """

    job: Ints
    submit: Ints
    wait: Ints
    run: Ints
    allocated: Ints
    cpu: Floats
    used_memory: Ints
    requested: Ints
    estimate: Ints
    memory: Ints
    status: Ints
    user: Ints
    group: Ints
    application: Ints
    queue: Ints
    partition: Ints
    preceding: Ints
    think: Ints
    gpus: Ints
    gpu_milli: Ints
    gpu_type: Ints
    header: Header = Header()
    labels: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    repairs: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.submit)

    @property
    def processors(self) -> Ints:
        """Requested where that is known, else allocated."""
        return np.where(self.requested > 0, self.requested, self.allocated)

    def take(self, rows: Any) -> Trace:
        """The jobs of a mask, a slice or an array of positions."""
        return replace(self, **{name: getattr(self, name)[rows] for name in COLUMNS})

    def sorted(self) -> Trace:
        """By submit time; jobs of one second stay in the log's order."""
        if bool((self.submit[1:] >= self.submit[:-1]).all()):
            return self
        return self.take(np.argsort(self.submit, kind="stable"))


COLUMNS: tuple[str, ...] = tuple(f.name for f in fields(Trace) if f.name not in ("header", "labels", "repairs"))


def build(submit: npt.ArrayLike, run: npt.ArrayLike, *, header: Header | None = None,
          labels: Mapping[str, Mapping[int, str]] | None = None, repairs: Mapping[str, int] | None = None,
          **columns: npt.ArrayLike) -> Trace:  # fmt: skip
    """A trace from the columns that there are: every other one is unknown, except `job`, which counts from 1.

    Raises ValueError where a column has another length than `submit`.
    """
    given = {"submit": submit, "run": run, **columns}
    n = len(np.asarray(submit))
    arrays: dict[str, Any] = {}
    for name in COLUMNS:
        kind = np.float64 if name == "cpu" else np.int64
        if name in given:
            arrays[name] = np.ascontiguousarray(given.pop(name), dtype=kind)
        else:
            arrays[name] = np.arange(1, n + 1, dtype=np.int64) if name == "job" else np.full(n, UNKNOWN, dtype=kind)
        if arrays[name].shape != (n,):
            raise ValueError(f"column {name} has shape {arrays[name].shape}, not ({n},)")
    if given:
        raise ValueError(f"no such column: {', '.join(given)}")
    return Trace(**arrays, header=header or Header(), labels=labels or {}, repairs=repairs or {})


def concatenate(parts: Sequence[Trace]) -> Trace:
    """One trace of several with the same header and labels (the first one's are kept)."""
    columns: dict[str, Any] = {name: np.concatenate([getattr(p, name) for p in parts]) for name in COLUMNS}
    return replace(parts[0], **columns)


def convention_k(trace: Trace, processors: int | None = None, *, cut: bool = True) -> Trace:
    """The jobs under convention K, for a machine of `processors` (default the header's; where it says none, the widest job's).

    Processors = requested if > 0, else allocated; jobs with 0 < processors <= N whose run time is known are kept; estimate = requested time if > 0, else
    run time; run = min(run, estimate) unless not `cut`; stable sort by submit; second 0 is the first submit. In the result
    `requested`, `allocated` and `processors` are equal.
    """
    width = trace.processors
    n = processors or trace.header.processors or trace.header.nodes or int(width.max(initial=1))
    kept = (width > 0) & (width <= n) & (trace.run >= 0)
    rows = np.flatnonzero(kept)
    submit = trace.submit[rows]
    if not bool((submit[1:] >= submit[:-1]).all()):
        rows = rows[np.argsort(submit, kind="stable")]
    out = trace.take(rows) if len(rows) < len(trace) or not bool((rows[1:] > rows[:-1]).all()) else trace
    width = out.processors
    estimate = np.where(out.estimate > 0, out.estimate, out.run)
    run = np.minimum(out.run, estimate) if cut else out.run
    first = int(out.submit[0]) if len(out) else 0
    start = None if trace.header.start is None else trace.header.start + first
    return replace(out, submit=out.submit - first, run=run, estimate=estimate, requested=width, allocated=width,
                   header=replace(trace.header, start=start, processors=n))  # fmt: skip
