"""The workload model of Lublin and Feitelson for rigid jobs on one machine.

U. Lublin, D. G. Feitelson, "The workload on parallel supercomputers: modeling the characteristics of rigid jobs", Journal of Parallel
and Distributed Computing 63(11), 2003, 1105-1122; the parameters are those of all jobs together, without a type. Sizes are two-stage
uniform in log2, many of them powers of two; log run times are hyper-gamma whose mixture leans with the size; arrivals are gamma in the log of
the time between them, run through a daily cycle that is itself a gamma. The model says nothing of users and estimates: see `estimates`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from tidegrid.domain.errors import InvalidInput
from tidegrid.simulation.traces.trace import COMPLETED, Floats, Header, Ints, Trace, build

BUCKETS = 48
_BUCKET_S = 86400 // BUCKETS
DAY_START = 11  # the cycle's day begins in this bucket

# Wall times people ask for, in minutes: 20 values make up most of what is asked for (D. Tsafrir, Y. Etsion, D. G. Feitelson,
# "Modeling user runtime estimates", JSSPP 2005).
POPULAR = 60 * np.array([5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 240, 300, 360, 480, 600, 720, 900, 1080, 1440, 2160, 2880, 4320], np.int64)


@dataclass(frozen=True)
class Model:
    """The published parameters. Sizes in log2 processors, run times and the time between arrivals as natural logs of seconds."""

    serial: float = 0.244  # part of the jobs with one processor
    power2: float = 0.576  # part with a power of two of them
    low: float = 0.8
    below_high: float = 2.5  # the changing point lies this far below log2 of the machine
    first: float = 0.86  # part below the changing point
    a1: float = 4.2
    b1: float = 0.94
    a2: float = 312.0
    b2: float = 0.03
    pa: float = -0.0054  # the first gamma's part is pa * processors + pb
    pb: float = 0.78
    longest: float = 12.0
    arrive_a: float = 10.2303
    arrive_b: float = 0.4871
    rush_to_all: float = 1.0225
    cycle_a: float = 8.1737
    cycle_b: float = 3.9631
    apart: float = 13.0


PUBLISHED = Model()


def sizes(rng: np.random.Generator, n: int, high: Floats | float, model: Model = PUBLISHED) -> Ints:
    """Processors of n jobs; `high` is log2 of the machine (a number, or one for each job)."""
    u = rng.random(n)
    middle = np.maximum(high - model.below_high, model.low)
    first = rng.random(n) < model.first
    low, top = np.where(first, model.low, middle), np.where(first, middle, np.maximum(high, middle))
    log2 = low + (top - low) * rng.random(n)
    log2 = np.where(u <= model.serial + model.power2, np.floor(log2 + 0.5), log2)
    processors = np.floor(np.exp2(log2) + 0.5).astype(np.int64)
    most = np.floor(np.exp2(high) + 1e-9).astype(np.int64)
    return np.where(u <= model.serial, 1, np.clip(processors, 1, most))


def runs(rng: np.random.Generator, processors: Ints, model: Model = PUBLISHED) -> Ints:
    """Run times in seconds, at least 1; those above exp(`longest`) are drawn again."""
    p = np.clip(model.pa * processors + model.pb, 0, 1)
    out = np.empty(len(processors))
    todo = np.arange(len(processors))
    while len(todo):
        first = rng.random(len(todo)) <= p[todo]
        drawn = np.where(first, rng.gamma(model.a1, model.b1, len(todo)), rng.gamma(model.a2, model.b2, len(todo)))
        out[todo] = drawn
        todo = todo[drawn > model.longest]
    return np.maximum(1, np.exp(out)).astype(np.int64)


def cycle(model: Model = PUBLISHED) -> Floats:
    """How busy each half hour of the day is, from midnight; the mean is 1."""
    inside = 64
    at = np.arange(DAY_START - 0.5, DAY_START + BUCKETS - 0.5, 1 / inside) + 0.5 / inside
    log = (model.cycle_a - 1) * np.log(at) - at / model.cycle_b - math.lgamma(model.cycle_a) - model.cycle_a * math.log(model.cycle_b)
    weights = np.exp(log).reshape(BUCKETS, inside).sum(axis=1)
    out: Floats = np.roll(weights / weights.mean(), DAY_START - 1)
    return out


def gaps(rng: np.random.Generator, n: int, model: Model = PUBLISHED) -> Floats:
    """Seconds between n arrivals where the day had no cycle; those above exp(`apart`) are drawn again."""
    out = rng.gamma(model.arrive_a * model.rush_to_all, model.arrive_b, n)
    while True:
        late = np.flatnonzero(out > model.apart)
        if not len(late):
            return np.exp(out)
        out[late] = rng.gamma(model.arrive_a * model.rush_to_all, model.arrive_b, len(late))


def warp(flat: Floats, weights: Floats, bucket_s: float = _BUCKET_S) -> Floats:
    """Times under a cycle: flat seconds pass through each bucket as fast as it is busy. `weights` has mean 1 over its period."""
    period = len(weights) * bucket_s
    done = np.concatenate((np.zeros(1), np.cumsum(weights) * bucket_s))
    whole, rest = np.divmod(flat, period)
    out: Floats = whole * period + np.interp(rest, done, np.arange(len(weights) + 1) * bucket_s)
    return out


def estimates(rng: np.random.Generator, run: Ints, longest: int = int(POPULAR[-1])) -> Ints:
    """Wall times asked for: the run takes a uniform part of it, and it is rounded up to a time people ask for, at most `longest` or the run itself.

    The uniform part is what logs show (A. W. Mu'alem, D. G. Feitelson, IEEE TPDS 12(6), 2001); the popular values are Tsafrir's.
    """
    wished = run / np.maximum(rng.random(len(run)), 1e-3)
    at = np.minimum(np.searchsorted(POPULAR, wished), len(POPULAR) - 1)
    return np.maximum(np.minimum(POPULAR[at], longest), np.ceil(run / 60).astype(np.int64) * 60)


def users(rng: np.random.Generator, n: int, count: int, bent: float = 1.1) -> Ints:
    """Who sends them: user k has a part that falls as k**-bent."""
    part = np.arange(1, count + 1) ** -bent
    return np.searchsorted(np.cumsum(part / part.sum()), rng.random(n)).clip(0, count - 1) + 1


def generate(rng: np.random.Generator, jobs: int, processors: int, load: float | None = None, *, model: Model = PUBLISHED,
             widest: int = 0, people: int = 0, start: int = 0) -> Trace:  # fmt: skip
    """A log of `jobs` on a machine of `processors`, none wider than `widest` (the machine, where it is 0: as published). `load`: work asked for / (processors x time of the arrivals); None keeps the published arrivals.

    To meet a load the times between arrivals are stretched before the daily cycle, so that the cycle stays a day. `people`: users, by default one for 60 jobs,
    at most 1,000. `start`: Unix time of the log's midnight. Raises InvalidInput `trace.generate`.
    """
    check(jobs, processors, load)
    width = sizes(rng, jobs, math.log2(min(widest or processors, processors)), model)
    run = runs(rng, width, model)
    flat = np.cumsum(gaps(rng, jobs, model))
    weights = cycle(model)
    if load is not None:
        work = float((run * width).sum(dtype=np.float64))
        flat *= _stretch(flat[[0, -1]], weights, work / (processors * load))
    submit = warp(flat, weights)
    sent_by = users(rng, jobs, people or int(np.clip(jobs // 60, 1, 1000)))
    header = Header(start=start, processors=processors, nodes=processors, computer="Lublin-Feitelson model",
                    notes=("U. Lublin, D. G. Feitelson, JPDC 63(11), 2003; estimates and users are added",))  # fmt: skip
    trace = build(submit.astype(np.int64), run, requested=width, allocated=width, estimate=estimates(rng, run), user=sent_by, group=sent_by % 20,
                  status=np.full(jobs, COMPLETED), header=header)  # fmt: skip
    return replace(trace, submit=trace.submit - trace.submit[0] + int(trace.submit[0]) % 86400)


def _stretch(ends: Floats, weights: Floats, span: float) -> float:
    """The factor under which the first and the last arrival lie `span` seconds apart; by halving, as the cycle makes it no straight line."""
    low, high = 1e-12, 1e12
    for _ in range(200):
        middle = math.sqrt(low * high)
        first, last = warp(ends * middle, weights)
        low, high = (middle, high) if last - first < span else (low, middle)
    return low


def check(jobs: int, processors: int, load: float | None) -> None:
    """Raises InvalidInput where nothing can be generated from these."""
    for name, value in (("jobs", jobs), ("processors", processors)):
        if value < 1:
            raise InvalidInput("trace.generate", f"{name} is {value}", hint=f"give at least one with --{name}")
    if load is not None and not 0 < load <= 100:
        raise InvalidInput("trace.generate", f"the load is {load}", hint="give --load above 0: 0.9 asks for nine tenths of the machine")
