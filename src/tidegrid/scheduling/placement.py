"""Where a job should run: every request against every partition, with reasons.

A batch is decided in the order given, each request over all partitions at once, and each placement charges the later ones: what
it takes from the free capacity is gone for them, and once that is used up they wait for the work placed before them (its share of
the partition times its run time). A hold is not a charge: balances are as given.

Waits and run times are predictions; prices are float64 while partitions are compared and exact integers in the candidates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tidegrid.domain.job import Constraints
from tidegrid.scheduling.decision import Candidate, Decision, Refusal, explain_text
from tidegrid.scheduling.objective import PRESETS, Objective
from tidegrid.scheduling.runtime import Prediction
from tidegrid.scheduling.snapshot import Snapshot
from tidegrid.scheduling.weighing import Batch

BEST = 8


@dataclass(frozen=True, slots=True)
class Request:
    """One job, or one part of an array, to be placed.

    need: one task's over all its nodes, in the order of the snapshot's kinds (`snapshot.need_of`); nodes: on how many it is spread
    evenly; exclusive: these nodes whole, all their cores and GPUs; tasks: how many of them; wall_s: limit in
    seconds; excluded: clusters or partitions that refused it; closed: clusters where its customer has no account;
    unwelcome: clusters that take no guests now;
    runs: predicted run time of one task at each partition of the snapshot; where it is None, run_p50_s, run_p90_s: at speed 1,
    and where they are None too, `runtime.predict` without history; input_bytes: of its inputs; already:
    (cluster, bytes of them that lie there); balance: micro-yuan available, None for not asked; budget:
    micro-yuan at most; deadline_s: unix time by which it should have ended; trial: it finds out whether the application works there;
    linked: its nodes need an interconnect; licences: (feature, count), of all tasks that run at once.
    """

    id: int
    app: str
    need: tuple[int, ...]
    wall_s: int
    gpu_type: str = ""
    tasks: int = 1
    constraints: Constraints = field(default_factory=Constraints)
    excluded: tuple[str, ...] = ()
    closed: tuple[str, ...] = ()
    unwelcome: tuple[str, ...] = ()
    run_p50_s: float | None = None
    run_p90_s: float | None = None
    runs: Prediction | None = None
    input_bytes: int = 0
    already: tuple[tuple[str, int], ...] = ()
    objective: str = "balanced"
    balance: int | None = None
    budget: int | None = None
    deadline_s: int | None = None
    nodes: int = 1
    exclusive: bool = False
    trial: bool = False
    linked: bool = False
    licences: tuple[tuple[str, int], ...] = ()


def decide(
    requests: Sequence[Request],
    snapshot: Snapshot,
    objective_overrides: Mapping[str, Objective] | None = None,
    k: int = BEST,
) -> list[Decision]:
    """One decision a request, in order; deterministic. k: how many candidates to keep. InvalidInput objective.unknown."""
    batch = Batch(snapshot, objective_overrides)
    return [batch.decide(r, max(k, 1)) for r in requests]


def offers(
    request: Request, snapshot: Snapshot, objective_overrides: Mapping[str, Objective] | None = None
) -> list[Candidate]:
    """All feasible partitions, best first, whatever the balance."""
    batch = Batch(snapshot, objective_overrides)
    return list(batch.decide(request, max(len(snapshot.partitions), 1), asks_balance=False, charges=False).candidates)


__all__ = [
    "BEST",
    "PRESETS",
    "Candidate",
    "Decision",
    "Objective",
    "Refusal",
    "Request",
    "decide",
    "explain_text",
    "offers",
]
