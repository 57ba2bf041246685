"""Whether a job that waits at one place should be placed again: because it can never start there, because the place is drained,
because it would clearly be better elsewhere, or because it has waited for a cheaper place as long as that is worth to its owner.

Moving costs a place in a queue, so a wish of the platform's own needs a gain in time, and in score or of patience, and a job gets
few of them; a place once left for that is not gone back to while any other is feasible. Pure; times in seconds, scores in micro-yuan.

Patience is the rule of the ski rental (Karlin, Manasse, Rudolph and Sleator, "Competitive snoopy caching", Algorithmica 3, 1988):
who does not know how long a wait will be, and waits until it has cost what the dearer place costs more, pays for wait and place at
most twice what hindsight would have paid.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from tidegrid.scheduling.decision import Candidate
from tidegrid.scheduling.forecasts import WAIT_P50_SHARE
from tidegrid.scheduling.health import Condition
from tidegrid.scheduling.objective import Objective

_YUAN_HOUR = 1_000_000 / 3600  # micro-yuan a second, of one yuan an hour


class Cause(StrEnum):
    STUCK = "stuck"  # the site says that it can never start as it is
    UNAVAILABLE = "unavailable"  # what it needs there is away, for nobody knows how long
    DRAINED = "drained"  # by an operator
    FAILING = "failing"  # drained by itself
    LATE = "late"  # waits longer than predicted, and would start sooner elsewhere
    BETTER = "better"  # there is room elsewhere that was not there before
    PATIENCE = "patience"  # has waited so long for a cheaper place that the dearer one would have cost no more


# Of the codes of `Listed.stuck`: what may come back by itself.
PASSING = frozenset({"site.partition_down", "site.nodes_down", "site.held"})


@dataclass(frozen=True, slots=True)
class Rules:
    """every: between two looks; stuck_after, passing_after: how long a site must say so; settle: youngest age of an attempt that
    moves for LATE, BETTER or PATIENCE; late: times the predicted p90 wait, plus late_floor, is too long; better_floor: what must
    be left to wait here for BETTER; gain, gain_share: least gain in time, and (not for PATIENCE) in score as a share of the score
    here; moves: a job's most moves for these three; at_once: of one look."""

    every: float = 5.0
    stuck_after: float = 10.0
    passing_after: float = 60.0
    settle: float = 120.0
    late: float = 1.5
    late_floor: float = 60.0
    better_floor: float = 300.0
    gain: float = 60.0
    gain_share: float = 0.2
    moves: int = 3
    at_once: int = 50


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
    """why: for people; figures: what it rests on; refused: the site's code where it counts as a refusal."""

    cause: Cause
    why: str
    figures: Mapping[str, float | str]
    refused: str = ""


def left_to_wait(w: Waiting) -> float:
    """Seconds still to be expected here: the rest of what was predicted; what has outlived that is taken to wait for as long again
    as it has already waited beyond it."""
    if w.predicted is None:
        return w.waited
    return max(w.predicted - w.waited, w.waited - w.predicted)


def patience(here: Candidate, other: Candidate, objective: Objective) -> float:
    """Seconds of waiting at `here` after which it has cost its owner as much as `other` does; below 0 where `other` is the better
    one at once. What was waited is no forecast: each second of it counts whole."""
    second = objective.time * _YUAN_HOUR
    forecast = second * (here.wait_p50 + objective.risk * (here.wait_p90 - here.wait_p50))
    cheaper = other.score - (here.score - forecast)
    return cheaper / second if second else math.copysign(math.inf, cheaper)


def _weight(objective: Objective) -> float:
    """Micro-yuan of score for a second of the p90 wait."""
    return objective.time * _YUAN_HOUR * (WAIT_P50_SHARE + objective.risk * (1 - WAIT_P50_SHARE))


def verdict(
    w: Waiting, here: Candidate | None, other: Candidate | None, objective: Objective, rules: Rules = Rules()
) -> Move | None:
    """here: the job as placement would weigh it at its place now; other: the best place elsewhere; None where not feasible."""
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
    if w.moves >= rules.moves or w.waited < rules.settle or here is None:
        return None
    return _gain(w, here, other, objective, rules)


def _gain(w: Waiting, here: Candidate, other: Candidate, objective: Objective, rules: Rules) -> Move | None:
    left = left_to_wait(w)
    saved = left + here.run_p50 - other.wait_p90 - other.staging_s - other.run_p50
    if saved < rules.gain:
        return None
    figures: dict[str, float | str] = {
        "waited_s": round(w.waited, 1), "left_here_s": round(left, 1), "to": other.name,
        "wait_p90_there_s": round(other.wait_p90, 1), "saved_s": round(saved, 1),
    }  # fmt: skip
    if w.predicted is not None:
        figures["predicted_p90_s"] = round(w.predicted, 1)
    score_here = here.score + _weight(objective) * (left - here.wait_p90)
    gain = score_here - other.score
    late = w.predicted is not None and w.waited > rules.late * w.predicted + rules.late_floor
    if (late or left >= rules.better_floor) and gain >= rules.gain_share * abs(score_here):
        figures["gain_yuan"] = round(gain / 1e6, 4)
        if late:
            why = f"it waits for {w.waited:.0f} s at {w.place}, where {w.predicted:.0f} s were predicted (p90)"
            return Move(Cause.LATE, f"{why}; {other.name} saves about {saved:.0f} s", figures)
        return Move(Cause.BETTER, f"{other.name} has room now, and saves about {saved:.0f} s against {w.place}", figures)
    worth = patience(here, other, objective)
    if not 0 < worth <= w.waited:
        return None
    figures["patience_s"] = round(worth, 1)
    why = f"it waits for {w.waited:.0f} s at {w.place}, which is worth {worth:.0f} s to its owner against {other.name}"
    return Move(Cause.PATIENCE, f"{why}; that saves about {saved:.0f} s now", figures)
