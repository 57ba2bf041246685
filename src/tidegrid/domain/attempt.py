"""The attempt: the only stored state machine.

    SUBMITTING -> QUEUED -> RUNNING -> ENDED(reason)        side state: IN_DOUBT

An attempt is one submission of a part (a set of array tasks; a plain job is task 0) to one cluster. Evidence arrives late,
twice, out of order and contradicting itself; `step` takes any evidence in any state and never raises: what does not fit
becomes an anomaly. ENDED absorbs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from tidegrid.domain.ranges import compress, expand

SIGNALLED = 128  # exit statuses from here on: a signal ended it, as a node does that goes down
PROLOGUE_REFUSED = 75  # exit status of a prologue that did not start its application
PROLOGUE_BOUND_US = 10_000_000  # a prologue that leaves has left by then, unless it waited for its permit
PERMIT_BOUND_US = 900_000_000  # one that waited for its permit, its inputs' copying included; `Settings.permit_wait` is below
RELAUNCH_US = 2_000_000  # a mark so much older than the start that is told belongs to an earlier launch; clocks differ by less
ABSENCES_TO_DOUBT = 2  # absence counts only in complete answers, twice


class State(StrEnum):
    SUBMITTING = "SUBMITTING"
    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    IN_DOUBT = "IN_DOUBT"
    ENDED = "ENDED"


class Reason(StrEnum):
    """Why an attempt or one task of it ended. Later in this list is worse: an array ends with its worst task's."""

    OK = "ok"
    WITHDRAWN = "withdrawn"  # taken back by the server before it started; the part is placed anew
    REFUSED = "refused"  # the cluster said no, or the prologue gave up before the application
    CANCELLED = "cancelled"
    PREEMPTED = "preempted"
    FAILED = "failed"
    TIMEOUT = "timeout"
    OOM = "oom"
    NODE_FAIL = "node_fail"
    LOST = "lost"


_WORSE = {r: i for i, r in enumerate(Reason)}
NEVER_STARTED = frozenset({Reason.WITHDRAWN, Reason.REFUSED})


class Witness(StrEnum):
    """Who says so, weakest first. Only accounting and controller move money."""

    SPOOL = "spool"  # files a job may write
    PROVISIONAL = "provisional"
    CONTROLLER = "controller"
    ACCOUNTING = "accounting"


STRENGTH = {w: i for i, w in enumerate(Witness)}


@dataclass(frozen=True, slots=True)
class Execution:
    """One start of one task. Times are microseconds on the site's clock."""

    task: int
    restart: int = 0
    nonce: str = ""
    native_id: str = ""
    started_at: int | None = None
    ended_at: int | None = None
    reason: Reason | None = None
    exit_code: int | None = None
    source: Witness = Witness.SPOOL
    permitted: bool = False  # the server removed the mark: the application may have started
    gave_up: bool = False  # the prologue withdrew its mark before the server could
    marked: bool = False  # the prologue's mark was listed and committed
    app_exit: int | None = None  # what the job's own end mark says: moves state, never money
    peak_mib: int | None = None

    @property
    def ended(self) -> bool:
        return self.reason is not None


@dataclass(frozen=True, slots=True)
class Attempt:
    """tasks: a range text, never empty for a live attempt; absent: complete answers in a row without it."""

    id: int
    tasks: str = "0"
    state: State = State.SUBMITTING
    reason: Reason | None = None
    native_id: str = ""
    detail: str = ""
    movable: bool = False
    restartable: bool = False
    absent: int = 0
    executions: tuple[Execution, ...] = ()

    @property
    def live(self) -> bool:
        return self.state is not State.ENDED

    @property
    def may_have_started(self) -> bool:
        """Whether the application of some task may have run: then only a witness or an operator ends the attempt."""
        return any(not e.gave_up and e.reason not in NEVER_STARTED for e in self.executions)

    def execution(self, task: int, restart: int = 0) -> Execution | None:
        for e in self.executions:
            if e.task == task and e.restart == restart:
                return e
        return None

    def last(self) -> dict[int, Execution]:
        """The latest known execution of each task that has one."""
        return {e.task: e for e in sorted(self.executions, key=lambda e: e.restart)}

    def unstarted(self) -> tuple[int, ...]:
        """Tasks of which no start is known."""
        known = {e.task for e in self.executions}
        return tuple(t for t in expand(self.tasks) if t not in known)


