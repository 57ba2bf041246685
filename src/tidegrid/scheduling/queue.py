"""The queue of one machine: which waiting jobs start now, and when a new one would.

`start_now` is the kernel's step on arrays, for a live queue; `forward` runs a whole queue to its end at numpy's speed, for FCFS and
EASY, and starts what that step starts. Any number K of resource kinds; times are integer seconds on one axis; a queue is in its order
of service.

EASY: jobs start from the head while they fit; the first that does not gets a reservation at its *shadow* instant, the
earliest at which, by the estimates, enough is free; later jobs start now if they fit and either end by the shadow instant
or take only what the reservation leaves over. At the shadow instant every release counts, ties included.

A job that would not fit if all running jobs had ended is passed over: it holds no reservation and blocks nobody.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tidegrid.scheduling.kernel import build, layout, running, steps
from tidegrid.scheduling.kernel.policy import POLICIES

Ints = NDArray[np.int64]
Policy = Literal["fcfs", "easy"]

FOREVER = 1 << 60  # later than any time, small enough to add to
NEVER = -1
_EMPTY: Ints = np.empty(0, np.int64)


def start_now(
    policy: str,
    now_s: int,
    free: Ints,
    running_end_s: Ints,
    running_need: Ints,
    queue_need: Ints,
    queue_wall_s: Ints,
    queue_since_s: Ints | None = None,
) -> Ints:
    """Indices into the queue of the jobs to start at `now_s`, in the order of their starts, by a policy of `kernel.policy.POLICIES`.

    free int64[K]; running_end_s int64[R], the expected ends; running_need int64[R,K]; queue_need int64[Q,K];
    queue_wall_s int64[Q], the estimates; queue_since_s int64[Q], since when each waits, for policies that look at it (default: all
    since 0). First come is first in the queue. This is the kernel's own step, as the simulator runs it; nothing is known of users.
    """
    free, waiting = np.asarray(free, np.int64), len(queue_need)
    if not waiting or not _fits(queue_need, free).any():
        return _EMPTY
    how = POLICIES[policy]
    since = np.zeros(waiting, np.int64) if queue_since_s is None or how.order == "fcfs" else queue_since_s
    held = len(running_need)
    jobs = build.table(
        np.concatenate((since, np.zeros(held, np.int64))),
        np.concatenate((queue_wall_s, np.zeros(held, np.int64))),
        None,
        np.concatenate((queue_need, running_need)),
    )
    jobs[waiting:, layout.START] = 0
    jobs[waiting:, layout.EXPECTED] = running_end_s
    state = build.build(jobs, (free + running_need.sum(axis=0))[None, :], [how])
    for j in range(waiting, waiting + held):
        running.hold(state, 0, j)
    for j in range(waiting):
        steps.enter(state, 0, j)
    count = steps.schedule(state, 0, now_s)
    return np.array([steps.started(state, i) for i in range(count)], np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class _Step:
    """started: queue indices; free: what they leave; a further job at the tail starts now if it fits `free` and either
    ends by `shadow_s` or fits `extra`. blocked: nothing behind the head may start (FCFS)."""

    started: Ints
    free: Ints
    shadow_s: int
    extra: Ints
    blocked: bool = False


def _step(
    policy: Policy, now_s: int, free: Ints, end_s: Ints, running_need: Ints, queue_need: Ints, queue_wall_s: Ints
) -> _Step:
    free = np.asarray(free, np.int64)
    if len(queue_need) == 0:
        return _Step(_EMPTY, free, FOREVER, free)
    possible = _fits(queue_need, free + running_need.sum(axis=0))
    order = np.flatnonzero(possible)  # what is passed over is gone from here on
    need = queue_need[order]
    heads = _prefix(need, free)
    started = order[:heads]
    if heads:
        free = free - need[:heads].sum(axis=0)
    if heads == len(order):
        return _Step(started, free, FOREVER, free)
    if policy == "fcfs":
        return _Step(started, free, now_s, free, blocked=True)

    wall = queue_wall_s[order]
    ends = np.concatenate((end_s, now_s + wall[:heads]))
    released = np.concatenate((running_need, need[:heads]))
    shadow_s, extra = _shadow(now_s, free, ends, released, need[heads])
    behind = np.arange(heads + 1, len(order))
    early = now_s + wall <= shadow_s
    filled: list[Ints] = []
    while True:
        asks = need[behind]
        # free and extra only shrink: what does not fit now will not fit later in this step
        behind = behind[_fits(asks, free) & (early[behind] | _fits(asks, extra))]
        if len(behind) == 0:
            break
        asks = need[behind]
        late = np.where(early[behind, None], 0, asks)
        take = min(_prefix(asks, free), _prefix(late, extra))
        filled.append(behind[:take])
        free = free - asks[:take].sum(axis=0)
        extra = extra - late[:take].sum(axis=0)
        behind = behind[take:]
    if filled:
        started = np.concatenate((started, order[np.concatenate(filled)]))
    return _Step(started, free, shadow_s, extra)


def _fits(need: Ints, room: Ints) -> NDArray[np.bool_]:
    """bool[N]: which rows of `need` are within `room` in every kind. By column: numpy reduces short rows slowly."""
    ok: NDArray[np.bool_] = need[:, 0] <= room[0]
    for k in range(1, len(room)):
        ok &= need[:, k] <= room[k]
    return ok


def _prefix(need: Ints, room: Ints) -> int:
    """How many rows of `need` fit into `room` one after the other, up to the first that does not."""
    done = 0
    size = 16  # most steps start few jobs: look at a few rows first
    total = np.zeros_like(room)
    while done < len(need):
        sums = total + need[done : done + size].cumsum(axis=0)
        fits = _fits(sums, room)
        if not fits.all():
            return done + int(fits.argmin())
        total = sums[-1]
        done += len(sums)
        size *= 8
    return done


def _shadow(now_s: int, free: Ints, end_s: Ints, need: Ints, head: Ints) -> tuple[int, Ints]:
    """The head's earliest start by the estimates, and what it then leaves free. A job past its estimate ends at any moment."""
    by_end = np.argsort(end_s, kind="stable")
    ends = np.maximum(end_s[by_end], now_s)
    room = free + need[by_end].cumsum(axis=0)
    first = int(_fits(-room, -head).argmax())  # exists: jobs that can never fit were passed over
    last = int(np.searchsorted(ends, ends[first], side="right")) - 1
    return int(ends[first]), room[last] - head


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """A forward run of a queue: what a job appended at its tail meets at each instant at which something changes.

    It starts at the first row i where need <= free[i] and (t_s[i] + wall <= shadow_s[i] or need <= extra[i]).
    t_s int64[T] ascending; free int64[T,K]; shadow_s int64[T]; extra int64[T,K]. The last row is the empty machine.
    cut: the run was stopped early and its last row is an estimate from the work left.
    """

    t_s: Ints
    free: Ints
    shadow_s: Ints
    extra: Ints
    cut: bool = False

    def starts(self, need: Ints, wall_s: Ints) -> Ints:
        """Predicted starts int64[P] of independent tail jobs (need int64[P,K], wall_s int64[P]); NEVER where none fits."""
        out = np.full(len(need), NEVER, np.int64)
        for i in range(len(need)):
            ok = _fits(-self.extra, -need[i]) | (self.t_s + wall_s[i] <= self.shadow_s)
            ok &= _fits(-self.free, -need[i])
            if ok.any():
                out[i] = self.t_s[ok.argmax()]
        return out


