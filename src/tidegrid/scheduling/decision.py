"""What placement answers: the chosen partition, the best others with their terms, and why the rest were refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any

import numpy as np

from tidegrid.domain.money import MICRO, format_amount
from tidegrid.rating.rate import rate_millicores
from tidegrid.scheduling import forecasts
from tidegrid.scheduling.kernel.chances import SEEN
from tidegrid.scheduling.objective import Objective
from tidegrid.scheduling.runtime import Prediction
from tidegrid.scheduling.snapshot import SUPPLIES, Floats, Ints, Snapshot
from tidegrid.scheduling.software import Standing


class Refusal(StrEnum):
    """Why a partition cannot take a job. The physical ones are counted wherever they hold, so one partition may count under
    several; the last four only at partitions with none of them."""

    ARCH = "arch"
    REGION = "region"
    RESIDENCY = "residency"
    NOT_LISTED = "not_listed"
    EXCLUDED = "excluded"
    GPU_TYPE = "gpu_type"
    TOO_LARGE = "too_large"
    TOO_LONG = "too_long"
    UNHEALTHY = "unhealthy"
    DRAINED = "drained"
    FAILING = "failing"
    NOT_INSTALLED = "not_installed"
    NOT_VERIFIED = "not_verified"
    NOT_LINKED = "not_linked"
    NO_LICENCE = "no_licence"
    NO_ACCOUNT = "no_account"
    GUESTS = "guests"
    NO_PRICE = "no_price"
    LICENCE = "licence"
    BALANCE = "balance"
    BUDGET = "budget"
    DEADLINE = "deadline"


TEXTS: Mapping[Refusal, str] = {
    Refusal.ARCH: "have another architecture",
    Refusal.REGION: "are in another region",
    Refusal.RESIDENCY: "are outside of the regions that its data must stay in",
    Refusal.NOT_LISTED: "are not among those the job names",
    Refusal.EXCLUDED: "are excluded by the job, or refused it before",
    Refusal.GPU_TYPE: "have no GPU of that type",
    Refusal.TOO_LARGE: "have no nodes, or too few, that are large enough for one task",
    Refusal.TOO_LONG: "do not allow that wall time",
    Refusal.UNHEALTHY: "do not answer",
    Refusal.DRAINED: "are drained by an operator",
    Refusal.FAILING: "are drained for their failures, until probes succeed",
    Refusal.NOT_INSTALLED: "do not have the application",
    Refusal.NOT_VERIFIED: "have the application, and its acceptance tests have not passed there",
    Refusal.NOT_LINKED: "have no interconnect between their nodes",
    Refusal.NO_LICENCE: "have not so many licences for it",
    Refusal.NO_ACCOUNT: "have no account there that is bound to you",
    Refusal.GUESTS: "take no guests now: their own users have waited longer than they would have alone",
    Refusal.NO_PRICE: "have no price",
    Refusal.LICENCE: "have no licence free for it now",
    Refusal.BALANCE: "cost more, at full wall time, than the balance covers",
    Refusal.BUDGET: "cost more, at full wall time, than the budget",
    Refusal.DEADLINE: "would end too late",
}


@dataclass(frozen=True, slots=True)
class Candidate:
    """One feasible partition with the terms of its score.

    index: into the snapshot's partitions; start_now: chance to start within a minute; wait, staging, run: seconds, predicted
    (of all tasks together for run); price, cost: micro-yuan at run_p50, customer's and operator's; hold: price at the full wall
    time; score: micro-yuan, lower is better; terms: what it is the sum of, times `factor` (see `score_terms`); standing: of the
    application there, "" where nothing is known; sell, cost_rates: 1e-8 yuan per (core, GPU, GiB)-hour; need: what one task is given
    there, and pays for, in the order of the snapshot's kinds; wait_ahead: what the forward run of the queue gave, from which
    the wait was learned to be forecast.
    """

    index: int
    cluster: str
    partition: str
    start_now: float
    wait_p50: float
    wait_p90: float
    staging_s: float
    run_p50: float
    run_p90: float
    price: int
    cost: int
    hold: int
    score: float
    supply: str
    region: str
    sell: tuple[int, int, int]
    cost_rates: tuple[int, int, int]
    need: tuple[int, int, int]
    terms: Mapping[str, float] = field(default_factory=dict)
    standing: str = ""
    wait_ahead: float = 0.0

    @property
    def name(self) -> str:
        return f"{self.cluster}/{self.partition}"

    def to_json(self) -> dict[str, Any]:
        return {
            "partition": self.name,
            "region": self.region,
            "supply": self.supply,
            "start_now": round(self.start_now, 3),
            "wait_p50_s": round(self.wait_p50, 3),
            "wait_p90_s": round(self.wait_p90, 3),
            "wait_ahead_s": round(self.wait_ahead, 3),
            "staging_s": round(self.staging_s, 3),
            "run_p50_s": round(self.run_p50, 3),
            "run_p90_s": round(self.run_p90, 3),
            "price": self.price,
            "cost": self.cost,
            "hold": self.hold,
            "score": round(self.score, 3),
            "terms": {name: round(value, 3) for name, value in self.terms.items()},
            "standing": self.standing,
        }


@dataclass(frozen=True, slots=True, eq=False)
class Terms:
    """What the candidates are made from: the request's shape, and of the best partitions, best first, their index, run time of one
    task (p50, p90; s), wait (s) and score; staging: s at each of them, None without inputs. whole_nodes: how many it has to itself, 0 where it shares them; waves float64[P]: how
    often a partition is filled for all tasks, None for one task; factor float64[P]: on the score, for what is in doubt there, None
    for 1; runs: what the run times come from, None where they were given."""

    snapshot: Snapshot
    need: tuple[int, ...]
    whole_nodes: int
    tasks: int
    wall_s: int
    staging: Floats | None
    p50: Floats
    p90: Floats
    index: Ints
    wait: Floats
    score: Floats
    waves: Floats | None
    objective: Objective
    app: str = ""
    factor: Floats | None = None
    runs: Prediction | None = None

    def candidates(self) -> tuple[Candidate, ...]:
        waits = np.stack(forecasts.look_up(self.snapshot.wait_table[self.index], self.wait), axis=1).tolist()
        return tuple(self._candidate(i, *waits[i]) for i in range(len(self.index)))

    def _candidate(self, i: int, soon: float, wait_p50: float, wait_p90: float) -> Candidate:
        s, p = self.snapshot, int(self.index[i])
        cluster, _, partition = s.partitions[p].partition("/")
        given = allocated(s, self.need, self.whole_nodes)[p].tolist() if self.whole_nodes else list(self.need)
        millicores, mib, gpus = given
        sell, cost = s.sell_rates(p), s.cost_rates(p)
        waves = 1.0 if self.waves is None else float(self.waves[p])
        run = float(self.p50[i])
        staging = 0.0 if self.staging is None else float(self.staging[i])
        ran_ms = round(run * 1000)
        price = self.tasks * rate_millicores(ran_ms, millicores, gpus, mib, sell)
        marginal = self.tasks * rate_millicores(ran_ms, millicores, gpus, mib, cost)
        run_p50, run_p90 = run * waves, float(self.p90[i]) * waves
        factor = 1.0 if self.factor is None else float(self.factor[p])
        row = s.software.row(self.app)
        return Candidate(
            index=p,
            cluster=cluster,
            partition=partition,
            start_now=soon,
            wait_p50=wait_p50,
            wait_p90=wait_p90,
            wait_ahead=float(self.wait[i]),
            staging_s=staging,
            run_p50=run_p50,
            run_p90=run_p90,
            price=price,
            cost=marginal,
            hold=self.tasks * rate_millicores(self.wall_s * 1000, millicores, gpus, mib, sell),
            score=float(self.score[i]),
            supply=SUPPLIES[int(s.supply[p])].value,
            region=s.regions[int(s.region[p])],
            sell=sell.as_tuple(),
            cost_rates=cost.as_tuple(),
            need=(millicores, mib, gpus),
            terms=score_terms(self.objective, price, marginal, wait_p50, wait_p90, staging, run_p50, run_p90, factor),
            standing="" if row is None else Standing(int(s.software.standing[row, p])).name.lower(),
        )


def score_terms(
    o: Objective, price: float, cost: float, wait_p50: float, wait_p90: float, staging: float, run_p50: float, run_p90: float,
    factor: float,
) -> dict[str, float]:
    """Micro-yuan of each term of a score: (price + cost + wait + staging + run + risk) * factor. price, cost: micro-yuan; times in s;
    factor: 1 where nothing is in doubt."""  # fmt: skip
    a_second = o.time * MICRO / 3600
    return {
        "price": o.price * price,
        "cost": o.cost * cost,
        "wait": a_second * wait_p50,
        "staging": a_second * staging,
        "run": a_second * run_p50,
        "risk": a_second * o.risk * (wait_p90 - wait_p50 + run_p90 - run_p50),
        "factor": factor,
    }


def allocated(s: Snapshot, need: Sequence[int], whole_nodes: int) -> Ints:
    """What a task that has `whole_nodes` nodes to itself is given, int64[P,K]: all their cores and GPUs, and the memory it asked for."""
    out: Ints = s.largest * whole_nodes
    out[:, 1] = need[1]
    return out


@dataclass(frozen=True, eq=False)
class Decision:
    """chosen: index into `candidates`, None where nothing is feasible; feasible: how many there were of `partitions`;
    refusals: count by reason; policy: its hash; note: why the chosen is not the first, where it is not; licences:
    (pool, count) that the chosen takes."""

    request: int
    objective: str
    chosen: int | None
    terms: Terms
    refusals: Mapping[Refusal, int]
    feasible: int
    policy: str
    note: str = ""
    licences: tuple[tuple[str, int], ...] = ()

    @property
    def partitions(self) -> int:
        """How many were looked at."""
        return len(self.terms.snapshot.partitions)

    @property
    def snapshot(self) -> str:
        """Revision of the snapshot it was made on."""
        return self.terms.snapshot.revision

    @cached_property
    def candidates(self) -> tuple[Candidate, ...]:
        """The best by score, best first; made from the terms when first asked for."""
        return self.terms.candidates()

    @property
    def text(self) -> list[str]:
        """`explain_text` on the snapshot it was made on."""
        return explain_text(self, self.terms.snapshot)

    @property
    def best(self) -> Candidate | None:
        """The chosen candidate."""
        return None if self.chosen is None else self.candidates[self.chosen]

    def why_not(self) -> str:
        """One line for a job that nothing can take: all reasons, counted."""
        if not self.partitions:
            return "the network has no partitions"
        reasons = ", ".join(f"{n} {TEXTS[r]}" for r, n in self.refusals.items())
        return f"none of {self.partitions} partitions can take it: {reasons}"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, as stored."""
        best = self.best
        return {
            "chosen": None if best is None else best.name,
            "objective": self.objective,
            "candidates": [c.to_json() for c in self.candidates],
            "refusals": {r.value: n for r, n in self.refusals.items()},
            "partitions": self.partitions,
            "feasible": self.feasible,
            "snapshot": self.snapshot,
            "policy": self.policy,
            "note": self.note,
            "licences": {pool: n for pool, n in self.licences},
            **({} if self.prediction is None else {"prediction": self.prediction}),
        }

    @property
    def prediction(self) -> dict[str, Any] | None:
        """What the run times come from, and what was said of one task where it was sent; None where they were given."""
        runs = self.terms.runs
        if runs is None:
            return None
        told: dict[str, Any] = {"peak_p50_mib": _rounded(runs.peak_p50_mib), "peak_p90_mib": _rounded(runs.peak_p90_mib)}
        if self.chosen is not None:
            told |= {"speed": round(float(runs.speed[self.terms.index[self.chosen]]), 6),
                     "run_p50_s": round(float(self.terms.p50[self.chosen]), 3),
                     "run_p90_s": round(float(self.terms.p90[self.chosen]), 3)}  # fmt: skip
        return {**runs.basis(), **told}


