"""What a schedule of a network is worth: to its users, to its sites, in money; with intervals; next to what could be reached.

Intervals are percentiles of a bootstrap over whole weeks of submission, as jobs of one week share their queue: seeded, so that the
same run gives the same card.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tidegrid.scheduling import fairness
from tidegrid.scheduling.kernel.layout import FOREVER
from tidegrid.simulation.network import NetworkJobs, NetworkRun, Site

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

WEEK = 7 * 86_400
RESAMPLES = 500
INTERVAL = (2.5, 97.5)  # percent


def scorecard(jobs: NetworkJobs, sites: Sequence[Site], run: NetworkRun, *, seed: int = 1, resamples: int = RESAMPLES) -> dict[str, Any]:
    """Plain JSON values. Waits and turnarounds in seconds, to the start and the end of the last try; `cost` in the unit of the sites'
    prices, `operator_cost` what it costs the operator; `deadlines`, where there are any: how many, the share that was kept and by how many
    seconds the others were late on average; `moved`: share of jobs that ran away from home, `moves`: of jobs that had waited elsewhere, `carried_bytes` of data from
    site to site; `sites`, `users`: what each
    site's own users had, and how evenly it falls to users (Jain's index of their mean slowdowns, 1 where all have the same)."""
    wait, slowdown = waits(jobs, run), slowdowns(jobs, run)
    turnaround = (wait + jobs.run).astype(np.float64)
    drawn = _draws(jobs.submit, seed, resamples)
    out: dict[str, Any] = {"jobs": len(wait)}
    for name, values in (("wait", wait.astype(np.float64)), ("bounded_slowdown", slowdown), ("turnaround", turnaround)):
        out[f"mean_{name}"] = _with_interval(values, jobs.submit, drawn)
    out["p95_wait"] = float(np.percentile(wait, 95)) if len(wait) else 0.0
    out["p95_bounded_slowdown"] = float(np.percentile(slowdown, 95)) if len(wait) else 0.0
    out["max_wait"] = int(wait.max(initial=0))
    out["started_at_once"] = float((wait == 0).mean()) if len(wait) else 0.0
    out["cost"], out["operator_cost"] = cost(jobs, sites, run), cost(jobs, sites, run, "cost")
    if jobs.deadline is not None:
        out["deadlines"] = deadlines(jobs, run)
    out["moved"], out["moves"], out["restarts"] = float((run.site != jobs.home).mean()), run.moves, int(run.restarts.sum())
    out["carried_bytes"] = run.carried
    out["sites"] = [
        {"site": s.name, **by_group(wait, slowdown, jobs.home == i), "guests": int(((run.site == i) & (jobs.home != i)).sum())}
        for i, s in enumerate(sites)
    ]
    if jobs.user is not None and len(wait):
        known = jobs.user >= 0
        count = np.bincount(jobs.user[known])
        mean = np.bincount(jobs.user[known], slowdown[known])[count > 0] / count[count > 0]
        out["users"] = {
            "users": len(mean), "jain": float(mean.sum() ** 2 / (len(mean) * (mean**2).sum())) if len(mean) else 1.0,
            "worst_mean_bounded_slowdown": float(mean.max(initial=0.0)),
        }  # fmt: skip
    return out


def compared(card: Mapping[str, Any], alone: Mapping[str, Any]) -> dict[str, Any]:
    """What joining did to each site's own users: their means in the network against those alone, and the sites that lost."""
    rows = [
        {"site": here["site"], "alone": {k: there[k] for k in _MEANS}, "network": {k: here[k] for k in _MEANS}}
        for here, there in zip(card["sites"], alone["sites"], strict=True)
    ]
    lost = {k: [r["site"] for r in rows if r["network"][k] > r["alone"][k]] for k in _MEANS}
    return {"sites": rows, "worse_than_alone": lost}


_MEANS = ("mean_wait", "mean_bounded_slowdown")