# Evidence -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Accepted:
    """The cluster acknowledged the submission."""

    native_id: str


@dataclass(frozen=True, slots=True)
class RefusedBySite:
    """The cluster said no, definitely."""

    code: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class NotSent:
    """The server's own knowledge: staging failed, the submission was never called."""

    why: str


@dataclass(frozen=True, slots=True)
class Unsure:
    """The submission was sent, or may have been, and no answer can be trusted."""

    why: str


@dataclass(frozen=True, slots=True)
class Seen:
    """The controller's listing holds the attempt; running: the tasks it shows as running."""

    native_id: str
    running: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Absent:
    """A complete listing, and accounting up to the same moment, did not hold the attempt."""


@dataclass(frozen=True, slots=True)
class Marked:
    """The prologue won the fence and wrote its mark into the spool."""

    task: int
    restart: int
    nonce: str
    native_id: str
    at: int


@dataclass(frozen=True, slots=True)
class Permitted:
    """The server removed the committed mark: from now on the application may run."""

    task: int
    restart: int


@dataclass(frozen=True, slots=True)
class GaveUp:
    """The prologue withdrew its mark: the application of this execution never starts."""

    task: int
    restart: int
    nonce: str


@dataclass(frozen=True, slots=True)
class AppExited:
    """The job's own end mark."""

    task: int
    restart: int
    exit_code: int


@dataclass(frozen=True, slots=True)
class GivenBack:
    """The server's own decision: the application said long ago that it ended, its cluster still holds its allocation, and the server
    cancels that. A controller that was killed may have forgotten the end, and would wait for the wall time."""

    task: int
    restart: int


@dataclass(frozen=True, slots=True)
class Started:
    """Accounting or controller: the task's allocation began."""

    task: int
    restart: int
    native_id: str
    at: int
    source: Witness = Witness.ACCOUNTING


@dataclass(frozen=True, slots=True)
class Ended:
    """Accounting or controller: the task's allocation ended. started_at is None where it never started."""

    task: int
    restart: int
    native_id: str
    reason: Reason
    exit_code: int | None
    started_at: int | None
    ended_at: int
    source: Witness = Witness.ACCOUNTING
    peak_mib: int | None = None


@dataclass(frozen=True, slots=True)
class FenceWon:
    """The server claimed the task's fence: it can never start. why: it did so, where nothing was in doubt; refused: its site would
    not have started it."""

    task: int
    why: str = ""
    refused: bool = False


@dataclass(frozen=True, slots=True)
class FenceLost:
    """The task had claimed its fence before: it has started, or is about to."""

    task: int
    native_id: str
    nonce: str


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """The server's own decision, allowed only while nothing may have started (see `can_withdraw`)."""

    why: str


@dataclass(frozen=True, slots=True)
class DeclaredDead:
    """An operator's word that the cluster will not come back, or that nothing is known of this attempt there."""

    at: int
    why: str


Evidence = (
    Accepted
    | RefusedBySite
    | NotSent
    | Unsure
    | Seen
    | Absent
    | Marked
    | Permitted
    | GaveUp
    | AppExited
    | GivenBack
    | Started
    | Ended
    | FenceWon
    | FenceLost
    | Withdrawn
    | DeclaredDead
)


@dataclass(frozen=True, slots=True)
class Step:
    """The attempt after the evidence, and what did not fit."""

    attempt: Attempt
    anomalies: tuple[str, ...] = ()


def can_withdraw(a: Attempt) -> bool:
    """A live attempt may be taken back without asking its cluster when it waits for the server's permit to start and no
    mark of it was ever committed: then its application cannot run."""
    return a.live and a.movable and not any(e.marked or e.permitted for e in a.executions) and not a.may_have_started


def over_before(a: Attempt, task: int, restart: int) -> bool:
    """Whether every earlier execution of the task is known to have ended: what licenses another."""
    return all(
        e.ended or e.gave_up or e.app_exit is not None for e in a.executions if e.task == task and e.restart < restart
    )