def explain_text(decision: Decision, snapshot: Snapshot) -> list[str]:
    """The decision in plain lines of English, fit for the customer: nothing of what capacity costs the operator."""
    best = decision.best
    if best is None:
        lines = [decision.why_not()]
    else:
        lines = [
            f"{best.name} in {best.region}: best of {decision.feasible} feasible partitions by the objective {decision.objective}"
            + (f" ({decision.note})" if decision.note else ""),
            f"  wait about {_span(best.wait_p50)} (p90 {_span(best.wait_p90)}, {best.start_now:.0%} chance to start within a minute), "
            f"staging {_span(best.staging_s)}, run {_span(best.run_p50)} (p90 {_span(best.run_p90)}): all predicted",
            f"  price about {format_amount(best.price)} yuan, at most {format_amount(best.hold)} for the full wall time; "
            f"{best.supply.replace('_', '-')} capacity",
            *_weights(best),
        ]
        if decision.licences:
            lines.append("  takes of licences: " + ", ".join(f"{n} of {pool}" for pool, n in decision.licences))
        if decision.terms.runs is not None:
            lines.append(f"  {decision.terms.runs.text(decision.terms.app)}")
        seen = round(float(decision.terms.snapshot.wait_table[best.index, :, SEEN].sum()))
        if seen:
            version = forecasts.version(decision.terms.snapshot.wait_table[best.index])
            lines.append(f"  the queue run ahead gives {_span(best.wait_ahead)}; corrected by {seen} waits seen there (table {version})")
        lines += [f"  instead of {_against(best, c)}" for c in decision.candidates if c.index != best.index]
        if decision.refusals:
            lines.append(f"refused, of {decision.partitions} partitions (one may count twice):")
            lines += [f"  {n} {TEXTS[r]}" for r, n in decision.refusals.items()]
    lines.append(f"decided on picture {decision.snapshot[:12]} with policy {decision.policy}")
    if decision.snapshot != snapshot.revision:
        lines.append(f"(shown beside picture {snapshot.revision[:12]}, which is another one)")
    return lines


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


