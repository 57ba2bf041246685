"""The arithmetic of placement: one request over all partitions, a row operation a term, and what a batch charges itself.

What depends only on the shape of a request is kept for the others of the batch: verdicts, waits, prices, waves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tidegrid.domain.money import MICRO
from tidegrid.rating.rate import MIB_PER_GIB
from tidegrid.scheduling import forecasts, holes
from tidegrid.scheduling.decision import Decision, Refusal, Terms, allocated
from tidegrid.scheduling.feasibility import Feasibility, holds
from tidegrid.scheduling.kernel import worth
from tidegrid.scheduling.kernel.worth import WAIT_P50_SHARE
from tidegrid.scheduling.objective import Objective, lookup, policy_hash
from tidegrid.scheduling.runtime import predict
from tidegrid.scheduling.snapshot import Bools, Floats, Health, Ints, Snapshot
from tidegrid.scheduling.software import Standing
from tidegrid.scheduling.waits import Waits

if TYPE_CHECKING:
    from tidegrid.scheduling.placement import Request

ORDERED_WAIT_S = 600.0  # an ordered list's entry is taken if its median wait is within this
SUSPECT_FACTOR = 1.5  # on the score of a suspect place: about every other job there is taken to run again elsewhere
UNVERIFIED_FACTOR = 1.1  # where acceptance tests have not passed: about every tenth job there is taken to fail for it
SETTINGS: Mapping[str, float] = {
    "ordered_wait_s": ORDERED_WAIT_S, "wait_p50_share": WAIT_P50_SHARE, "suspect_factor": SUSPECT_FACTOR,
    "unverified_factor": UNVERIFIED_FACTOR,
}  # fmt: skip
MISSED = "no place keeps its deadline: where it is expected to end first"
_YUAN_HOUR = MICRO / 3600  # micro-yuan a second, of one yuan an hour
_PRICE_HOUR = 100.0 * 3600  # 1e-8 yuan an hour in one micro-yuan a second
_FEW = 16
Shape = tuple[tuple[int, ...], int]  # one task's need; and on how many nodes of its own, 0 where it shares them
_NO_HISTORY: Floats = np.empty(0)
_ALL = slice(None)


class Batch:
    """The requests of one call, in order."""

    def __init__(self, snapshot: Snapshot, overrides: Mapping[str, Objective] | None) -> None:
        self.snapshot, self.overrides = snapshot, overrides
        self.policy = policy_hash(overrides, SETTINGS)
        self.feasibility = Feasibility(snapshot)
        if "waits" not in snapshot.memo:
            snapshot.memo["waits"] = Waits(snapshot)
        self.waits: Waits = snapshot.memo["waits"]
        suspect = snapshot.health == Health.SUSPECT
        self._doubt: Floats | None = np.where(suspect, SUSPECT_FACTOR, 1.0) if suspect.any() else None
        self._slowness: Floats = 1.0 / snapshot.speed
        self._slowest = float(self._slowness.max(initial=0.0))
        self._room = list(snapshot.free.T.copy())
        self._load: Floats = np.zeros(len(snapshot.partitions))  # s of each whole partition, placed by this batch
        self._holes: dict[int, tuple[list[holes.Row], dict[tuple[tuple[int, ...], int, bool], bool]]] = {}  # where this batch has taken: what is left, and whether it holds a shape
        self._taken: Bools = np.zeros(len(snapshot.partitions), np.bool_)  # the same partitions
        self._charged = False
        self._licences: Ints = snapshot.software.pool_free.copy()
        self._factors: dict[str, Floats | None] = {}
        self._cold = not snapshot.wait_table.any()
        self._sell: dict[Shape, tuple[Floats, float]] = {}
        self._pace: dict[tuple[Shape, int, str], tuple[Floats, Floats | None]] = {}

    def decide(self, r: Request, k: int, *, asks_balance: bool = True, charges: bool = True) -> Decision:
        """The decision on one request; with `charges` it weighs on the later ones."""
        s, objective = self.snapshot, lookup(r.objective, self.overrides)
        verdict = self.feasibility.of(r)
        p50, p90 = self._times(r)
        wall, time = float(r.wall_s), objective.time * _YUAN_HOUR

        pace, waves = self._pace_of(r, objective)
        run = self._run(p50, wall, None)
        wait = self._wait(r)
        wait_p50, wait_p90 = self._corrected(wait)
        delay = self._between(wait, wait_p50, wait_p90, objective.risk)
        if objective.risk:
            spread = self._run(p90, wall, waves) - (run if waves is None else run * waves)
            delay += spread * objective.risk
        staging: Floats | None = None
        if r.input_bytes:
            moves = self._moves(r)
            staging = np.where(moves > 0, s.staging_s + moves / s.bandwidth, 0.0)
            delay += staging
        score: Floats = worth.score(pace, run, delay, time)
        factor = self._factor(r.app)
        if factor is not None:
            score *= factor
        np.putmask(score, verdict.bad, np.inf)

        refused: dict[Refusal, Bools] = {}
        for feature, n in r.licences:
            free = holds(s.software, self._licences, feature, n)
            refused[Refusal.LICENCE] = refused[Refusal.LICENCE] | ~free if Refusal.LICENCE in refused else ~free
        sell, dearest = self._sell_of(r)
        at_most = wall * r.tasks
        if asks_balance and r.balance is not None and dearest * at_most > r.balance:
            refused[Refusal.BALANCE] = sell * at_most > r.balance
        if r.budget is not None and dearest * at_most > r.budget:  # as the hold is rounded, a task at a time
            refused[Refusal.BUDGET] = np.floor(sell * wall + 0.5) * r.tasks > r.budget
        end: Floats | None = None
        if r.deadline_s is not None:
            ran = self._run(p90 if objective.sure else p50, wall, waves)
            end = ran + (wait_p90 if objective.sure else wait_p50)
            if staging is not None:
                end += staging
            refused[Refusal.DEADLINE] = end > r.deadline_s - s.epoch_s
        refusals, feasible, missed = dict(verdict.refusals), verdict.feasible, False
        if refused:
            open_ = score < np.inf
            for reason, bad in refused.items():
                if count := int(np.count_nonzero(bad & open_)):
                    refusals[reason] = count
                    if reason is Refusal.DEADLINE and not (~bad & (score < np.inf)).any():
                        missed = True  # late is better than never
                        continue
                    np.putmask(score, bad, np.inf)
            feasible = int(np.count_nonzero(score < np.inf))

        if missed and end is not None and feasible:
            top = best(np.where(score < np.inf, end, np.inf), k)
        else:
            top = best(score, k)
        chosen, note = (0, MISSED) if missed and len(top) else self._choose(r, top, score, wait_p50)
        taken = () if chosen is None else self._pools(r, int(top[chosen]))
        if charges and chosen is not None:
            self._charge(r, int(top[chosen]), p90, waves)
            for pool, n in taken:
                self._licences[pool] -= n
        longest = self._run(p90, wall, None, top)
        terms = Terms(
            s, r.need, r.nodes if r.exclusive else 0, r.tasks, r.wall_s, None if staging is None else staging[top], run[top], longest, top, wait[top], score[top],
            waves, objective, r.app, factor, r.runs,
        )  # fmt: skip
        names = tuple((s.software.pools[pool], n) for pool, n in taken)
        return Decision(r.id, r.objective, chosen, terms, refusals, feasible, self.policy, note, names)

    def _factor(self, app: str) -> Floats | None:
        """On the score, float64[P], for a suspect place and an application that is not verified there; None for 1 everywhere."""
        if app not in self._factors:
            known, row = self.snapshot.software, self.snapshot.software.row(app)
            factor = self._doubt
            if row is not None and known.tested[row]:
                unproved = np.where(known.standing[row] < Standing.VERIFIED, UNVERIFIED_FACTOR, 1.0)
                factor = unproved if factor is None else unproved * factor
            self._factors[app] = factor
        return self._factors[app]

    def _pools(self, r: Request, p: int) -> tuple[tuple[int, int], ...]:
        """(pool, count) that a request takes at partition p: of each feature the pool that serves fewest partitions."""
        known, out = self.snapshot.software, []
        for feature, n in r.licences:
            here = (int(x) for x in known.pools_of(feature) if known.pool_at[x, p] and self._licences[x] >= n)
            out.append((next(here), n))
        return tuple(out)

    def _moves(self, r: Request) -> Floats:
        """Bytes of its inputs that each partition lacks, float64[P]."""
        s = self.snapshot
        out: Floats = np.full(len(s.partitions), float(r.input_bytes))
        for cluster, there in r.already:
            if cluster in s.clusters:
                out[s.cluster == s.clusters.index(cluster)] -= there
        return np.maximum(out, 0.0)

    def _sell_of(self, r: Request) -> tuple[Floats, float]:
        """Micro-yuan a second of one task float64[P], and the highest of them."""
        shape = _shape(r)
        if shape not in self._sell:
            sell = self._rate(self.snapshot.sell, shape)
            self._sell[shape] = sell, float(sell.max(initial=0.0))
        return self._sell[shape]

    def _rate(self, prices: Ints, shape: Shape) -> Floats:
        """Micro-yuan a second of one task float64[P] at `prices` int64[P,3]."""
        need, nodes = shape
        if not nodes:
            return np.asarray(prices @ _weights(need), np.float64)
        whole = allocated(self.snapshot, need, nodes)
        weights = np.stack([whole[:, 0] / 1000, whole[:, 2], whole[:, 1] / MIB_PER_GIB], axis=1) / _PRICE_HOUR
        return np.asarray((prices * weights).sum(axis=1), np.float64)

    def _pace_of(self, r: Request, objective: Objective) -> tuple[Floats, Floats | None]:
        """What a second of one task's run time weighs, all tasks together, float64[P]; and how often a partition must be filled
        for all of them, None for one task."""
        key = (_shape(r), r.tasks, r.objective)
        if key not in self._pace:
            cost = self._rate(self.snapshot.cost, key[0])
            waves = self._waves(r.need, r.tasks) if r.tasks > 1 else None
            second = objective.time * _YUAN_HOUR
            pace = worth.pace(self._sell_of(r)[0], cost, r.tasks, 1.0 if waves is None else waves, objective.price, objective.cost, second)
            self._pace[key] = pace, waves
        return self._pace[key]

    def _waves(self, need: tuple[int, ...], tasks: int) -> Floats:
        at_once = np.full(len(self.snapshot.partitions), tasks, np.int64)
        for column, n in zip(self.snapshot.capacity.T, need, strict=True):
            if n:
                at_once = np.minimum(at_once, column // n)
        return np.asarray(np.ceil(tasks / np.maximum(at_once, 1)), np.float64)

    @staticmethod
    def _times(r: Request) -> tuple[float | Floats, float | Floats]:
        """p50 and p90 of one task: seconds at speed 1, or where it was predicted so, at each partition float64[P]."""
        if r.runs is not None:
            return r.runs.p50, r.runs.p90
        if r.run_p50_s is None or r.run_p90_s is None:
            return predict(_NO_HISTORY, r.wall_s)
        return r.run_p50_s, r.run_p90_s

    def _run(self, seconds: float | Floats, wall: float, waves: Floats | None, at: Any = _ALL) -> Floats:
        """Run time of all tasks in seconds, float64[P], or at some partitions."""
        if isinstance(seconds, np.ndarray):
            run: Floats = np.minimum(seconds[at], wall)
        else:
            run = self._slowness[at] * seconds
            if seconds * self._slowest > wall:
                np.minimum(run, wall, out=run)
        return run if waves is None else run * waves

    def _wait(self, r: Request) -> Floats:
        """Seconds by the estimates, float64[P]: the queue's, and the work of this batch where it has used up what was free."""
        alone, at_once = self.waits.of(r.need, r.wall_s, r.nodes, r.exclusive)
        if not self._charged:
            return alone
        fits = at_once.copy()
        for row, n in zip(self._room, r.need, strict=True):
            if n:
                fits &= row >= n
        if self._holes:
            self._see_holes(r, fits)
        wait = alone + self._load
        np.putmask(wait, fits, 0.0)
        return wait

    def _see_holes(self, r: Request, fits: Bools) -> None:
        """Take from `fits` the partitions whose nodes, as this batch has left them, do not hold it."""
        shape = r.need, r.nodes, r.exclusive
        for p in np.flatnonzero(fits & self._taken).tolist():
            left, known = self._holes[p]
            if shape not in known:
                known[shape] = holes.hold(left, self._each(r, p), r.nodes)
            if not known[shape]:
                fits[p] = False

    def _each(self, r: Request, p: int) -> tuple[int, ...]:
        """What it takes of each of its nodes at partition p."""
        return holes.each_of(r.need, r.nodes, int(self.snapshot.largest[p, 0]) if r.exclusive else 0)

    def _corrected(self, wait: Floats) -> tuple[Floats, Floats]:
        """(p50, p90) of waits by the estimates, as the picture's table has them."""
        if self._cold:
            return wait * WAIT_P50_SHARE, wait
        _, p50, p90 = forecasts.look_up(self.snapshot.wait_table, wait)
        return p50, p90

    def _between(self, wait: Floats, p50: Floats, p90: Floats, risk: float) -> Floats:
        """The wait that counts: p50, or by the objective's risk something up to p90; inf stays so."""
        if not risk:
            return p50.copy()
        never = np.isinf(wait)
        counted: Floats = worth.counted(np.where(never, 0.0, p50), np.where(never, 0.0, p90), risk)
        np.putmask(counted, never, np.inf)
        return counted

    def _charge(self, r: Request, p: int, p90: float | Floats, waves: Floats | None) -> None:
        share = 0.0
        for row, n, capacity in zip(self._room, r.need, self.snapshot.capacity[p].tolist(), strict=True):
            if n:
                row[p] -= n * r.tasks
                share = max(share, n * r.tasks / max(capacity, 1))
        one = float(p90[p]) if isinstance(p90, np.ndarray) else float(self._slowness[p]) * p90
        run = min(one, float(r.wall_s)) * (1.0 if waves is None else float(waves[p]))
        left = self._holes[p][0] if p in self._holes else self.snapshot.holes_of(p)
        if left:
            self._holes[p] = holes.take(left, self._each(r, p), r.nodes * r.tasks), {}
            self._taken[p] = True
        self._load[p] += min(share, 1.0) * run  # an array's run time counts its waves already
        self._charged = True

    def _choose(self, r: Request, top: Ints, score: Floats, wait_p50: Floats) -> tuple[int | None, str]:
        """Index into `top`, and why where it is not the first. Of an ordered list: the first entry that is feasible and can be
        had soon, which takes the last place of `top` where it is not in it; else the best by score of all listed."""
        if not len(top):
            return None, ""
        if not r.constraints.ordered:
            return 0, ""
        for name in r.constraints.ordered:
            here = self.snapshot.places.get(name)
            if here is None:
                continue
            soon = here[(score[here] < np.inf) & (wait_p50[here] <= ORDERED_WAIT_S)]
            if len(soon):
                winner = soon[np.argmin(score[soon])]
                found = np.flatnonzero(top == winner)
                if not len(found):
                    top[-1] = winner
                at = int(found[0]) if len(found) else len(top) - 1
                return at, f"{name} comes first in the job's list and can be had soon" if at else ""
        return 0, "no listed place can be had soon: the best of them by score"


def _shape(r: Request) -> Shape:
    return r.need, r.nodes if r.exclusive else 0


def _weights(need: tuple[int, ...]) -> Floats:
    """Factors from (core, GPU, GiB) prices an hour to micro-yuan a second of one task."""
    millicores, mib, gpus = need
    return np.array([millicores / 1000, gpus, mib / MIB_PER_GIB]) / _PRICE_HOUR


def best(score: Floats, k: int) -> Ints:
    """Indices of the k lowest finite scores, lowest first; of equal scores the lower index."""
    if k > _FEW:
        inside = (score < np.inf).nonzero()[0]
        return inside[score[inside].argsort(kind="stable")[:k]]
    left, out = score.copy(), []
    for _ in range(min(k, len(left))):  # numpy finds a minimum ten times faster than it partitions
        p = int(left.argmin())
        if left[p] == np.inf:
            break
        out.append(p)
        left[p] = np.inf
    return np.array(out, np.int64)
