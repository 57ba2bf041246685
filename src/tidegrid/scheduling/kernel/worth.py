"""What a place is worth to a job, and when one that waits elsewhere should go there: the arithmetic of placement, live and simulated.

Money in any one unit, times in seconds. `pace`, `counted` and `score` take numbers, or numpy's arrays of places.

A waiting job goes only where it starts at once, so a place in a queue is never given up for a promise, and many that move cannot
rush to one place. It goes where its deadline would be missed here and is kept there, for a clear gain in time and score, or when its patience ends: that is the rule of the ski rental
(Karlin, Manasse, Rudolph and Sleator, "Competitive snoopy caching", Algorithmica 3, 1988): who does not know how long a wait will be,
and waits until it has cost what the dearer place costs more, pays for wait and place at most twice what hindsight would have paid.

Kernel source: plain Python over lists, or compiled over arrays.
"""

from __future__ import annotations

import math

from tidegrid.scheduling.kernel.layout import Figure, Numbers

# what is said of waits by a table row where nothing is known: shares of the wait F that a forward run gives
WAIT_P50_SHARE, WAIT_P90_SHARE = 0.5, 1.0

STAY, LATE, BETTER, PATIENCE, DEADLINE = 0, 1, 2, 3, 4  # what `moves` answers

# the words of the rules by which waiting jobs move, see moving.Rules
SETTLE, LATE_TIMES, LATE_FLOOR, BETTER_FLOOR, GAIN, GAIN_SHARE, MOST_MOVES, RULES = 0, 1, 2, 3, 4, 5, 6, 7


def pace(sell: Figure, cost: Figure, tasks: Figure, waves: Figure, price_weight: float, cost_weight: float, second: float) -> Figure:
    """What a second of one task's run weighs, all tasks together. sell, cost: of one task and second, the customer's and the
    operator's; waves: how often a place is filled for all tasks; second: what a second of waiting is worth."""
    return (sell * price_weight + cost * cost_weight) * tasks + second * waves


def counted(p50: Figure, p90: Figure, risk: float) -> Figure:
    """The seconds that count of a time known by two quantiles."""
    return p50 + risk * (p90 - p50)


def score(pace_there: Figure, run: Figure, delay: Figure, second: float) -> Figure:
    """Lower is better. run: p50 of one task; delay: what counts of wait and staging, and of the run's spread."""
    return pace_there * run + second * delay


def left_to_wait(waited: float, predicted: float) -> float:
    """Seconds still to be expected where a wait of `predicted` (p90; below 0: nobody knows) was foretold: the rest of it; what has
    outlived it is taken to wait for as long again as it has already waited beyond it."""
    if predicted < 0.0:
        return waited
    return max(predicted - waited, waited - predicted)


def patience(run_here: float, score_there: float, second: float) -> float:
    """Seconds of waiting here after which it has cost as much as the other place costs more; below 0 where that is the better one at
    once. run_here: this place's score without any wait. What was waited is no forecast: each second of it counts whole."""
    more = score_there - run_here
    return more / second if second > 0.0 else math.copysign(math.inf, more)


def until(left: float, sure: bool) -> float:
    """What counts for a deadline of a wait of which `left` (p90) is left."""
    return left if sure else WAIT_P50_SHARE * left


def staying(score_here: float, left: float, second: float, risk: float) -> float:
    """The score of this place, without any wait `score_here`, with what is left to wait (p90, s)."""
    return float(score_here + second * counted(WAIT_P50_SHARE * left, left, risk))


def moves(
    waited: float, predicted: float, run_here: float, score_here: float, time_there: float, score_there: float, due: float,
    longest_here: float, longest_there: float, sure: bool, second: float, risk: float, rules: Numbers, at: int,
) -> int:
    """Why a waiting job goes to the other place, or STAY. predicted: the p90 wait that was foretold here, below 0: not known;
    run_here: p50 of all tasks here (s); time_there: staging and run there (s); score_here: without any wait; score_there:
    with it; due: seconds left until its deadline, infinite for none; longest_here: its run here, longest_there: staging and its run there, of which it is
    judged whether that is kept: p90 where it is to be `sure`, else p50; rules: their words begin at `at`."""  # fmt: skip
    left = left_to_wait(waited, predicted)
    if until(left, sure) + longest_here > due >= longest_there:
        return DEADLINE
    if waited < rules[at + SETTLE]:
        return STAY
    if left + run_here - time_there < rules[at + GAIN]:
        return STAY
    late = predicted >= 0.0 and waited > rules[at + LATE_TIMES] * predicted + rules[at + LATE_FLOOR]
    if late or left >= rules[at + BETTER_FLOOR]:
        stay = staying(score_here, left, second, risk)
        if stay - score_there >= rules[at + GAIN_SHARE] * abs(stay):
            return LATE if late else BETTER
    worth = patience(score_here, score_there, second)
    if 0.0 < worth <= waited:
        return PATIENCE
    return STAY