def gap_closed(jobs: NetworkJobs, home: NetworkRun, run: NetworkRun, pooled: NetworkRun, *, seed: int = 1) -> dict[str, float]:
    """Of the mean wait's way from every site alone (0) to one machine with all their capacity (1): how much; may be above 1."""
    drawn = _draws(jobs.submit, seed, RESAMPLES)
    sums = [_sums(waits(jobs, r).astype(np.float64), jobs.submit) for r in (home, run, pooled)]
    h, x, p = (drawn @ s for s in sums)
    h0, x0, p0 = (float(s.sum()) for s in sums)
    if h0 == p0 or (h == p).all():
        return {"value": 1.0, "low": 1.0, "high": 1.0}  # there is no gap
    low, high = np.nanpercentile((h - x) / np.where(h == p, np.nan, h - p), INTERVAL)
    return {"value": (h0 - x0) / (h0 - p0), "low": float(low), "high": float(high)}


def waits(jobs: NetworkJobs, run: NetworkRun) -> Ints:
    return run.start - jobs.submit


def slowdowns(jobs: NetworkJobs, run: NetworkRun) -> Floats:
    """Bounded ones of all jobs."""
    return fairness.slowdowns(waits(jobs, run), jobs.run)


def deadlines(jobs: NetworkJobs, run: NetworkRun) -> dict[str, float]:
    """How many jobs have one, the share that was kept, and by how many seconds the others were late on average."""
    assert jobs.deadline is not None
    has = jobs.deadline < FOREVER
    late = np.maximum(run.start + jobs.run - jobs.deadline, 0)[has]
    missed = late > 0
    return {"jobs": int(has.sum()), "kept": float((~missed).mean()) if len(late) else 1.0, "mean_late_s": float(late[missed].mean()) if missed.any() else 0.0}


def cost(jobs: NetworkJobs, sites: Sequence[Site], run: NetworkRun, of: Literal["price", "cost"] = "price") -> float:
    """Processor-hours at the prices, or costs, of the sites where the jobs ran."""
    need = np.asarray(jobs.need).reshape(len(jobs.submit), -1)[:, 0]
    price = np.array([getattr(s, of) for s in sites])
    return float((need * jobs.run / 3600 * price[run.site]).sum()) if len(need) else 0.0


def by_group(wait: Ints, slowdown: Floats, mine: NDArray[np.bool_]) -> dict[str, Any]:
    if not mine.any():
        return {"jobs": 0, "mean_wait": 0.0, "mean_bounded_slowdown": 0.0, "p95_wait": 0.0, "max_wait": 0}
    return {
        "jobs": int(mine.sum()), "mean_wait": float(wait[mine].mean()), "mean_bounded_slowdown": float(slowdown[mine].mean()),
        "p95_wait": float(np.percentile(wait[mine], 95)), "max_wait": int(wait[mine].max()),
    }  # fmt: skip


def _blocks(submit: Ints) -> Ints:
    """Each job's week; a short log is cut in ten parts instead."""
    first, last = int(submit.min(initial=0)), int(submit.max(initial=0))
    length = max(1, min(WEEK, (last - first) // 10))
    return (submit - first) // length


def _sums(values: Floats, submit: Ints) -> Floats:
    out: Floats = np.bincount(_blocks(submit), values).astype(np.float64)
    return out


def _draws(submit: Ints, seed: int, resamples: int) -> Floats:
    """float64[resamples, blocks]: how often each block is drawn."""
    blocks = int(_blocks(submit).max(initial=0)) + 1
    rng = np.random.default_rng(seed)
    return rng.multinomial(blocks, np.full(blocks, 1 / blocks), size=resamples).astype(np.float64)


def _with_interval(values: Floats, submit: Ints, drawn: Floats) -> dict[str, float]:
    if not len(values):
        return {"value": 0.0, "low": 0.0, "high": 0.0}
    means = (drawn @ _sums(values, submit)) / np.maximum(drawn @ _sums(np.ones(len(values)), submit), 1.0)
    low, high = np.percentile(means, INTERVAL)
    return {"value": float(values.mean()), "low": float(low), "high": float(high)}
