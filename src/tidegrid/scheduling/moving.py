"""Whether a job that waits at one place should be placed again: because it can never start there, because the place is drained,
because it would clearly be better elsewhere, because its deadline would be missed, or because it has waited for a cheaper place as long as that is worth to its owner.

The last three are the arithmetic of `kernel.worth`, which the simulator replays; they send a job only where it starts at once. Moving
costs a place in a queue, so a job gets few such moves; a place once left for that is not gone back to while any other is feasible.
Pure; times in seconds, scores in micro-yuan.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from tidegrid.scheduling.decision import Candidate
from tidegrid.scheduling.health import Condition
from tidegrid.scheduling.kernel import worth
from tidegrid.scheduling.objective import Objective
from tidegrid.scheduling.snapshot import Ints

_YUAN_HOUR = 1_000_000 / 3600  # micro-yuan a second, of one yuan an hour


class Cause(StrEnum):
    STUCK = "stuck"  # the site says that it can never start as it is
    UNAVAILABLE = "unavailable"  # what it needs there is away, for nobody knows how long
    DRAINED = "drained"  # by an operator
    FAILING = "failing"  # drained by itself
    LATE = "late"  # waits longer than predicted, and would start sooner elsewhere
    BETTER = "better"  # there is room elsewhere that was not there before
    DEADLINE = "deadline"  # would be missed here, and is kept elsewhere
    PATIENCE = "patience"  # has waited so long for a cheaper place that the dearer one would have cost no more


GAINS = frozenset({Cause.LATE, Cause.BETTER, Cause.DEADLINE, Cause.PATIENCE})
# Of the codes of `Listed.stuck`: what may come back by itself.
PASSING = frozenset({"site.partition_down", "site.nodes_down", "site.held"})


@dataclass(frozen=True, slots=True)
class Rules:
    """every: between two looks; stuck_after, passing_after: how long a site must say so; settle: youngest age of an attempt that
    moves for LATE, BETTER or PATIENCE (a deadline does not wait for it); late: times the predicted p90 wait, plus late_floor, is too long; better_floor: what must
    be left to wait here for BETTER; gain, gain_share: least gain in time, and (for LATE and BETTER) in score as a share of the score
    here; moves: a job's most moves for these and deadlines; at_once: of one look. How they were chosen: docs/decisions/0014."""

    every: float = 5.0
    stuck_after: float = 10.0
    passing_after: float = 60.0
    settle: float = 60.0
    late: float = 1.5
    late_floor: float = 60.0
    better_floor: float = 120.0
    gain: float = 60.0
    gain_share: float = 0.05
    moves: int = 3
    at_once: int = 50

    def words(self) -> tuple[float, ...]:
        """As the kernel has them (`worth.SETTLE` and on)."""
        return (self.settle, self.late, self.late_floor, self.better_floor, self.gain, self.gain_share, float(self.moves))


@dataclass(frozen=True, slots=True)
class Waiting:
    """An attempt that waits. place: cluster/partition; waited: s; predicted: the p90 wait it was placed with, None where that is
    not known; moves: the job's so far; fixed: its owner does not want it moved; stuck: the site's code, `says` its own
    word, since `stuck_for`."""

    place: str
    waited: float
    predicted: float | None = None
    moves: int = 0
    fixed: bool = False
    condition: Condition = Condition.OK
    stuck: str = ""
    says: str = ""
    stuck_for: float = 0.0


@dataclass(frozen=True, slots=True)
class Move:
    """why: for people; figures: what it rests on; refused: the site's code where it counts as a refusal; passes: places with a better
    score, where it would only wait again: they are no more gone to than the one it leaves."""

    cause: Cause
    why: str
    figures: Mapping[str, float | str]
    refused: str = ""
    passes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Choice:
    """A waiting job and what placement says of it. here: at its place, as if it came now; elsewhere: the other places, best first; None
    and empty where not feasible; tasks: how many would move; due: seconds left until its deadline, infinite for none."""

    waiting: Waiting
    here: Candidate | None
    elsewhere: Sequence[Candidate]
    objective: Objective
    tasks: int = 1
    due: float = math.inf


def look(choices: Sequence[Choice], left: Ints, rules: Rules = Rules()) -> list[Move | None]:
    """One look at waiting jobs, in their order. left int64[P,K]: what is free at the partitions that candidates point into; what one
    that moves will take is taken from it, so that the later ones do not rush to one place."""
    out: list[Move | None] = []
    for c in choices:
        at = next((i for i, e in enumerate(c.elsewhere) if e.wait_ahead == 0 and (left[e.index] >= e.need).all()), None)
        room = None if at is None else c.elsewhere[at]
        move = verdict(c.waiting, c.here, c.elsewhere[0] if c.elsewhere else None, room, c.objective, rules, c.due)
        if move is not None and room is not None and move.cause in GAINS:
            left[room.index] -= [n * c.tasks for n in room.need]
            move = replace(move, passes=tuple(e.name for e in c.elsewhere[:at]))
        out.append(move)
    return out