def step(a: Attempt, ev: Evidence) -> Step:
    """Apply one piece of evidence. Total: any evidence in any state."""
    if a.state is State.ENDED:
        return _after_end(a, ev)
    match ev:
        case Accepted(native_id):
            if a.native_id and a.native_id != native_id:
                return Step(a, (f"accepted again as {native_id}, known as {a.native_id}",))
            known: State = State.QUEUED if a.state in (State.SUBMITTING, State.IN_DOUBT) else a.state
            return Step(replace(a, state=known, native_id=native_id, absent=0))
        case RefusedBySite(code, message):
            if a.state not in (State.SUBMITTING, State.IN_DOUBT) or a.executions:
                return Step(a, (f"refused ({code}) although known there",))
            return Step(replace(a, state=State.ENDED, reason=Reason.REFUSED, detail=f"{code}: {message}"[:500]))
        case NotSent(why):
            if a.state is not State.SUBMITTING or a.executions:
                return Step(a, ("said not to have been sent although known there",))
            return Step(replace(a, state=State.ENDED, reason=Reason.WITHDRAWN, detail=why[:500]))
        case Unsure(why):
            if a.state is not State.SUBMITTING:
                return Step(a)
            return Step(replace(a, state=State.IN_DOUBT, detail=why[:500], absent=0))
        case Seen(native_id, running):
            found: tuple[str, ...] = ()
            if a.native_id and native_id != a.native_id:
                return Step(a, (f"listed as {native_id}, known as {a.native_id}",))
            started = bool(running) or bool(a.executions)
            return Step(
                replace(a, state=State.RUNNING if started else State.QUEUED, native_id=native_id, absent=0), found
            )
        case Absent():
            if a.state is State.SUBMITTING:
                return Step(a)
            absent = a.absent + 1
            state = State.IN_DOUBT if absent >= ABSENCES_TO_DOUBT else a.state
            return Step(replace(a, absent=absent, state=state))
        case Marked(task, restart, nonce, native_id, at):
            return _marked(a, ev)
        case Permitted(task, restart):
            return _amend(a, task, restart, permitted=True, marked=True)
        case GaveUp(task, restart, nonce):
            if not a.movable or task not in expand(a.tasks):
                return Step(a, (f"task {task}: gave up, but waited for no permit of this attempt",))
            e = a.execution(task, restart) or Execution(task, restart, nonce)
            if e.permitted:
                return Step(a, (f"task {task}: gave up after it was permitted",))
            return Step(_with(a, replace(e, gave_up=True, nonce=e.nonce or nonce)))
        case AppExited(task, restart, exit_code):
            return _amend(a, task, restart, app_exit=exit_code)
        case GivenBack(task, restart):
            e = a.execution(task, restart) or Execution(task, restart)
            # the exit status of what has not ended yet: the application's word is taken, whatever its cluster will call the end
            return Step(a) if e.ended or e.app_exit is None else Step(_with(a, replace(e, exit_code=e.app_exit)))
        case Started(task, restart, native_id, at, source):
            if task not in expand(a.tasks):
                return Step(a, (f"task {task}: started, but is not of this attempt",))
            restart = launch_of(a, task, restart, at)
            e = a.execution(task, restart) or Execution(task, restart, native_id=native_id)
            if e.ended:
                return Step(a)
            if e.marked and e.started_at is not None and at - e.started_at > RELAUNCH_US:
                return Step(a, (f"task {task}: said to start after its own mark",))
            e = replace(e, started_at=at, source=_stronger(e.source, source), native_id=e.native_id or native_id)
            return Step(_with(replace(a, state=State.RUNNING, absent=0, native_id=a.native_id or native_id), e))
        case Ended():
            return _ended(a, ev)
        case FenceWon(task, why, refused):
            known_ = a.execution(task)
            if known_ is not None and (known_.ended or known_.marked or known_.nonce or known_.app_exit is not None):
                return Step(a, (f"task {task}: the server holds the fence of a task that is known to have started",))
            # at most its cluster said that it started, and its prologue never did anything
            over = Reason.REFUSED if refused else Reason.WITHDRAWN
            e = Execution(task, 0, "server", reason=over, source=Witness.CONTROLLER)
            return Step(_close(_with(replace(a, detail=why[:500] or a.detail), e)))
        case FenceLost(task, native_id, nonce):
            if task not in expand(a.tasks):
                return Step(a, (f"task {task}: claimed its fence, but is not of this attempt",))
            e = a.execution(task) or Execution(task, 0, nonce, native_id)
            return Step(_with(replace(a, state=State.RUNNING, absent=0, native_id=a.native_id or native_id), e))
        case Withdrawn(why):
            if not can_withdraw(a):
                return Step(a, ("withdrawal of an attempt that may have started",))
            closed = tuple(  # those left open gave up
                x if x.ended else replace(x, reason=Reason.WITHDRAWN, source=Witness.PROVISIONAL) for x in a.executions
            )
            return Step(replace(a, state=State.ENDED, reason=Reason.WITHDRAWN, detail=why[:500], executions=closed))
        case DeclaredDead(at, why):
            return _declared_dead(a, at, why)


