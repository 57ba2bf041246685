"""Whether what was charged is what the clusters witnessed, and what the jobs' own clocks say. Imports nothing of tidegrid.

Supervisors of embedded clusters tell microseconds and forget nothing: equal means equal. Slurm tells whole seconds; a controller
that was killed may tell an end twice, or never.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from typing import Any

from tests.chaos.runs import REFUSED, Run, Verdict, micros

CLOCK_P99_MS = 200.0
CLOCK_MAX_MS = 1000.0
BATCH_SCRIPT_US = 100_000  # what is cancelled sooner may never have got as far as its fence


def judge(
    v: Verdict, usage: list[dict[str, Any]], records: list[dict[str, Any]], runs: list[Run], outages: list[dict[str, Any]]
) -> None:
    """Every rule about money that needs no arithmetic of prices."""
    supervised = [r for r in records if not r.get("witness")]
    slurm = {r["cluster"] for r in records if r.get("witness")} | {r.cluster for r in runs if r.cluster}
    mine = [u for u in usage if u["cluster"] not in slurm]
    _usage(v, mine, supervised, {(r.attempt, r.native_id, r.task) for r in runs})
    _clocks(v, mine, [r for r in runs if not r.cluster])
    if slurm:
        from tests.chaos import slurm_bills

        slurm_bills.judge(v, [u for u in usage if u["cluster"] in slurm], records, runs, outages)


def _usage(
    v: Verdict, usage: list[dict[str, Any]], journals: list[dict[str, Any]], ran: set[tuple[str, str, int]]
) -> None:
    """What is charged is what the supervisors witnessed: the same runs, the same microseconds."""
    charged: dict[tuple[str, str, int], list[list[dict[str, Any]]]] = defaultdict(list)
    for segments in charged_(usage):
        s = segments[0]
        charged[s["cluster"], s["attempt"], s["task"]].append(segments)
    for r in journals:
        if r.get("started_us") is None:
            continue
        name = f"{r['cluster']} {r['attempt']} task {r['task']} ({r['native_id']})"
        runs = charged.get((r["cluster"], r["attempt"], r["task"]), [])
        refused = r.get("exit") == REFUSED or str(r.get("fence", "")).startswith("server:")
        stillborn = r.get("reason") == "cancelled" and not r.get("fence") and r["ended_us"] - r["started_us"] < BATCH_SCRIPT_US
        waited = r.get("reason") == "cancelled" and r.get("let_start") is False  # for a permit: no application has opened its output
        free = (refused or stillborn or waited) and (r["attempt"], r["native_id"], r["task"]) not in ran
        match = next((s for s in runs if micros(s[0]["started_at"]) == r["started_us"]), None)
        if match is None and runs and not free:
            match = runs[0]
        if free:
            if match is not None:
                v.bad("overbilled", f"{name}: refused before its application started, and charged")
                runs.remove(match)
            continue
        if match is None:
            v.bad("unbilled", f"{name}: {r['started_us']}…{r.get('ended_us')} µs, nothing charged")
            continue
        runs.remove(match)
        _same(v, name, match, r)
    for (cluster, attempt, task), left in charged.items():
        for segments in left:
            v.bad("overbilled", f"{cluster} {attempt} task {task}: charged from {segments[0]['started_at']}, no such run")


def charged_(usage: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """What counts, by execution, in the order of their starts; the stretches of each in order."""
    grouped: dict[tuple[str, str, int, int], list[dict[str, Any]]] = defaultdict(list)
    for u in usage:
        if not u.get("reversed"):
            grouped[u["cluster"], u["attempt"], u["task"], u["restart"]].append(u)
    found = [sorted(g, key=lambda s: (s["segment"], s["revision"])) for g in grouped.values()]
    return sorted(found, key=lambda g: micros(g[0]["started_at"]))


def _same(v: Verdict, name: str, segments: list[dict[str, Any]], r: dict[str, Any]) -> None:
    at, total = r["started_us"], 0
    if len({s["segment"] for s in segments}) != len(segments):
        v.bad("overbilled", f"{name}: one stretch is charged twice")
    for s in segments:
        if micros(s["started_at"]) != at:
            v.bad("usage_differs", f"{name}: a stretch starts at {micros(s['started_at'])} µs, not at {at}")
        at, total = micros(s["ended_at"]), total + s["elapsed_ms"]
        if s.get("estimated"):
            v.bad("usage_differs", f"{name}: still an estimate, and the supervisor knows better")
    if at != r.get("ended_us") or total != (at - r["started_us"]) // 1000:
        v.bad(
            "usage_differs",
            f"{name}: charged to {at} µs, {total} ms; the supervisor has {r.get('ended_us')} µs, "
            f"{((r.get('ended_us') or 0) - r['started_us']) / 1000:.3f} ms",
        )


def _clocks(v: Verdict, usage: list[dict[str, Any]], runs: list[Run]) -> None:
    """Charged time against the jobs' own clocks, counted from the beginning of their batch script."""
    charged: dict[tuple[str, int], list[int]] = defaultdict(list)
    for segments in charged_(usage):
        charged[segments[0]["attempt"], segments[0]["task"]].append(sum(s["elapsed_ms"] for s in segments))
    seen: Counter[tuple[str, int]] = Counter()
    off: list[tuple[float, str]] = []
    for run in runs:  # in the order of their starts, as the charged ones are
        key = (run.attempt, run.task)
        number, seen[key] = seen[key], seen[key] + 1
        if run.end is not None and number < len(charged[key]):
            own = (run.end - run.start) / 1e6 + run.waited_ms
            off.append((abs(charged[key][number] - own), run.nonce))
    off.sort()
    v.counts["clocks_compared"] = len(off)
    if not off:
        return
    p99 = off[max(0, math.ceil(0.99 * len(off)) - 1)][0]
    worst, which = off[-1]
    v.counts |= {
        "clock_p50_ms": round(off[len(off) // 2][0], 1), "clock_p99_ms": round(p99, 1), "clock_max_ms": round(worst, 1),
    }  # fmt: skip
    if p99 > CLOCK_P99_MS:
        v.bad("clock", f"charged time is {p99:.0f} ms off the jobs' own clocks at p99; {CLOCK_P99_MS:.0f} is the limit")
    if worst > CLOCK_MAX_MS:
        v.bad("clock", f"{which}: charged time is {worst:.0f} ms off the job's own clock; {CLOCK_MAX_MS:.0f} is the limit")
