"""What a Slurm cluster itself recorded of the jobs: accounting where there is slurmdbd, else the controller's own log of ends.

Read with Slurm's commands and from its files, past the product; rows as the judge wants them.
"""

from __future__ import annotations

import datetime
import os
import re
from pathlib import Path
from typing import Any

from tests.chaos.export import fence
from tidegrid.launch.testbed import Cluster, Testbed

SECOND = 1_000_000
_FIELDS = "JobIDRaw,JobID,State,ExitCode,Start,End,NodeList,AllocCPUS,JobName"
_JOBID = re.compile(r"^(\d+)(?:_(\d+))?$")


def records(bed: Testbed, roots: Path) -> list[dict[str, Any]]:
    """Every run that a cluster of the bed has a record of; a cluster that is gone has left its files."""
    out: list[dict[str, Any]] = []
    for cluster in bed.clusters:
        rows = sacct(bed, cluster) if cluster.accounting else jobcomp(cluster)
        places = {d.name: d for d in (roots / cluster.name).glob("*/*/*/*") if d.is_dir()}
        for row in rows:
            place = places.get(row["attempt"].removeprefix("att-"))
            out.append({**row, "cluster": cluster.name, "fence": fence(place, row["task"]) if place else ""})
    return out


def let_start(root: Path, removed_us: int) -> set[str]:
    """Attempts whose prologue won its fence at a cluster that is gone, and has no mark there that waits for a permit; one that was
    written in its last two seconds the server may have seen."""
    out = set()
    for link in root.glob("*/*/*/*/fence-*.*"):
        attempt = link.parent.name
        mark = root / "spool" / f"{attempt}.{link.name.removeprefix('fence-')}.mark"
        waits = mark.exists() and mark.stat().st_mtime_ns // 1000 < removed_us - 2 * SECOND
        gave_up = mark.with_suffix(".gaveup").exists()
        if not os.readlink(link).startswith("server:") and not waits and not gave_up:
            out.add(f"att-{attempt}")
    return out


def sacct(bed: Testbed, cluster: Cluster) -> list[dict[str, Any]]:
    """Rows of accounting, with those that have no end (an open row of a job that its controller forgot)."""
    argv = ("env", "SLURM_TIME_FORMAT=%s", "sacct", "-a", "-D", "-X", "-P", "-n", "-S", "now-1days", "-E", "now", "-o", _FIELDS)
    done = bed.run(cluster.name, *argv)
    if done.returncode:
        raise RuntimeError(f"sacct of {cluster.name}: {done.stderr}")
    return rows_of_sacct(done.stdout)


def rows_of_sacct(text: str) -> list[dict[str, Any]]:
    out = []
    for line in text.splitlines():
        _, job, state, code, start, end, nodes, cores, name = line.split("|", 8)
        which = _JOBID.match(job)
        if not name.startswith("tg-") or which is None or not start.isdigit() or nodes in ("", "None assigned"):
            continue
        out.append(
            {
                "attempt": f"att-{name[3:]}", "native_id": which[1], "task": int(which[2] or 0),
                "started_us": int(start) * SECOND, "ended_us": int(end) * SECOND if end.isdigit() else None,
                "exit": int(code.partition(":")[0]), "reason": state, "cores": int(cores), "witness": "accounting",
            }
        )  # fmt: skip
    return out


def jobcomp(cluster: Cluster) -> list[dict[str, Any]]:
    """The controller's log of ends (jobcomp/filetxt)."""
    try:
        return rows_of_jobcomp((cluster.home / "log" / "jobcomp.log").read_text())
    except FileNotFoundError:  # no job has ended there
        return []


def rows_of_jobcomp(text: str) -> list[dict[str, Any]]:
    out = []
    for line in text.splitlines():
        said = dict(word.partition("=")[::2] for word in line.split() if "=" in word)
        name = said.get("Name", "")
        start, end = _local(said.get("StartTime", "")), _local(said.get("EndTime", ""))
        if not name.startswith("tg-") or start is None or end is None or said.get("NodeList", "") in ("", "(null)"):
            continue
        base, task = said.get("ArrayJobId", ""), said.get("ArrayTaskId", "")
        array = base.isdigit() and base != "0" and task.isdigit()
        out.append(
            {
                "attempt": f"att-{name[3:]}", "native_id": base if array else said["JobId"], "task": int(task) if array else 0,
                "started_us": start, "ended_us": end, "exit": int(said.get("ExitCode", "0").partition(":")[0] or 0),
                "reason": said.get("JobState", ""), "cores": int(said.get("ProcCnt", 0)), "witness": "controller",
            }
        )  # fmt: skip
    return out


def _local(text: str) -> int | None:
    """A time as this machine's clock shows it -> µs since the epoch; None for Unknown."""
    try:
        return int(datetime.datetime.fromisoformat(text).astimezone().timestamp()) * SECOND
    except ValueError:
        return None
