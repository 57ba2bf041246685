"""What `sacct -P` prints. Columns are taken by name, so any `--format` with JobID, Submit, a run time and CPUs will do.

Submit, Start and End are the cluster's local times (or Unix seconds under SLURM_TIME_FORMAT=%s); they are taken as they stand.
"""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from tidegrid.domain.errors import InvalidInput
from tidegrid.domain.ranges import parse_array
from tidegrid.simulation.traces.bytesin import refuse
from tidegrid.simulation.traces.cells import Cells, read_cells, span
from tidegrid.simulation.traces.swf import coded
from tidegrid.simulation.traces.trace import CANCELLED, COMPLETED, FAILED, UNKNOWN, Header, Ints, Trace, build

_STATUS = {
    "COMPLETED": COMPLETED, "CANCELLED": CANCELLED, "FAILED": FAILED, "TIMEOUT": FAILED, "NODE_FAIL": FAILED, "OUT_OF_MEMORY": FAILED,
    "BOOT_FAIL": FAILED, "DEADLINE": FAILED, "PREEMPTED": FAILED, "REVOKED": FAILED,
}  # fmt: skip
_UNFINISHED = ("PENDING", "RUNNING", "SUSPENDED", "REQUEUED", "RESIZING", "CONFIGURING", "COMPLETING")
_NO_LIMIT = ("UNLIMITED", "PARTITION_LIMIT", "NOT_SET", "INVALID")
_MEMORY = re.compile(r"(\d+(?:\.\d+)?)([KMGTP]?)B?([nc]?)")
_KIB = {"": 1024, "K": 1, "M": 1024, "G": 1 << 20, "T": 1 << 30, "P": 1 << 40}
_JOB = re.compile(r"(\d+)(?:_(\d+|\[[^\]]*\]?)|\+(\d+))?")


def read_sacct(data: bytes, *, repair: bool = False) -> Trace:
    """One job a row, one for each task of an array; steps are left out, a part of a heterogeneous job is a job.

    Jobs that have not started, or not ended, have no run time (-1). `user`, `group` (the account), `application` (the job's name), `queue` (the QOS)
    and `partition` are labelled. Raises InvalidInput, `trace.columns`, `trace.number`, `trace.negative`, … with the line.
    """
    cells = read_cells(data, "|", repair=repair)
    cells.need("JobID", "Submit")
    if not any(map(cells.has, ("ElapsedRaw", "Elapsed", "End"))):
        raise refuse("columns", "there is no column ElapsedRaw, Elapsed or End", mendable=False)
    if not any(map(cells.has, ("ReqCPUS", "AllocCPUS", "NCPUS"))):
        raise refuse("columns", "there is no column ReqCPUS, AllocCPUS or NCPUS", mendable=False)
    cells = _jobs_only(cells)
    submit, start = cells.moments("Submit", essential=True), cells.moments("Start")
    states = [text.split(" ")[0].rstrip("+").upper() for text in cells.text("State")]
    requested, allocated = cells.whole("ReqCPUS"), cells.whole("AllocCPUS") if cells.has("AllocCPUS") else cells.whole("NCPUS")
    started = (start >= 0) & (allocated != 0)
    run = _run(cells, start)
    run[~started if cells.has("Start") else np.zeros(len(run), bool)] = UNKNOWN
    run[np.isin(states, _UNFINISHED)] = UNKNOWN
    early = np.flatnonzero(started & (start < submit) & (submit >= 0))
    for i in early:
        cells.defect("negative", int(i), f"it starts {submit[i] - start[i]} seconds before it is submitted", drop=False)
    wait = np.where(started & (submit >= 0) & (start >= submit), start - submit, UNKNOWN)
    gpus, types = _gpus(cells)
    columns: dict[str, Ints] = {
        "job": cells.each("JobID", cells.text("JobID"), lambda text: int(_parts(text)[0])),
        "wait": wait, "requested": requested, "allocated": allocated, "estimate": _limits(cells), "gpus": gpus,
        "memory": _memory(cells, np.where(requested > 0, requested, allocated)),
        "status": np.array([_STATUS.get(state, UNKNOWN) for state in states], np.int64),
    }  # fmt: skip
    labels: dict[str, dict[int, str]] = {}
    for column, names in (("user", cells.text("User", "UID")), ("group", cells.text("Account", "Group")), ("application", cells.text("JobName")),
                          ("queue", cells.text("QOS")), ("partition", cells.text("Partition")), ("gpu_type", types)):  # fmt: skip
        columns[column], found = coded(names)
        if found:
            labels[column] = found
    kept = cells.settle()
    first = int(submit[kept].min())
    clusters = sorted(set(cells.text("Cluster")) - {""})
    trace = build(submit, run, header=Header(start=first, computer=", ".join(clusters)), labels=labels, repairs=cells.repairs, **columns)
    trace = trace.take(kept)
    return replace(trace, submit=trace.submit - first)


