"""One schedule reduced to what a report shows: figures, distributions, use over time, and a window of it as a Gantt chart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tidegrid.scheduling.fairness import slowdowns

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

# Where distributions are kept: finer towards the tail, which is where schedules differ.
QUANTILES = np.concatenate((np.arange(0, 90), np.arange(90, 99, 0.25), np.arange(99, 100, 0.05), [99.99, 100])) / 100
_BINS = 360
_GANTT_JOBS = 500


@dataclass(frozen=True, eq=False)
class Schedule:
    """Jobs as they ran: seconds of submission and start, run time, processors; on a machine of so many processors."""

    submit: Ints
    start: Ints
    run: Ints
    width: Ints
    processors: int

    @property
    def wait(self) -> Ints:
        return self.start - self.submit

    @property
    def slowdown(self) -> Floats:
        """Bounded: (wait + run) / max(run, 10 s), at least 1."""
        return slowdowns(self.wait, self.run)


def figures(s: Schedule) -> dict[str, float]:
    """Means, tails and the utilisation (work over processors x time from the first submit to the last end); seconds."""
    wait, slowdown, end = s.wait, s.slowdown, s.start + s.run
    span = float(end.max() - s.submit.min()) if len(s.submit) else 0.0
    work = float((s.run * s.width).sum(dtype=np.float64))
    if not len(s.submit):
        return {"jobs": 0}
    return {
        "jobs": len(wait), "mean_wait": float(wait.mean()), "median_wait": float(np.median(wait)), "p95_wait": float(np.percentile(wait, 95)),
        "max_wait": float(wait.max()), "mean_bounded_slowdown": float(slowdown.mean()), "p95_bounded_slowdown": float(np.percentile(slowdown, 95)),
        "started_at_once": float((wait == 0).mean()), "utilisation": work / (s.processors * span) if span else 0.0,
    }  # fmt: skip


def distributions(s: Schedule) -> dict[str, list[float]]:
    """Waits (s) and bounded slowdowns at QUANTILES."""
    return {"wait": np.quantile(s.wait, QUANTILES).round(1).tolist(), "slowdown": np.quantile(s.slowdown, QUANTILES).round(3).tolist()}


def over_time(s: Schedule, bins: int = _BINS) -> dict[str, Any]:
    """Processors busy and asked for by those who wait, each as the mean of a bin; `step` seconds from `first` on."""
    first, last = int(s.submit.min()), int((s.start + s.run).max())
    edges = np.linspace(first, max(last, first + 1), bins + 1)
    return {
        "first": first, "step": (max(last, first + 1) - first) / bins, "processors": s.processors,
        "busy": _mean_between(edges, s.start, s.start + s.run, s.width).round(2).tolist(),
        "waiting": _mean_between(edges, s.submit, s.start, s.width).round(2).tolist(),
    }  # fmt: skip


def _mean_between(edges: Floats, begin: Ints, end: Ints, width: Ints) -> Floats:
    """The mean of sum(width of the jobs that are between begin and end) in each bin, exactly: the integral is linear between events."""
    times = np.concatenate((begin, end))
    change = np.concatenate((width, -width)).astype(np.float64)
    order = np.argsort(times, kind="stable")
    times, level = times[order], np.cumsum(change[order])
    area = np.concatenate((np.zeros(1), np.cumsum(level[:-1] * np.diff(times))))
    out: Floats = np.diff(np.interp(edges, times, area)) / np.diff(edges)
    return out


def busiest(s: Schedule, most: int = _GANTT_JOBS) -> tuple[int, int]:
    """A window around the time when most is asked for (run and waited for), so wide that at most about `most` jobs run in it."""
    end = s.start + s.run
    when = over_time(s)
    middle = int(when["first"] + (int(np.argmax(np.add(when["busy"], when["waiting"]))) + 0.5) * when["step"])
    half = max(600.0, when["step"] * len(when["busy"]) / 2)
    while half > 600 and int(((s.start < middle + half) & (end > middle - half)).sum()) > most:
        half *= 0.8
    return int(max(middle - half, when["first"])), int(middle + half)


def gantt(s: Schedule, window: tuple[int, int], most: int = 2 * _GANTT_JOBS) -> dict[str, Any]:
    """The jobs in a window as rectangles: [job, start, end, first processor, processors, wait], times from the window's begin.

    A log does not say which processors a job had: each gets the lowest ones that are free, in pieces where they are not together.
    """
    begin, stop = window
    end = s.start + s.run
    rows = np.flatnonzero((s.start < stop) & (end > begin))
    rows = rows[np.argsort(s.start[rows], kind="stable")][:most]
    free: list[tuple[int, int]] = [(0, s.processors)]
    held: list[tuple[int, list[tuple[int, int]]]] = []
    pieces: list[list[int]] = []
    for j in rows.tolist():
        now = int(s.start[j])
        for ended, parts in [h for h in held if h[0] <= now]:
            free = _joined(free + parts)
            held.remove((ended, parts))
        got, free = _lowest(free, int(s.width[j]))
        held.append((int(end[j]), got))
        pieces += [[j, max(now, begin) - begin, min(int(end[j]), stop) - begin, at, n, now - int(s.submit[j])] for at, n in got]
    return {"begin": begin, "end": stop, "processors": s.processors, "pieces": pieces, "jobs": len(rows)}


def _lowest(free: list[tuple[int, int]], wanted: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """(pieces taken, pieces left): one piece that is large enough where there is one, else the lowest ones."""
    for i, (at, n) in enumerate(free):
        if n >= wanted:
            left = [(at + wanted, n - wanted)] if n > wanted else []
            return [(at, wanted)], free[:i] + left + free[i + 1 :]
    taken: list[tuple[int, int]] = []
    rest = list(free)
    while wanted and rest:
        at, n = rest.pop(0)
        taken.append((at, min(n, wanted)))
        if n > wanted:
            rest.insert(0, (at + wanted, n - wanted))
        wanted -= taken[-1][1]
    return taken, rest


def _joined(pieces: list[tuple[int, int]]) -> list[tuple[int, int]]:
    out: list[tuple[int, int]] = []
    for at, n in sorted(pieces):
        if out and sum(out[-1]) == at:
            out[-1] = (out[-1][0], out[-1][1] + n)
        else:
            out.append((at, n))
    return out


def digest(s: Schedule, window: tuple[int, int] | None = None) -> dict[str, Any]:
    """All of it, as JSON values."""
    window = window or busiest(s)
    return {"figures": figures(s), "quantiles": distributions(s), "time": over_time(s), "gantt": gantt(s, window), "window": list(window)}
