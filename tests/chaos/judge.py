"""Judges a chaos run from files. Imports nothing of tidegrid: what is judged must not be its own judge.

    python tests/chaos/judge.py DIR [--json]

DIR holds
    witness*        one line a moment, appended by the jobs themselves, outside the platform's directories:
                    `start <token> <task> <attempt>/<native id>/<anything> <unix ns> <pid> <ms>` and
                    `end <token> <task> <the same> <unix ns> <pid>`; <ms>: how long the batch script had been running then
    jobs.json       [{token, tasks: [0, …], restartable, expect, job, state}], state: as the API said at the end
    usage.json      `GET /usage`, all pages
    journals.json   the supervisors' journals: [{cluster, attempt, native_id, task, started_us, ended_us, exit, reason,
                    fence}], fence: the target of the task's fence link at the site, `server:…` where the server won it
    check.json      `GET /journal/check`

Exit status 0 where nothing was violated, 1 otherwise, 2 where DIR cannot be read.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

FINAL = {"succeeded", "failed", "timeout", "oom", "cancelled", "lost"}
REFUSED = 75  # exit status of a prologue that did not start its application
DOUBLED = ("overlap", "unlicensed", "early_restart", "submitted_twice")
CLOCK_P99_MS = 200.0
CLOCK_MAX_MS = 1000.0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass
class Run:
    """One execution as its job saw it. Times in ns; end is None where no end line was written."""

    token: str
    task: int
    nonce: str
    start: int
    waited_ms: float
    end: int | None = None

    @property
    def attempt(self) -> str:
        return self.nonce.split("/")[0]

    @property
    def native_id(self) -> str:
        return self.nonce.partition("/")[2].partition("/")[0]


@dataclass
class Verdict:
    """violations: [kind, what]; counts: what was looked at."""

    violations: list[tuple[str, str]] = field(default_factory=list)
    counts: dict[str, float] = field(default_factory=dict)

    def bad(self, kind: str, what: str) -> None:
        self.violations.append((kind, what))

    @property
    def kinds(self) -> dict[str, int]:
        return dict(Counter(kind for kind, _ in self.violations))

    @property
    def duplicates(self) -> int:
        """Executions that overlapped another of the same task, or were started again without licence."""
        return sum(n for kind, n in self.kinds.items() if kind in DOUBLED)


def micros(text: str) -> int:
    """ISO 8601 in UTC -> µs, exactly."""
    d = datetime.fromisoformat(text.replace("Z", "+00:00")) - _EPOCH
    return (d.days * 86400 + d.seconds) * 1_000_000 + d.microseconds


def read_witness(lines: list[str], verdict: Verdict) -> list[Run]:
    """Runs, in the order of their starts. A line that cannot be read is a violation: lines are written at once."""
    runs: dict[tuple[str, int, str], Run] = {}
    ends: list[tuple[tuple[str, int, str], int]] = []
    for line in lines:
        words = line.split()
        try:
            what, token, task, nonce, at = words[0], words[1], int(words[2]), words[3], int(words[4])
            if what not in ("start", "end") or len(words) != (7 if what == "start" else 6):
                raise ValueError(line)
            key = (token, task, nonce)
            if what == "end":
                ends.append((key, at))
            elif key in runs:
                verdict.bad("malformed", f"two starts of one nonce: {line}")
            else:
                runs[key] = Run(token, task, nonce, at, float(words[6]))
        except (IndexError, ValueError):
            verdict.bad("malformed", f"witness: {line!r}")
    for key, at in ends:
        run = runs.get(key)
        if run is None or run.end is not None:
            verdict.bad("malformed", f"an end without its start, or twice: {key}")
        else:
            run.end = at
    return sorted(runs.values(), key=lambda r: r.start)


def judge(
    witness: list[str],
    jobs: list[dict[str, Any]],
    usage: list[dict[str, Any]],
    journals: list[dict[str, Any]],
    check: dict[str, Any],
) -> Verdict:
    """Every rule over parsed files."""
    v = Verdict()
    runs = read_witness(witness, v)
    known = {(j["token"], t): j for j in jobs for t in j["tasks"]}
    by_task: dict[tuple[str, int], list[Run]] = defaultdict(list)
    for run in runs:
        if (run.token, run.task) in known:
            by_task[run.token, run.task].append(run)
        else:
            v.bad("unknown", f"{run.token} task {run.task} ran and was never submitted")
    witnessed: dict[tuple[str, str, int], list[dict[str, Any]]] = defaultdict(list)
    for record in journals:
        witnessed[record["attempt"], record["native_id"], record["task"]].append(record)
    _ends(v, jobs, by_task)
    for (token, task), of_task in by_task.items():
        _executions(v, known[token, task], task, of_task, witnessed)
    _usage(v, usage, journals, {(r.attempt, r.native_id, r.task) for r in runs})
    _clocks(v, usage, runs)
    if check.get("balanced") is not True:
        v.bad("journal_unbalanced", json.dumps(check)[:500])
    v.counts |= {
        "jobs": len(jobs), "tasks": len(known), "executions": len(runs), "usage_rows": len(usage),
        "supervisor_runs": len(journals), "restarted_tasks": sum(len(r) > 1 for r in by_task.values()),
        "refused_runs": sum(1 for r in journals if r.get("exit") == REFUSED),
    }  # fmt: skip
    return v


def _ends(v: Verdict, jobs: list[dict[str, Any]], by_task: dict[tuple[str, int], list[Run]]) -> None:
    """Every job ended, as planned, and did its work."""
    for token, n in Counter(j["token"] for j in jobs).items():
        if n > 1:
            v.bad("submitted_twice", f"{token}: {n} jobs for one submission")
    for j in jobs:
        name = f"{j['token']} ({j.get('job')})"
        if j.get("state") not in FINAL:
            v.bad("not_ended", f"{name} is {j.get('state')}")
            continue
        if j["state"] != j.get("expect", "succeeded"):
            v.bad("ended_otherwise", f"{name}: {j['state']}, expected {j.get('expect', 'succeeded')}")
        if j["state"] == "succeeded":
            for task in j["tasks"]:
                if not any(r.end is not None for r in by_task.get((j["token"], task), ())):
                    v.bad("lost", f"{name} task {task} is said to have succeeded and never did its work")


def _executions(
    v: Verdict, job: dict[str, Any], task: int, runs: list[Run],
    witnessed: dict[tuple[str, str, int], list[dict[str, Any]]],
) -> None:
    """No two executions of a task at once, no second one that `restartable` does not license."""  # fmt: skip

    def end_of(run: Run) -> float:
        if run.end is not None:
            return run.end
        known = [
            r["ended_us"] * 1000
            for r in witnessed.get((run.attempt, run.native_id, task), ())
            if r.get("started_us") is not None and r["started_us"] * 1000 <= run.start and r.get("ended_us") is not None
        ]
        return max(known, default=math.inf)

    for before, after in pairwise(runs):
        name = f"{job['token']} task {task}: {before.nonce} and {after.nonce}"
        if after.start < end_of(before):
            v.bad("overlap" if before.end is not None else "early_restart", name)
        elif not job.get("restartable"):
            v.bad("unlicensed", name)


def _usage(
    v: Verdict, usage: list[dict[str, Any]], journals: list[dict[str, Any]], ran: set[tuple[str, str, int]]
) -> None:
    """What is charged is what the supervisors witnessed: the same runs, the same microseconds."""
    charged: dict[tuple[str, str, int], list[list[dict[str, Any]]]] = defaultdict(list)
    for segments in _charged(usage):
        s = segments[0]
        charged[s["cluster"], s["attempt"], s["task"]].append(segments)
    for r in journals:
        if r.get("started_us") is None:
            continue
        name = f"{r['cluster']} {r['attempt']} task {r['task']} ({r['native_id']})"
        runs = charged.get((r["cluster"], r["attempt"], r["task"]), [])
        refused = r.get("exit") == REFUSED or str(r.get("fence", "")).startswith("server:")
        free = refused and (r["attempt"], r["native_id"], r["task"]) not in ran
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


def _charged(usage: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
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
    for segments in _charged(usage):
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


def judge_directory(directory: Path) -> Verdict:
    """OSError or ValueError where the files cannot be read."""
    lines: list[str] = []
    for path in sorted(directory.glob("witness*")):
        lines += path.read_text().splitlines()
    read = {n: json.loads((directory / f"{n}.json").read_text()) for n in ("jobs", "usage", "journals", "check")}
    return judge(lines, read["jobs"], read["usage"], read["journals"], read["check"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    try:
        v = judge_directory(args.directory)
    except (OSError, ValueError, KeyError) as e:
        print(f"judge: {args.directory}: {e}", file=sys.stderr)
        return 2
    if args.json:
        print(json.dumps({**asdict(v), "kinds": v.kinds, "duplicates": v.duplicates}))
    else:
        print("judge: " + ", ".join(f"{k} {n:g}" for k, n in v.counts.items()))
        for kind, what in v.violations[:50]:
            print(f"  {kind}: {what}")
        print("judge: " + (f"{len(v.violations)} violations: {v.kinds}" if v.violations else "nothing violated"))
    return 1 if v.violations else 0


if __name__ == "__main__":
    sys.exit(main())