def _after_end(a: Attempt, ev: Evidence) -> Step:
    """ENDED absorbs; a start or another end of what ended otherwise is an anomaly."""
    if isinstance(ev, Marked):
        e = a.execution(ev.task, ev.restart)
        if e is None and a.reason not in NEVER_STARTED:
            return Step(a, (f"task {ev.task}: mark of an execution unknown to the ended attempt",))
        if e is not None and e.nonce and e.nonce != ev.nonce:
            return Step(a, (f"task {ev.task}: marked twice with different nonces",))
    elif isinstance(ev, Ended):
        e = a.execution(ev.task, ev.restart)
        if e is not None and e.ended and e.reason not in NEVER_STARTED and not _same_end(e, ev):
            return Step(a, (f"task {ev.task}: ended {e.reason}, now said to have ended {ev.reason}",))
    elif isinstance(ev, Accepted) and a.native_id and ev.native_id != a.native_id:
        return Step(a, (f"accepted as {ev.native_id} after its end",))
    elif isinstance(ev, (RefusedBySite, FenceWon)) and a.may_have_started:
        return Step(a, (f"{type(ev).__name__} after a run",))
    return Step(a)


def _marked(a: Attempt, ev: Marked) -> Step:
    if ev.task not in expand(a.tasks):
        return Step(a, (f"task {ev.task}: marked, but is not of this attempt",))
    e = a.execution(ev.task, ev.restart) or Execution(ev.task, ev.restart)
    if e.nonce and e.nonce != ev.nonce:
        return Step(a, (f"task {ev.task}: marked twice with different nonces",))
    earlier = not e.ended and (e.started_at is None or e.started_at - ev.at > RELAUNCH_US)
    started_at = ev.at if earlier else e.started_at
    e = replace(e, nonce=ev.nonce, marked=True, native_id=e.native_id or ev.native_id, started_at=started_at)
    return Step(_with(replace(a, state=State.RUNNING, absent=0, native_id=a.native_id or ev.native_id), e))


