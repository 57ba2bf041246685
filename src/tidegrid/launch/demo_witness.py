"""What the jobs and the supervisors say, against what the platform says: nothing lost, nothing run twice."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tidegrid.client import Job
from tidegrid.domain.job import JobState
from tidegrid.launch.demo_batch import Planned

_REFUSED = 75  # a prologue that left before its application started


@dataclass(frozen=True, slots=True)
class Judgement:
    """lost, duplicates: what was lost or ran more than once, by name; surprises: jobs that ended otherwise than planned."""

    lost: tuple[str, ...]
    duplicates: tuple[str, ...]
    surprises: tuple[str, ...]


def judge(plan: Sequence[Planned], jobs: Mapping[str, Job], witness: Path, clusters: Path) -> Judgement:
    """plan and jobs by name; witness: the file the jobs wrote to; clusters: the homes of the supervisors."""
    starts, ends = said_by_jobs(witness)
    runs = _journalled(clusters)
    lost, doubled, surprises = [], [], []
    for p in plan:
        job = jobs.get(p.name)
        if job is None or not job.final or job.state is JobState.LOST:
            lost.append(f"{p.name}: {job.state if job else 'not there'}")
            continue
        if job.state != p.expect:
            surprises.append(f"{p.name}: {job.state}, planned {p.expect}" + (f" ({job.reason})" if job.reason else ""))
        for task in range(p.tasks):
            what = p.name if p.tasks == 1 else f"{p.name} task {task}"
            ran = sum(runs.get((a.id, task), 0) for a in job.attempts)
            if p.witnessed:
                ran = max(len(starts[p.name, task]), 0)
                if job.succeeded and not ends[p.name, task]:
                    lost.append(f"{what}: said to have succeeded, and never finished its work")
            if ran > 1:
                doubled.append(f"{what}: ran {ran} times")
            elif ran == 0 and job.succeeded:
                lost.append(f"{what}: said to have succeeded, and never ran")
    return Judgement(tuple(lost), tuple(doubled), tuple(surprises))


def said_by_jobs(witness: Path) -> tuple[dict[tuple[str, int], set[str]], dict[tuple[str, int], set[str]]]:
    """Starts and ends by (name, task): the nonces of the executions."""
    said: dict[str, dict[tuple[str, int], set[str]]] = {"start": defaultdict(set), "end": defaultdict(set)}
    for line in witness.read_text().splitlines() if witness.exists() else ():
        what, name, task, nonce = line.split()
        said[what][name, int(task)].add(nonce)
    return said["start"], said["end"]


def _journalled(clusters: Path) -> dict[tuple[str, int], int]:
    """Runs in the supervisors' journals that went past their prologue, by (attempt, task)."""
    count: dict[tuple[str, int], int] = defaultdict(int)
    for journal in clusters.glob("*/journal"):
        for line in journal.read_bytes().splitlines():
            record = json.loads(line.partition(b" ")[2])
            if record["k"] == "ended" and record["start"] is not None and record["exit"] != _REFUSED:
                count["att-" + record["n"].removeprefix("tg-"), record["task"]] += 1
    return count
