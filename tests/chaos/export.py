"""Writes what the judge reads: jobs and usage as the API tells them, the clusters' own records as they lie on disk."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.chaos.work import Work
from tidegrid.client import Tide
from tidegrid.client.views import Job


def journals(clusters: Path) -> list[dict[str, Any]]:
    """Runs in the journals of all supervisors."""
    return [r for home in sorted(clusters.iterdir()) if (home / "journal").exists() for r in journal(home)]


def journal(home: Path) -> list[dict[str, Any]]:
    """Runs in one supervisor's journal. ValueError where a line is damaged (a torn last line is not there)."""
    runs, directories = [], {}
    data = (home / "journal").read_bytes()
    for line in data[: data.rfind(b"\n") + 1].splitlines():
        checksum, _, body = line.partition(b" ")
        if int(checksum, 16) != zlib.crc32(body):
            raise ValueError(f"{home / 'journal'}: damaged: {line[:200]!r}")
        record = json.loads(body)
        if record["k"] == "submit":
            directories[record["n"]] = Path(record["spec"]["directory"])
        elif record["k"] == "ended":
            runs.append(
                {
                    "cluster": home.name, "attempt": "att-" + record["n"].removeprefix("tg-"), "native_id": record["i"],
                    "task": record["task"], "started_us": record["start"], "ended_us": record["at"],
                    "exit": record["exit"], "reason": record["reason"],
                    "fence": fence(directories[record["n"]], record["task"]),
                    "let_start": (directories[record["n"]] / "log" / f"{record['task']}.out").exists(),
                }
            )  # fmt: skip
    return runs


def fence(directory: Path, task: int) -> str:
    """Who holds the fence of a task's first start; empty where there is none."""
    try:
        return os.readlink(directory / f"fence-{task}.0")
    except OSError:
        return ""


def jobs(tide: Tide, work: list[Work]) -> list[dict[str, Any]]:
    """Every job the server has, with what was asked of it; what was never acknowledged is `not there`."""
    plan = {w.token: w for w in work}
    out, found = [], set()
    for job in tide.jobs(page=200):
        w = plan.get(job.name)
        if w is not None:
            found.add(w.token)
            out.append({"token": w.token, "tasks": w.tasks, "restartable": w.restartable,
                        "movable": w.movable, "cores": w.cores, "seconds": w.seconds,
                        "expect": "succeeded", "job": job.id, "state": str(job.state), "reason": job.reason,
                        "moved": job.moved, "attempts": _attempts(tide, job)})  # fmt: skip
    out += [{"token": t, "tasks": plan[t].tasks, "restartable": False, "job": None, "state": "not there"} for t in plan.keys() - found]
    return out


def _attempts(tide: Tide, job: Job) -> list[str]:
    """Of those that did not succeed: where they were tried."""
    return [] if job.state == "succeeded" else [a.id for a in tide.job(job.id).attempts]


def write(
    directory: Path,
    tide: Tide,
    work: list[Work],
    records: list[dict[str, Any]],
    outages: Sequence[dict[str, Any]] = (),
    permits: Mapping[str, str] | None = None,
) -> None:
    """jobs.json, usage.json, journals.json, outages.json, check.json into `directory`. permits: where an attempt was let start."""
    told = jobs(tide, work)
    for job in told:
        job["let_start"] = [(permits or {}).get(a, "") for a in job.get("attempts", ())]
    for name, value in (
        ("jobs", told),
        ("usage", list(tide.usage(page=200))),
        ("journals", records),
        ("outages", list(outages)),
        ("check", tide.journal_check()),
    ):
        (directory / f"{name}.json").write_text(json.dumps(value))
