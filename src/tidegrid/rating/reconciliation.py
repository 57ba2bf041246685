"""What was metered against what a centre's accounting says, run by run; every difference with its cause.

Pure: rows in, report out. A run is one execution of one task of an attempt. Times: µs on the site's clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from tidegrid.domain.attempt import NEVER_STARTED, PROLOGUE_BOUND_US, Reason, Witness

PATIENCE_US = 15 * 60 * 1_000_000  # what ended later than this ago may still be corrected by accounting that comes late


class Cause(StrEnum):
    """Why a run differs."""

    NOT_METERED = "not_metered"  # accounted to us, and no use was journalled
    NOT_ACCOUNTED = "not_accounted"  # journalled, and the centre's accounting has no such run
    ELAPSED = "elapsed"  # both have it, for different times
    ALLOCATION = "allocation"  # both have it, with different resources
    FOREIGN = "foreign"  # on the same Unix account, but no job of this platform; never billed
    LATE = "late"  # metered by the controller's times; accounting has come, or may still
    PROVISIONAL = "provisional"  # metered to the last evidence of life, without a witness of the end
    ID_REUSED = "id_reused"  # the centre's accounting has another job under the run's id
    CLOCK = "clock"  # the same length at another time
    FREE = "free"  # accounted, and free here: its application never started


MENDABLE = frozenset({Cause.LATE, Cause.PROVISIONAL, Cause.NOT_METERED})  # taking accounting's word now mends it


@dataclass(frozen=True, slots=True, kw_only=True)
class Metered:
    """An execution with what is journalled of it; segments 0: nothing is. running: its end is not known here yet.
    charged: micro-yuan; weakest: of the segments' witnesses."""

    attempt_id: int
    task: int
    restart: int
    native_id: str
    reason: Reason | None = None
    running: bool = False
    segments: int = 0
    estimated: bool = False
    weakest: Witness = Witness.ACCOUNTING
    started_at: int | None = None
    ended_at: int | None = None
    elapsed_ms: int = 0
    cores: int = 0
    gpus: int = 0
    memory_mib: int = 0
    charged: int = 0

    @property
    def key(self) -> tuple[int, int, int]:
        return (self.attempt_id, self.task, self.restart)


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounted:
    """An allocation that ended. attempt_id: None where its name is none of ours; id: of the centre, `base_task` or `base`;
    base: of its array. started_at: None where it never had nodes. cores, gpus, memory_mib: None where accounting is silent."""

    attempt_id: int | None
    task: int
    id: str
    base: str
    name: str
    ended_at: int
    started_at: int | None
    elapsed_ms: int
    submitted_at: int | None = None
    cores: int | None = None
    gpus: int | None = None
    memory_mib: int | None = None
    user: str = ""
    account: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Difference:
    """explained: nobody needs to look at it. metered, accounted: the two sides, where there are."""

    cause: Cause
    explained: bool
    text: str
    metered: Metered | None = None
    accounted: Accounted | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """runs: compared, foreign ones not counted; matched: without any difference. *_ms: resource-milliseconds of both sides,
    foreign and free runs aside; charged: micro-yuan."""

    runs: int
    matched: int
    differences: tuple[Difference, ...]
    metered_core_ms: int
    accounted_core_ms: int
    metered_gpu_ms: int
    accounted_gpu_ms: int
    foreign_core_ms: int
    charged: int
    counts: Mapping[Cause, int] = field(default_factory=dict)

    @property
    def unexplained(self) -> int:
        return sum(not d.explained for d in self.differences)


Pair = tuple[Metered | None, Accounted | None]


def compare(metered: Iterable[Metered], accounted: Iterable[Accounted], since: int, until: int, now: int) -> Report:
    """Runs that ended in [since, until) by either side. Both sides may hold more than the span: give them so, for a run that one
    side ends before a bound and the other after it is one run. now: the site's clock."""
    ours: list[Accounted] = []
    foreign: list[Accounted] = []
    for row in accounted:
        (foreign if row.attempt_id is None else ours).append(row)
    taken = {r.base: r for r in foreign}
    found: list[Difference] = []
    runs = matched = 0
    sums = [0, 0, 0, 0, 0]
    for m, a in _pairs(metered, ours):
        ends = [side.ended_at for side in (m, a) if side is not None and side.ended_at is not None]
        if not any(since <= at < until for at in ends):
            continue
        differences = _judge(m, a, now, taken, ours)
        if differences is None:
            continue
        runs += 1
        matched += not differences
        found += differences
        if m is not None:
            sums[0] += m.elapsed_ms * m.cores
            sums[2] += m.elapsed_ms * m.gpus
            sums[4] += m.charged
        if a is not None and not any(d.cause is Cause.FREE for d in differences):
            cores = a.cores if a.cores is not None else m.cores if m else 0
            gpus = a.gpus if a.gpus is not None else m.gpus if m else 0
            sums[1] += a.elapsed_ms * cores
            sums[3] += a.elapsed_ms * gpus
    elsewhere = [a for a in foreign if since <= a.ended_at < until]
    found += [Difference(Cause.FOREIGN, True, _whose(a), None, a) for a in elsewhere]
    counts: dict[Cause, int] = {}
    for d in found:
        counts[d.cause] = counts.get(d.cause, 0) + 1
    found.sort(key=lambda d: (d.explained, list(Cause).index(d.cause)))
    return Report(
        runs, matched, tuple(found), sums[0], sums[1], sums[2], sums[3],
        sum(a.elapsed_ms * (a.cores or 0) for a in elsewhere), sums[4], counts,
    )  # fmt: skip


