"""Jobs: what a user asked for, and the state that follows from intent, dependencies and attempts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from tidegrid.domain.attempt import NEVER_STARTED, Reason, State


class JobState(StrEnum):
    HELD = "held"
    WAITING = "waiting"  # for a dependency
    PENDING = "pending"  # to be placed; the reason says what for
    QUEUED = "queued"
    RUNNING = "running"
    FINISHING = "finishing"  # all work ended; outputs are being fetched
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMEOUT = "timeout"
    OOM = "oom"
    CANCELLED = "cancelled"
    LOST = "lost"


FINAL = frozenset(
    {
        JobState.SUCCEEDED,
        JobState.FAILED,
        JobState.TIMEOUT,
        JobState.OOM,
        JobState.CANCELLED,
        JobState.LOST,
    }
)

_OF_REASON = {
    Reason.OK: JobState.SUCCEEDED,
    Reason.CANCELLED: JobState.CANCELLED,
    Reason.TIMEOUT: JobState.TIMEOUT,
    Reason.OOM: JobState.OOM,
    Reason.LOST: JobState.LOST,
}


@dataclass(frozen=True, slots=True)
class Resources:
    """What one task needs. cores, memory_mib, gpus: on each of its nodes; ranks: processes (MPI) started on each node, which share
    the cores; exclusive: whole nodes, which are then paid for; wall_s: limit in seconds."""

    cores: int = 1
    memory_mib: int = 256
    gpus: int = 0
    gpu_type: str = ""
    wall_s: int = 600
    nodes: int = 1
    ranks: int = 1
    exclusive: bool = False


@dataclass(frozen=True, slots=True)
class Constraints:
    """Where a job may run; empty: anywhere.

    any_of: cluster or cluster/partition names, any of them; ordered: the same, tried in this order; exclude: never there;
    residency: regions that its data must not leave.
    """

    arch: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    any_of: tuple[str, ...] = ()
    ordered: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    residency: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SiteOptions:
    """What is passed on to a site that knows it, and refused by one that does not: it is then placed elsewhere. features: of
    nodes, in Slurm's words (`--constraint`); qos: a quality of service; warn_s: SIGUSR1 to the batch script so long before the
    limit, 0: none."""

    features: str = ""
    qos: str = ""
    warn_s: int = 0


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file put into the job's working directory: by content hash of an upload, or an output of another job. tree: the hash is
    that of a directory's list of files (`domain.tree`), all of which go below the path; size: bytes of all of it, where
    that was known when it was submitted."""

    path: str
    sha256: str = ""
    job: int = 0
    source: str = ""
    tree: bool = False
    size: int = 0


@dataclass(frozen=True, slots=True)
class JobSpec:
    """A validated submission. params: JSON values by the application's schema; array: a range text, empty for none;
    checkpoint_every_s: between two copies of its checkpoint, 0: as the application says; work: what kind it is, "" for none in particular;
    trial: it finds out whether its application works somewhere; input_bytes: of what was uploaded when it was accepted; estimate_s: run
    time by the application's document, 0 where that says nothing; wall_auto: the wall time was left to the platform;
    begin: µs UTC, not placed before; deadline: µs UTC, by when it should have ended, 0: any time; budget: micro-yuan that one run of all of
    it may cost at most, at its full wall time, 0: no limit."""

    app: str
    app_version: str
    params: dict[str, object] = field(default_factory=dict)
    name: str = ""
    project: str = "default"
    resources: Resources = Resources()
    constraints: Constraints = Constraints()
    objective: str = "balanced"
    array: str = ""
    throttle: int = 0
    after_ok: tuple[int, ...] = ()
    after_any: tuple[int, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    inputs: tuple[InputFile, ...] = ()
    outputs: tuple[str, ...] = ()
    movable: bool | None = None
    restartable: bool = False
    held: bool = False
    site: SiteOptions = SiteOptions()
    checkpoint_every_s: int = 0
    work: str = ""
    trial: bool = False
    input_bytes: int = 0
    estimate_s: float = 0.0
    wall_auto: bool = False
    begin: int = 0
    deadline: int = 0
    budget: int = 0


@dataclass(frozen=True, slots=True)
class PartView:
    """What `derive` needs of a part: its live or last attempt, and whether it is done."""

    attempt_state: State | None
    reason: Reason | None
    done: bool


def derive(
    *,
    held: bool,
    cancel_wanted: bool,
    blocked: bool,
    doomed: bool,
    parts: Sequence[PartView],
    fetching: bool,
) -> JobState:
    """The job's state. blocked: a dependency has not ended; doomed: one ended so that this job can never start;
    fetching: a transfer of its outputs is under way."""
    live = [p.attempt_state for p in parts if p.attempt_state is not None and p.attempt_state is not State.ENDED]
    if any(s is State.RUNNING for s in live):
        return JobState.RUNNING
    if live:
        return JobState.QUEUED
    if parts and all(p.done for p in parts):
        if fetching:
            return JobState.FINISHING
        worst = JobState.SUCCEEDED
        for p in parts:
            state = _OF_REASON.get(p.reason, JobState.FAILED) if p.reason is not None else JobState.CANCELLED
            if _RANK[state] > _RANK[worst]:
                worst = state
        return worst
    if cancel_wanted or doomed:
        return JobState.CANCELLED
    if held:
        return JobState.HELD
    if blocked:
        return JobState.WAITING
    return JobState.PENDING


_RANK = {s: i for i, s in enumerate(JobState)}


def part_done(reason: Reason, *, started: bool, restartable: bool, refusals: int, max_refusals: int) -> bool:
    """Whether an ended attempt settles its part, or the part is placed again.

    started: the application may have run; refusals: of this part so far, this one included.
    """
    if reason is Reason.WITHDRAWN:
        return False
    if reason is Reason.REFUSED:
        return refusals >= max_refusals
    if reason in (Reason.NODE_FAIL, Reason.PREEMPTED, Reason.LOST):
        return started and not restartable
    return reason not in NEVER_STARTED