def _ended(a: Attempt, ev: Ended) -> Step:
    if ev.task not in expand(a.tasks):
        return Step(a, (f"task {ev.task}: ended, but is not of this attempt",))
    if (launch := launch_of(a, ev.task, ev.restart, ev.started_at)) != ev.restart:
        a, ev = _forgotten(a, ev.task, launch), replace(ev, restart=launch)
    e = a.execution(ev.task, ev.restart) or Execution(ev.task, ev.restart, native_id=ev.native_id)
    if e.ended:
        if _same_end(e, ev) or STRENGTH[ev.source] < STRENGTH[e.source]:
            return Step(a)
        return Step(a, (f"task {ev.task}: ended {e.reason}, now said to have ended {ev.reason}",))
    reason, exit_code = ev.reason, ev.exit_code
    never_ran = ev.started_at is None and reason is not Reason.CANCELLED and not heard(e)
    if ev.started_at is None and heard(e) and not e.gave_up:
        # its controller forgot the start of what had shown itself: its node's failure, to pay provisionally from its own mark on
        reason = reason if reason is Reason.CANCELLED else Reason.NODE_FAIL
        ev = replace(ev, started_at=e.started_at, source=Witness.PROVISIONAL)
    relaunched = _of_another_launch(e, ev)
    if _gave_up(e, ev) or never_ran or _left_its_prologue(e, ev) or _never_launched(e, ev):
        reason = Reason.REFUSED
    elif e.app_exit is not None and (
        relaunched or _given_back(e, ev) or (reason is Reason.NODE_FAIL and e.app_exit < SIGNALLED)
    ):
        # it had ended by itself before its cluster lost sight of it: its state is its own word, its bill the witness's
        reason, exit_code = (Reason.FAILED if e.app_exit else Reason.OK), e.app_exit
    elif relaunched:
        reason = Reason.NODE_FAIL
    e = replace(
        e,
        started_at=ev.started_at,
        ended_at=ev.ended_at,
        reason=reason,
        exit_code=exit_code,
        source=ev.source,
        peak_mib=ev.peak_mib,
    )
    return Step(_close(_with(replace(a, absent=0, native_id=a.native_id or ev.native_id), e)))


def launch_of(a: Attempt, task: int, restart: int, started_at: int | None) -> int:
    """Which execution a cluster's word of launch `restart` is about. A controller that forgot a launch counts from the one before
    it: a start long after an execution's own mark is that of the first later one that left its mark no earlier."""
    launch = restart
    if started_at is None:
        return restart
    while (e := a.execution(task, launch)) is not None and e.marked and e.started_at is not None:
        if started_at - e.started_at <= RELAUNCH_US:
            return launch
        launch += 1
    return restart


def _forgotten(a: Attempt, task: int, before: int) -> Attempt:
    """With the executions before `before` of which no witness will ever tell ended: where they began, for nothing later is known of
    them, and what its cluster forgot is not the customer's to pay."""
    for restart in range(before):
        e = a.execution(task, restart)
        if e is not None and not e.ended and e.started_at is not None:
            a = _with(a, replace(e, ended_at=e.started_at, reason=Reason.NODE_FAIL, source=Witness.PROVISIONAL))
    return a


def _gave_up(e: Execution, ev: Ended) -> bool:
    """Whether the prologue waited for its permit in vain. Its file is the job's to write too, and a server that died between
    the permit and its record knows no better: the file makes nothing free beyond what waiting may take."""
    elapsed = 0 if ev.started_at is None else ev.ended_at - ev.started_at
    return e.gave_up and not e.permitted and elapsed <= PERMIT_BOUND_US


def _left_its_prologue(e: Execution, ev: Ended) -> bool:
    """Whether the prologue left before the application: its exit status, no mark, and no more time than it may take. A mark is
    written before the application starts, and listed after the answer that tells of the end. The exit status alone is the
    application's to choose; the bound is what choosing it could gain."""
    return (
        ev.reason is Reason.FAILED
        and ev.exit_code == PROLOGUE_REFUSED
        and not (e.marked or e.permitted)
        and e.app_exit is None
        and ev.started_at is not None
        and ev.ended_at - ev.started_at <= PROLOGUE_BOUND_US
    )


def _never_launched(e: Execution, ev: Ended) -> bool:
    """Whether the site gave it nodes and could not start it there: cancelled by the site at once, with no sign of its prologue.
    A controller that lost its memory gives ids out again; nodes that remember such an id refuse it."""
    return (
        ev.reason is Reason.CANCELLED
        and not heard(e)
        and ev.started_at is not None
        and ev.ended_at - ev.started_at <= PROLOGUE_BOUND_US
    )


def unsettled(a: Attempt, ev: Ended) -> bool:
    """Whether a site tells the end of what shows no sign of a start. A controller that was killed says so of what it launches yet, or
    has launched, or takes the end of a job that it forgot for that of the one that got its id; a node that cleans up after the one
    removes the batch script of the other. Only the fence tells."""
    if ev.restart or ev.task not in expand(a.tasks):
        return False
    e = a.execution(ev.task) or Execution(ev.task)
    if e.ended or e.gave_up or heard(e) or _left_its_prologue(e, ev):
        return False
    if ev.reason is not Reason.CANCELLED:
        return ev.started_at is not None
    return ev.started_at is None or ev.ended_at - ev.started_at <= PROLOGUE_BOUND_US