def _pairs(metered: Iterable[Metered], accounted: Sequence[Accounted]) -> list[Pair]:
    """Both sides of each run: runs of one task by equal ends first, the rest in order."""
    left: dict[tuple[int, int], list[Metered]] = {}
    right: dict[tuple[int, int], list[Accounted]] = {}
    for m in metered:
        left.setdefault((m.attempt_id, m.task), []).append(m)
    for a in accounted:
        assert a.attempt_id is not None
        right.setdefault((a.attempt_id, a.task), []).append(a)
    out: list[Pair] = []
    for key in sorted({*left, *right}):
        ms = sorted(left.get(key, ()), key=lambda m: m.restart)
        rows = sorted(right.get(key, ()), key=lambda a: a.ended_at)
        for m in list(ms):
            same = next((a for a in rows if a.ended_at == m.ended_at), None)
            if same is not None:
                out.append((m, same))
                ms.remove(m)
                rows.remove(same)
        for i in range(max(len(ms), len(rows))):
            out.append((ms[i] if i < len(ms) else None, rows[i] if i < len(rows) else None))
    return out


def _judge(
    m: Metered | None, a: Accounted | None, now: int, taken: Mapping[str, Accounted], ours: Sequence[Accounted]
) -> list[Difference] | None:
    """The run's differences; None where there is nothing to compare yet, or nothing at all."""
    if a is None:
        assert m is not None
        return _only_metered(m, now, taken, ours)
    if m is None or not m.segments:
        return _only_accounted(m, a, now)
    fresh = now - a.ended_at < PATIENCE_US
    if m.running:
        text = "accounting tells its end; the platform has not read it yet"
        return [Difference(Cause.LATE, fresh, text, m, a)]
    out = []
    if m.elapsed_ms != a.elapsed_ms:
        text = f"metered {_s(m.elapsed_ms)}, accounted {_s(a.elapsed_ms)}"
        if m.weakest is Witness.PROVISIONAL:
            out.append(Difference(Cause.PROVISIONAL, fresh, f"{text}; metered to the last evidence of life", m, a))
        elif m.estimated:
            out.append(Difference(Cause.LATE, fresh, f"{text}; metered by the controller's times", m, a))
        else:
            spent = 0 if a.started_at is None else (a.ended_at - a.started_at) // 1000
            if spent != a.elapsed_ms and spent == m.elapsed_ms:
                text += f"; suspended there for {_s(spent - a.elapsed_ms)}"
            out.append(Difference(Cause.ELAPSED, False, text, m, a))
    elif m.started_at != a.started_at and a.started_at is not None and m.started_at is not None:
        text = f"the same {_s(m.elapsed_ms)}, but {_s(abs(m.started_at - a.started_at) // 1000)} apart"
        out.append(Difference(Cause.CLOCK, True, text, m, a))
    if a.elapsed_ms and (unlike := _unlike(m, a)):
        out.append(Difference(Cause.ALLOCATION, False, unlike, m, a))
    return out


def _only_accounted(m: Metered | None, a: Accounted, now: int) -> list[Difference]:
    if a.elapsed_ms == 0:
        return []
    if m is not None and m.reason in NEVER_STARTED:
        bound = PROLOGUE_BOUND_US // 1_000_000
        text = f"{_s(a.elapsed_ms)} accounted; its application never started, so it is free"
        if a.elapsed_ms > bound * 1000:
            text += f" (it waited for its permit: a prologue that leaves at once takes less than {bound} s)"
        return [Difference(Cause.FREE, True, text, m, a)]
    if m is None or m.running:
        fresh = now - a.ended_at < PATIENCE_US
        if fresh:
            return [Difference(Cause.LATE, True, "accounting tells its end; the platform has not read it yet", m, a)]
    return [Difference(Cause.NOT_METERED, False, f"{_s(a.elapsed_ms)} accounted, nothing metered", m, a)]


def _only_metered(
    m: Metered, now: int, taken: Mapping[str, Accounted], ours: Sequence[Accounted]
) -> list[Difference] | None:
    if m.running or not m.segments or (m.elapsed_ms == 0 and m.charged == 0):
        return None
    if m.weakest is Witness.PROVISIONAL:
        text = f"{_s(m.elapsed_ms)} metered to the last evidence of life; the centre's accounting has no end of it"
        return [Difference(Cause.PROVISIONAL, True, text, m)]
    other = taken.get(m.native_id) or next((a for a in ours if a.base == m.native_id), None)
    if other is not None and other.attempt_id != m.attempt_id:
        text = f"{_s(m.elapsed_ms)} metered; under its id {m.native_id} the centre has {other.name!r}"
        return [Difference(Cause.ID_REUSED, not m.charged, text, m, None)]
    if m.estimated and m.ended_at is not None and now - m.ended_at < PATIENCE_US:
        return [Difference(Cause.LATE, True, "metered by the controller's times; accounting may still come", m)]
    return [Difference(Cause.NOT_ACCOUNTED, False, f"{_s(m.elapsed_ms)} metered, nothing accounted", m)]


def _unlike(m: Metered, a: Accounted) -> str:
    rows = (("cores", m.cores, a.cores), ("GPUs", m.gpus, a.gpus), ("MiB", m.memory_mib, a.memory_mib))
    told = [f"{mine} {name} metered, {theirs} accounted" for name, mine, theirs in rows if theirs not in (None, mine)]
    return "; ".join(told)


def _whose(a: Accounted) -> str:
    text = f"{a.name!r} of {a.user or 'this account'}" + (f", account {a.account}" if a.account else "")
    return f"{text}: {a.note}" if a.note else f"{text}: no job of this platform"


def _s(ms: int) -> str:
    return f"{ms // 1000} s" if ms % 1000 == 0 else f"{ms / 1000:.3f} s"