def forward(
    policy: Policy,
    now_s: int,
    free: Ints,
    running_end_s: Ints,
    running_need: Ints,
    queue_need: Ints,
    queue_wall_s: Ints,
    max_steps: int = 100_000,
) -> Profile:
    """Run the queue to its end, every job as long as its estimate, no further arrivals.

    After `max_steps` instants the run is cut: the rest is taken to drain at the machine's full rate.
    """
    free = np.array(free, np.int64)
    ends, held = np.maximum(running_end_s, now_s + 1), running_need
    need, wall = queue_need, np.asarray(queue_wall_s)
    capacity = free + running_need.sum(axis=0)
    rows: list[tuple[int, Ints, int, Ints]] = []
    t, cut = now_s, False
    while True:
        step = _step(policy, t, free, ends, held, need, wall)
        free = step.free
        if len(step.started):
            ends = np.concatenate((ends, t + np.maximum(wall[step.started], 1)))
            held = np.concatenate((held, need[step.started]))
            keep = np.ones(len(need), bool)
            keep[step.started] = False
            need, wall = need[keep], wall[keep]
        shut = np.full_like(free, -1)
        rows.append((t, shut, t, shut) if step.blocked else (t, free, step.shadow_s, step.extra))
        if len(ends) == 0:
            break
        if len(rows) >= max_steps:
            t, free, cut = t + _drain_s(t, capacity, ends, held, need, wall), capacity, True
            rows.append((t, free, FOREVER, free))
            break
        t = int(ends.min())
        done = ends == t
        free = free + held[done].sum(axis=0)
        ends, held = ends[~done], held[~done]
    return Profile(
        np.array([r[0] for r in rows], np.int64),
        np.stack([r[1] for r in rows]),
        np.array([r[2] for r in rows], np.int64),
        np.stack([r[3] for r in rows]),
        cut,
    )


def _drain_s(t: int, capacity: Ints, ends: Ints, held: Ints, need: Ints, wall: Ints) -> int:
    """Seconds until running and waiting work is done if the scarcest kind is always fully used."""
    work = ((ends - t)[:, None] * held).sum(axis=0) + (wall[:, None] * need).sum(axis=0)
    fluid = -(-work // np.maximum(capacity, 1))
    return max(1, int(fluid.max(initial=0)), int((ends - t).max(initial=0)))


def forecast(
    policy: Policy,
    now_s: int,
    free: Ints,
    running_end_s: Ints,
    running_need: Ints,
    queue_need: Ints,
    queue_wall_s: Ints,
    probes_need: Ints,
    probes_wall_s: Ints,
) -> Ints:
    """Predicted start int64[P] of each probe as the one new job at the tail of the queue; NEVER (-1) where it cannot fit.

    One forward run serves all probes: a job at the tail delays nobody before it has started.
    """
    run = forward(policy, now_s, free, running_end_s, running_need, queue_need, queue_wall_s)
    return run.starts(probes_need, probes_wall_s)