def verdict(
    w: Waiting, here: Candidate | None, other: Candidate | None, room: Candidate | None, objective: Objective, rules: Rules = Rules(),
    due: float = math.inf,
) -> Move | None:
    """here: the job as placement would weigh it at its place now, its deadline aside; other: the best place elsewhere; room: the best
    that would start it at once; None where not feasible; due: seconds left until its deadline."""  # fmt: skip
    if w.stuck and w.stuck not in PASSING and w.stuck_for >= rules.stuck_after:
        why = f"{w.place} will never start it: {w.says or w.stuck} ({w.stuck})"
        return Move(Cause.STUCK, why, {"waited_s": round(w.waited, 1)}, refused=w.stuck)
    if other is None or w.fixed:
        return None
    to: dict[str, float | str] = {"to": other.name, "wait_p90_there_s": round(other.wait_p90, 1), "waited_s": round(w.waited, 1)}
    if w.stuck and w.stuck_for >= rules.passing_after:
        why = f"what it needs at {w.place} is away for {w.stuck_for:.0f} s: {w.says or w.stuck} ({w.stuck})"
        return Move(Cause.UNAVAILABLE, why, to, refused=w.stuck)
    if w.condition is Condition.DRAINED:
        return Move(Cause.DRAINED, f"{w.place} is drained by an operator", to)
    if w.condition is Condition.DRAINING:
        return Move(Cause.FAILING, f"{w.place} is drained for its failures", to)
    if w.moves >= rules.moves or here is None or room is None:
        return None
    return _gain(w, here, room, objective, rules, due)


def patience(here: Candidate, other: Candidate, objective: Objective) -> float:
    """Seconds, see `worth.patience`."""
    return worth.patience(_without_wait(here, objective), other.score, _second(objective))


def _second(objective: Objective) -> float:
    """Micro-yuan for a second of waiting."""
    return objective.time * _YUAN_HOUR


def _run(c: Candidate, objective: Objective) -> float:
    """The run time that a deadline is held against, s."""
    return c.run_p90 if objective.sure else c.run_p50


def _without_wait(here: Candidate, objective: Objective) -> float:
    """The score without what its wait adds to it."""
    doubt = here.terms.get("factor", 1.0)
    return float(here.score - doubt * _second(objective) * worth.counted(here.wait_p50, here.wait_p90, objective.risk))


def _gain(w: Waiting, here: Candidate, room: Candidate, objective: Objective, rules: Rules, due: float) -> Move | None:
    predicted = -1.0 if w.predicted is None else w.predicted
    time_there = room.staging_s + room.run_p50
    bare = _without_wait(here, objective)
    why = worth.moves(
        w.waited, predicted, here.run_p50, bare, time_there, room.score, due, _run(here, objective), room.staging_s + _run(room, objective),
        objective.sure, _second(objective), objective.risk, rules.words(), 0,
    )  # fmt: skip
    if why == worth.STAY:
        return None
    left = worth.left_to_wait(w.waited, predicted)
    saved = left + here.run_p50 - time_there
    figures: dict[str, float | str] = {
        "waited_s": round(w.waited, 1), "left_here_s": round(left, 1), "to": room.name, "saved_s": round(saved, 1),
    }  # fmt: skip
    if w.predicted is not None:
        figures["predicted_p90_s"] = round(w.predicted, 1)
    if why == worth.DEADLINE:
        figures["due_s"] = round(due, 1)
        text = f"at {w.place} it may end {worth.until(left, objective.sure) + _run(here, objective) - due:.0f} s after its deadline; {room.name} can start it now, and keeps it"
        return Move(Cause.DEADLINE, text, figures)
    if why == worth.PATIENCE:
        spent = patience(here, room, objective)
        figures["patience_s"] = round(spent, 1)
        text = f"it waits for {w.waited:.0f} s at {w.place}, which is worth {spent:.0f} s to its owner against {room.name}"
        return Move(Cause.PATIENCE, f"{text}; that saves about {saved:.0f} s now", figures)
    gain = worth.staying(bare, left, _second(objective), objective.risk) - room.score
    figures["gain_yuan"] = round(gain / 1e6, 4)
    if why == worth.LATE:
        text = f"it waits for {w.waited:.0f} s at {w.place}, where {predicted:.0f} s were predicted (p90)"
        return Move(Cause.LATE, f"{text}; {room.name} saves about {saved:.0f} s", figures)
    return Move(Cause.BETTER, f"{room.name} has room now, and saves about {saved:.0f} s against {w.place}", figures)
