"""What a log holds, in figures: for `tide trace info`, and to see at a glance whether it was read rightly."""

from __future__ import annotations

from typing import Any

import numpy as np

from tidegrid.simulation.traces.plain import LABELLED
from tidegrid.simulation.traces.trace import Ints, Trace, convention_k

_STATUS = {0: "failed", 1: "completed", 2: "partial", 3: "last partial, completed", 4: "last partial, failed", 5: "cancelled"}
_MAY_LACK = ("wait", "run", "estimate", "requested", "allocated", "memory", "user", "group", "application", "queue", "partition", "status", "gpus")
_LISTED = 40


def describe(trace: Trace, processors: int | None = None) -> dict[str, Any]:
    """JSON values. Times in seconds, memory in KiB a processor; `usable` and `load` are of convention K on `processors` (or the header's).

    Where neither is told, the processors are the widest job's and there is no load. `load` is the work over processors x time from the first submit to the last: what is asked for, whether or not it could be served.
    """
    k = convention_k(trace, processors)
    width = k.processors
    work = float((k.run * width).sum(dtype=np.float64))
    span = int(k.submit[-1] - k.submit[0]) if len(k) else 0
    machine = int(k.header.processors or 0)
    order = trace.submit
    said = "given" if processors else "header" if trace.header.processors or trace.header.nodes else "widest job"
    out: dict[str, Any] = {
        "jobs": len(trace), "usable": len(k), "computer": trace.header.computer, "start": trace.header.start, "zone": trace.header.zone,
        "processors": machine, "processors_from": said,
        "span_s": int(order.max() - order.min()), "load": round(work / (machine * span), 4) if span and said != "widest job" else None,
        "unsorted": int((np.diff(order) < 0).sum()),
        "users": _distinct(trace.user), "run_s": _spread(k.run), "processors_a_job": _spread(width),
        "wait_s": _spread(trace.wait[trace.wait >= 0]),
        "estimated": round(float((trace.estimate > 0).mean()), 4),
        "accuracy": round(float((k.run / np.maximum(k.estimate, 1))[_asked(k)].mean()), 4) if _asked(k).any() else None,
        "unknown": {name: int((getattr(trace, name) < 0).sum()) for name in _MAY_LACK if (getattr(trace, name) < 0).any()},
        "status": {_STATUS.get(int(c), f"code {c}"): int(n) for c, n in zip(*np.unique(trace.status, return_counts=True), strict=True) if c >= 0},
        "repairs": dict(trace.repairs),
    }  # fmt: skip
    if (trace.gpus > 0).any():
        out["gpus"] = {"jobs": int((trace.gpus > 0).sum()), "gpus_a_job": _spread(trace.gpus[trace.gpus > 0]), "shared": int(((trace.gpu_milli > 0) & (trace.gpu_milli < 1000)).sum())}
    for column in ("partition", "queue", "gpu_type"):
        found = _parts(trace, column)
        if len(found) > 1 or column in trace.labels:
            out[f"{column}s"] = found[:_LISTED]
            if len(found) > _LISTED:
                out[f"{column}s_not_listed"] = len(found) - _LISTED
    return out


def _asked(k: Trace) -> Any:
    """Jobs whose estimate was asked for and is not the run time put in its place."""
    return (k.estimate > 0) & (k.estimate != k.run)


def _distinct(values: Ints) -> int:
    return len(np.unique(values[values >= 0]))


def _spread(values: Ints) -> dict[str, float] | None:
    """Mean, median, 95th percentile and the most."""
    if not len(values):
        return None
    half, high = np.percentile(values, [50, 95])
    return {"mean": round(float(values.mean()), 1), "p50": round(float(half), 1), "p95": round(float(high), 1), "max": int(values.max())}


def _parts(trace: Trace, column: str) -> list[dict[str, Any]]:
    """The codes of a column with their jobs and processor-seconds, most jobs first."""
    values = getattr(trace, column)
    codes, at = np.unique(values, return_inverse=True)
    jobs = np.bincount(at)
    work = np.bincount(at, np.maximum(trace.run, 0) * np.maximum(trace.processors, 0).astype(np.float64))
    names = trace.labels.get(column, {}) if column in LABELLED else {}
    rows = [{"code": int(c), "name": names.get(int(c), ""), "jobs": int(j), "processor_s": round(float(w))}
            for c, j, w in zip(codes, jobs, work, strict=True) if c >= 0]  # fmt: skip
    return sorted(rows, key=lambda row: -row["jobs"])