def _jobs_only(cells: Cells) -> Cells:
    """Without steps, and with a waiting array's one row as a row for each task."""
    at = cells.names.index("JobID")
    rows, lines = [], []
    for row, line in zip(cells.rows, cells.line, strict=True):
        if "." in row[at]:
            continue
        for job in _tasks(row[at].strip()):
            rows.append([*row[:at], job, *row[at + 1 :]])
            lines.append(line)
    if not rows:
        raise refuse("empty", "the log has steps but no jobs", mendable=False)
    return Cells(cells.names, rows, lines, cells.repair, cells.repairs)


def _tasks(job: str) -> list[str]:
    match = _JOB.fullmatch(job)
    if match is None or not (match[2] or "").startswith("["):
        return [job]
    try:
        tasks, _ = parse_array(match[2].strip("[]").removesuffix("..."))
    except InvalidInput:  # sacct cuts long lists short: one job stands for them
        return [match[1]]
    return [f"{match[1]}_{task}" for task in tasks]


def _parts(job: str) -> tuple[str, str]:
    match = _JOB.fullmatch(job)
    if match is None:
        raise ValueError(job)
    return match[1], match[2] or match[3] or ""


def _run(cells: Cells, start: Ints) -> Ints:
    if cells.has("ElapsedRaw"):
        return cells.whole("ElapsedRaw")
    if cells.has("Elapsed"):
        return cells.each("Elapsed", cells.text("Elapsed"), span)
    end = cells.moments("End")
    known = (end >= 0) & (start >= 0)
    for i in np.flatnonzero(known & (end < start)):
        cells.defect("negative", int(i), f"it ends {start[i] - end[i]} seconds before it starts", drop=False)
    return np.where(known & (end >= start), end - start, UNKNOWN)


def _limits(cells: Cells) -> Ints:
    if cells.has("TimelimitRaw"):  # minutes
        texts = ["" if text.upper() in _NO_LIMIT else text for text in cells.text("TimelimitRaw")]
        return cells.each("TimelimitRaw", texts, lambda text: 60 * int(text), least=0)
    texts = ["" if text.upper() in _NO_LIMIT else text for text in cells.text("Timelimit")]
    return cells.each("Timelimit", texts, span)


def _memory(cells: Cells, cpus: Ints) -> Ints:
    """KiB a processor: `4Gc` is a CPU's, `4Gn` a node's, `4G` the job's (Slurm since 21.08)."""
    nodes = cells.whole("NNodes") if cells.has("NNodes") else cells.whole("ReqNodes")
    out = np.full(len(cells), UNKNOWN, np.int64)
    for i, text in enumerate(cells.text("ReqMem")):
        match = _MEMORY.fullmatch(text)
        if match and cpus[i] > 0 and float(match[1]) > 0:
            amount = float(match[1]) * _KIB[match[2]]
            share = 1.0 if match[3] == "c" else max(1, int(nodes[i])) / int(cpus[i]) if match[3] == "n" else 1 / int(cpus[i])
            out[i] = round(amount * share)
    return out


def _gpus(cells: Cells) -> tuple[Ints, list[str]]:
    """(GPUs of a job, their types) from AllocTRES, where that says nothing ReqTRES, else AllocGRES or ReqGRES."""
    out, types = np.full(len(cells), UNKNOWN, np.int64), [""] * len(cells)
    told = [a or b for a, b in zip(cells.text("AllocTRES", "AllocGRES"), cells.text("ReqTRES", "ReqGRES"), strict=True)]
    for i, text in enumerate(told):
        if not text:
            continue
        total, typed, kind = 0, 0, ""
        for item in text.split(","):
            match = re.fullmatch(r"(?:gres/)?gpu(?::([\w.-]*[A-Za-z][\w.-]*))?(?:[=:](\d+))?", item.strip())
            if match and match[1]:
                typed, kind = typed + int(match[2] or 1), kind or match[1]
            elif match:
                total = int(match[2] or 1)
        out[i], types[i] = total or typed, kind
    return out, types