_STANDINGS = {
    "tuned": "the application is verified and tuned there",
    "verified": "the application's acceptance tests passed there",
    "installed": "the application is installed there, and its acceptance tests have not passed there yet",
}


def _weights(best: Candidate) -> list[str]:
    """What the customer's wishes made of it, in yuan; the operator's own term is left out."""
    t = best.terms
    parts = [f"{name} {format_amount(round(t[name]))}" for name in ("price", "wait", "staging", "run", "risk") if t.get(name)]
    lines = [f"  weighed, in yuan: {', '.join(parts)}" + (f"; times {t['factor']:g} for doubt" if t.get("factor", 1.0) != 1.0 else "")]
    return lines + ([f"  {_STANDINGS[best.standing]}"] if best.standing in _STANDINGS else [])


def _against(best: Candidate, other: Candidate) -> str:
    differences = [
        _difference(
            other.wait_p50 + other.staging_s - best.wait_p50 - best.staging_s, "starts {} later", "starts {} earlier"
        ),
        _difference(other.run_p50 - best.run_p50, "runs {} longer", "runs {} shorter"),
    ]
    if other.price != best.price:
        word = "dearer" if other.price > best.price else "cheaper"
        differences.append(f"{format_amount(abs(other.price - best.price))} yuan {word}")
    return f"{other.name}: " + (", ".join(d for d in differences if d) or "equal terms, later in the list")


def _difference(seconds: float, more: str, less: str) -> str:
    if abs(seconds) < 1:
        return ""
    return (more if seconds > 0 else less).format(_span(abs(seconds)))


def _span(seconds: float) -> str:
    """Seconds as a person writes them: 40 s, 12 min, 3.5 h, 2.1 d."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} d"
