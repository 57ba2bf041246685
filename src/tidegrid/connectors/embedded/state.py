"""What the journal says, as tables in memory: jobs by name, tasks, accounting records. Changed by `apply` only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from tidegrid.connectors.embedded.journal import Record
from tidegrid.connectors.embedded.nodes import Need, times
from tidegrid.domain.ranges import compress, expand


class Phase(StrEnum):
    QUEUED = "queued"
    STARTING = "starting"  # a shim was made; not in the journal
    RUNNING = "running"
    ENDED = "ended"


@dataclass
class TaskState:
    job: JobState
    task: int
    phase: Phase = Phase.QUEUED
    cancelled: bool = False
    started_us: int = 0
    failures: int = 0
    resting: bool = False  # a start failed just now

    @property
    def key(self) -> tuple[int, int]:
        """Queue order: submission, then task number."""
        return (int(self.job.native_id), self.task)


@dataclass
class JobState:
    """spec: the checked submission, as journalled."""

    name: str
    native_id: str
    spec: dict[str, Any]
    tasks: dict[int, TaskState] = field(default_factory=dict)
    live: int = 0
    active: int = 0  # tasks starting or running: what the throttle counts

    @property
    def each(self) -> Need:
        """What a task needs of each of its nodes."""
        return (self.spec["cores"], self.spec["memory_mib"], self.spec["gpus"])

    @property
    def need(self) -> Need:
        """What a task needs of the partition: of all its nodes."""
        return times(self.each, self.spec["nodes"])

    def listed(self) -> list[str]:
        """[name, native id, waiting tasks, running tasks]"""
        running = [t.task for t in self.tasks.values() if t.phase is Phase.RUNNING]
        waiting = [t.task for t in self.tasks.values() if t.phase in (Phase.QUEUED, Phase.STARTING)]
        return [self.name, self.native_id, compress(waiting), compress(running)]


class State:
    """boot: the journal's own id. records: accounting, oldest first; a cursor is a position in it."""

    def __init__(self) -> None:
        self.boot = ""
        self.jobs: dict[str, JobState] = {}
        self.live: dict[str, JobState] = {}
        self.records: list[Record] = []
        self.last_id = 0
        self.on_change: Callable[[TaskState | JobState], None] = lambda changed: None

    def apply(self, record: Record) -> None:
        """One durable fact. Facts that repeat change nothing."""
        kind = record["k"]
        if kind == "journal":
            self.boot = record["boot"]
        elif kind == "submit":
            self._submit(record)
        elif kind == "cancel":
            job = self.jobs.get(record["n"])
            for task in expand(record["tasks"]) if job else ():
                if job and task in job.tasks:
                    job.tasks[task].cancelled = True
        elif kind in ("started", "ended"):
            self._happened(record)

    def _submit(self, record: Record) -> None:
        job = JobState(record["n"], record["i"], record["spec"])
        job.tasks = {t: TaskState(job, t) for t in expand(record["spec"]["tasks"])}
        job.live = len(job.tasks)
        self.jobs[job.name] = self.live[job.name] = job
        self.last_id = max(self.last_id, int(job.native_id))
        self.on_change(job)

    def _happened(self, record: Record) -> None:
        job = self.jobs.get(record["n"])
        task = job.tasks.get(record["task"]) if job else None
        if job is None or task is None or task.phase is Phase.ENDED:
            return
        if record["k"] == "started":
            if task.phase is Phase.RUNNING:
                return
            task.phase, task.started_us = Phase.RUNNING, record["at"]
        else:
            task.phase = Phase.ENDED
            job.live -= 1
            if job.live == 0:
                del self.live[job.name]
        self.records.append(record)
        self.on_change(task)

    def queue(self, partition: str) -> list[TaskState]:
        """Waiting tasks of a partition in order, as far as throttles let them start."""
        out: list[TaskState] = []
        for job in self.live.values():
            if job.spec["partition"] != partition:
                continue
            room = job.spec["throttle"] - job.active if job.spec["throttle"] else len(job.tasks)
            for t in job.tasks.values():
                if room <= 0:
                    break
                if t.phase is Phase.QUEUED and not t.cancelled and not t.resting:
                    out.append(t)
                    room -= 1
        return out
