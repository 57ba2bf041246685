"""Judges a chaos run from files. Imports nothing of tidegrid: what is judged must not be its own judge.

    python -m tests.chaos.judge DIR [--json]

DIR holds
    witness*        one line a moment, appended by the jobs themselves, outside the platform's directories:
                    `start <token> <task> <attempt>/<native id>/<anything> <unix ns> <pid> <ms>` and
                    `end <token> <task> <the same> <unix ns> <pid>`; <ms>: how long the batch script had been running then
    jobs.json       [{token, tasks: [0, …], restartable, movable, expect, job, state, seconds}], state: as the API said at the end;
                    movable: false where it waits for no permit; let_start: of each of its attempts, the removed cluster that let it start;
                    seconds: how long a run sleeps between its two lines
    usage.json      `GET /usage`, all pages
    journals.json   what the clusters recorded: [{cluster, attempt, native_id, task, started_us, ended_us, exit, reason,
                    fence, let_start}], fence: the target of the task's fence link at the site, `server:…` where the server won it;
                    let_start: whether the application was started: its output file is there.
                    Of Slurm also {cores, witness: accounting | controller}: these tell whole seconds, and may have forgotten
    outages.json    [{cluster, kind, begin_us, end_us}], end_us null: for good
    check.json      `GET /journal/check`

Exit status 0 where nothing was violated, 1 otherwise, 2 where DIR cannot be read.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import Counter, defaultdict
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.chaos import bills
from tests.chaos.runs import REFUSED, Run, Verdict, read_witness

FINAL = {"succeeded", "failed", "timeout", "oom", "cancelled", "lost"}
WOKEN_S = 1.0  # at most, from the end of a run's sleep to its last line
LAUNCHES_AGAIN_US = 20_000_000  # after its restart
FORGETS_US = 6_000_000  # of what it acknowledged, a controller that is killed forgets the last seconds


def judge(
    witness: list[str],
    jobs: list[dict[str, Any]],
    usage: list[dict[str, Any]],
    journals: list[dict[str, Any]],
    check: dict[str, Any],
    outages: list[dict[str, Any]] | None = None,
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
    outages = outages or []
    _ends(v, jobs, by_task, outages, journals)
    for (token, task), of_task in by_task.items():
        _executions(v, known[token, task], task, of_task, witnessed, outages)
    bills.judge(v, usage, journals, runs, outages)
    if check.get("balanced") is not True:
        v.bad("journal_unbalanced", json.dumps(check)[:500])
    v.counts |= {
        "jobs": len(jobs), "tasks": len(known), "executions": len(runs), "usage_rows": len(usage),
        "recorded_runs": len(journals), "restarted_tasks": sum(len(r) > 1 for r in by_task.values()),
        "refused_runs": sum(1 for r in journals if r.get("exit") == REFUSED),
    }  # fmt: skip
    return v


def _ends(
    v: Verdict, jobs: list[dict[str, Any]], by_task: dict[tuple[str, int], list[Run]], outages: list[dict[str, Any]],
    records: list[dict[str, Any]],
) -> None:
    """Every job ended, as planned, and did its work; or it was cut short where its cluster was removed, or forgot it."""
    removed = {o["cluster"]: o["begin_us"] for o in outages if o["kind"] == "removed"}
    forgetful = [o for o in outages if o["kind"] == "controller killed"]
    for token, n in Counter(j["token"] for j in jobs).items():
        if n > 1:
            v.bad("submitted_twice", f"{token}: {n} jobs for one submission")
    for j in jobs:
        name = f"{j['token']} ({j.get('job')})"
        if j.get("state") not in FINAL:
            v.bad("not_ended", f"{name} is {j.get('state')}")
            continue
        mine = [r for t in j["tasks"] for r in by_task.get((j["token"], t), ())]
        if j["state"] == "lost" and removed:
            v.counts["lost_jobs"] = v.counts.get("lost_jobs", 0) + 1
            if j.get("restartable"):
                v.bad("lost_although_restartable", name)
            elif not any(r.cluster in removed for r in mine) and not any(c in removed for c in j.get("let_start", ())):
                if j.get("movable") is not False or mine:
                    v.bad("lost_elsewhere", f"{name} never ran on {' or '.join(removed)}")
                # its owner wanted that it starts unasked: whether it did nobody could know
                v.counts["lost_unheard"] = v.counts.get("lost_unheard", 0) + 1
        elif j["state"] == "failed" and (
            any(_cut_short(r, forgetful) for r in mine)
            or any(_killed_at_its_door(j, t, records, forgetful) for t in j["tasks"] if not by_task.get((j["token"], t)))
        ):
            v.counts["killed_by_their_cluster"] = v.counts.get("killed_by_their_cluster", 0) + 1
        elif j["state"] != j.get("expect", "succeeded"):
            v.bad("ended_otherwise", f"{name}: {j['state']}, expected {j.get('expect', 'succeeded')}")
        if j["state"] == "succeeded":
            for task in j["tasks"]:
                if not any(r.end is not None for r in by_task.get((j["token"], task), ())):
                    v.bad("lost", f"{name} task {task} is said to have succeeded and never did its work")


def _cut_short(run: Run, forgetful: list[dict[str, Any]]) -> bool:
    """Whether a run shows no end, or none that could be told, and began in the last seconds of a controller's memory: its node
    was told to end it."""
    return any(
        o["cluster"] == run.cluster and o["begin_us"] - FORGETS_US <= run.start / 1000 <= o["end_us"] + FORGETS_US
        for o in forgetful
    )


def _killed_at_its_door(job: dict[str, Any], task: int, records: list[dict[str, Any]], forgetful: list[dict[str, Any]]) -> bool:
    """Whether a task that never said it ran was launched by a controller that then forgot it: killed while it waited for its
    permit or in its first instants (its record shows the order), or launched twice, the second time refused by the fence."""
    mine = [r for r in records if r["attempt"] in job.get("attempts", ()) and r["task"] == task and r["started_us"] is not None]
    return any(
        (r["exit"] == REFUSED and o["begin_us"] <= r["started_us"] <= o["end_us"] + LAUNCHES_AGAIN_US)
        or (
            r["reason"].startswith(("CANCELLED", "NODE_FAIL"))
            and o["begin_us"] - FORGETS_US <= r["started_us"] <= o["end_us"] + FORGETS_US
        )
        for r in mine for o in forgetful if r["cluster"] == o["cluster"]
    )  # fmt: skip


def _executions(
    v: Verdict, job: dict[str, Any], task: int, runs: list[Run],
    witnessed: dict[tuple[str, str, int], list[dict[str, Any]]], outages: list[dict[str, Any]],
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
        known += [o["begin_us"] * 1000 for o in outages if o["kind"] == "removed" and o["cluster"] == run.cluster]
        if known or "seconds" not in job:
            return max(known, default=math.inf)
        # in no record either: what had lived through its sleep would have said so
        return run.start + (job["seconds"] + WOKEN_S) * 1e9

    for before, after in pairwise(runs):
        name = f"{job['token']} task {task}: {before.nonce} and {after.nonce}"
        if after.start < end_of(before):
            v.bad("overlap" if before.end is not None else "early_restart", name)
        elif not job.get("restartable"):
            v.bad("unlicensed", name)


def judge_directory(directory: Path) -> Verdict:
    """OSError or ValueError where the files cannot be read."""
    lines: list[str] = []
    for path in sorted(directory.glob("witness*")):
        lines += path.read_text().splitlines()
    read = {n: json.loads((directory / f"{n}.json").read_text()) for n in ("jobs", "usage", "journals", "check")}
    outages = directory / "outages.json"
    return judge(lines, **read, outages=json.loads(outages.read_text()) if outages.exists() else [])


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