def heard(e: Execution) -> bool:
    """Whether its prologue or its application ever gave a sign."""
    return e.marked or e.permitted or bool(e.nonce) or e.app_exit is not None


def _given_back(e: Execution, ev: Ended) -> bool:
    """Whether the end is that of an allocation which outlived its application."""
    return e.exit_code is not None and ev.reason in (Reason.CANCELLED, Reason.TIMEOUT)


def _of_another_launch(e: Execution, ev: Ended) -> bool:
    """Whether the witness speaks of a later launch than the one that left its mark: a controller that forgot the first launch
    tried again, and that came to nothing, for fence or node refused it."""
    came_to_nothing = ev.reason in (Reason.CANCELLED, Reason.NODE_FAIL) or ev.exit_code == PROLOGUE_REFUSED
    return (
        came_to_nothing
        and e.marked
        and ev.restart == e.restart
        and e.started_at is not None
        and ev.started_at is not None
        and ev.started_at - e.started_at > RELAUNCH_US
    )


def _declared_dead(a: Attempt, at: int, why: str) -> Step:
    """What may have started is lost, and ends at its last evidence of life; the rest was never run. Of what waits for a permit
    the server knows which it is."""
    out = a
    for task in a.unstarted():  # one that waits for no permit may have started since its cluster last answered
        reason, ended_at = (Reason.WITHDRAWN, None) if a.movable else (Reason.LOST, at)
        out = _with(out, Execution(task, reason=reason, ended_at=ended_at, source=Witness.PROVISIONAL))
    for e in a.executions:
        if e.ended or e.task not in expand(a.tasks):
            continue
        # one that waits for a permit cannot have run its application before its mark was listed, whatever its cluster called a start
        waited = a.movable and not a.restartable and not (e.marked or e.permitted)
        lost = not (e.gave_up or waited)
        ended = replace(e, reason=Reason.LOST if lost else Reason.WITHDRAWN, ended_at=at if lost else None)
        out = _with(out, replace(ended, source=Witness.PROVISIONAL))
    return Step(replace(_close(out), detail=why[:500]))


def _close(a: Attempt) -> Attempt:
    """ENDED when every known execution of every task has ended, with the worst reason of the tasks' last ones."""
    last = a.last()
    open_ = {e.task for e in a.executions if not e.ended}
    tasks = expand(a.tasks)
    if all(t in last and t not in open_ for t in tasks):
        worst = max((last[t].reason or Reason.OK for t in tasks), key=_WORSE.__getitem__)
        return replace(a, state=State.ENDED, reason=worst)
    started = any(e.reason not in NEVER_STARTED for e in a.executions)
    return replace(a, state=State.RUNNING) if started else a


def _with(a: Attempt, e: Execution) -> Attempt:
    rest = tuple(x for x in a.executions if (x.task, x.restart) != (e.task, e.restart))
    return replace(a, executions=(*rest, e))


def _amend(a: Attempt, task: int, restart: int, **changes: object) -> Step:
    e = a.execution(task, restart)
    if e is None:
        return Step(a, (f"task {task}: evidence of an execution never seen: {', '.join(changes)}",))
    return Step(_with(a, replace(e, **changes)))  # type: ignore[arg-type]


def _same_end(e: Execution, ev: Ended) -> bool:
    reason_fits = e.reason == ev.reason or e.reason is Reason.REFUSED
    return reason_fits and e.exit_code == ev.exit_code and e.ended_at == ev.ended_at


def _stronger(a: Witness, b: Witness) -> Witness:
    return a if STRENGTH[a] >= STRENGTH[b] else b


def narrow(a: Attempt, keep: tuple[int, ...]) -> Attempt:
    """The attempt without the tasks that moved to another part; ENDED when those that stay have ended."""
    kept = replace(a, tasks=compress(keep), executions=tuple(e for e in a.executions if e.task in set(keep)))
    return _close(kept)
