"""The porting board: for which architecture an application should be made to run next, by demand, gain and effort.

    worth = use moved * (price now - price there / relative speed) + use refused * (price there - cost there)    yuan in the window
    score = worth / effort                                                                                     yuan a person-day

Use moves only where that saves its customers something. The relative speed of a core is modelled from machine cards: the geometric mean
of the ratios of double-precision peak and of memory bandwidth, a core each; where a card is missing it is taken to be 1, and said so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tidegrid.domain.errors import Conflict

EFFORT_DAYS = 10.0  # where nobody has said


class Stage(StrEnum):
    PLANNED = "planned"
    INSTALLING = "installing"
    PORTING = "porting"
    TESTING = "testing"
    TUNING = "tuning"
    SERVING = "serving"
    DROPPED = "dropped"


OVER = frozenset({Stage.SERVING, Stage.DROPPED})


@dataclass(frozen=True, slots=True)
class Offer:
    """A partition. sell, cost: yuan a core-hour; peak: GF/s a core; bandwidth: GB/s a core; NaN where no card says."""

    place: str
    arch: str
    sell: float
    cost: float
    peak: float = math.nan
    bandwidth: float = math.nan


@dataclass(frozen=True, slots=True)
class Use:
    """What a customer used of an application at a partition in the window: core-hours, and yuan paid."""

    org: str
    place: str
    core_hours: float
    paid: float


@dataclass(frozen=True, slots=True)
class Refused:
    """What a customer asked for and nobody could run; core-hours at full wall time. arch: "" for any."""

    org: str
    arch: str
    jobs: int
    core_hours: float


@dataclass(frozen=True, slots=True)
class Rank:
    """Of one (application, architecture). score, worth, gain (yuan a core-hour that moves): None where no partition of that
    architecture has a price; place: where it would run; speed: of a core there against those it runs on, speed_tier: modelled or
    estimated (taken to be 1)."""

    app: str
    arch: str
    used_core_hours: float
    refused_core_hours: float
    refused_jobs: int
    customers: tuple[tuple[str, float], ...]
    effort_days: float
    effort_tier: str
    place: str = ""
    speed: float | None = None
    speed_tier: str = "unavailable"
    gain: float | None = None
    worth: float | None = None
    score: float | None = None

    def to_json(self) -> dict[str, Any]:
        def rounded(x: float | None) -> float | None:
            return None if x is None else round(x, 6)

        return {
            "app": self.app, "arch": self.arch, "place": self.place, "score": rounded(self.score), "worth": rounded(self.worth),
            "gain": rounded(self.gain), "speed": rounded(self.speed), "speed_tier": self.speed_tier,
            "used_core_hours": rounded(self.used_core_hours), "refused_core_hours": rounded(self.refused_core_hours),
            "refused_jobs": self.refused_jobs, "effort_days": self.effort_days, "effort_tier": self.effort_tier,
            "customers": [{"org": org, "core_hours": rounded(h)} for org, h in self.customers],
        }  # fmt: skip


def rank(
    app: str, arch: str, uses: Sequence[Use], refused: Sequence[Refused], offers: Sequence[Offer], effort_days: float | None = None
) -> Rank:
    """uses: of the application, on other architectures; refused: of the application; offers: all partitions."""
    mine = [r for r in refused if r.arch in ("", arch)]
    used, asked = math.fsum(u.core_hours for u in uses), math.fsum(r.core_hours for r in mine)
    by: dict[str, float] = {}
    for org, hours in [*((u.org, u.core_hours) for u in uses), *((r.org, r.core_hours) for r in mine)]:
        by[org] = by.get(org, 0.0) + hours
    customers = tuple(sorted(by.items(), key=lambda c: (-c[1], c[0])))
    effort, tier = (EFFORT_DAYS, "estimated") if effort_days is None else (effort_days, "exact")
    known = {o.place: o for o in offers}
    best: Rank | None = None
    for o in offers:
        if o.arch != arch:
            continue
        speed, speed_tier = relative_speed(o, uses, known)
        gain = math.fsum(u.paid for u in uses) / used - o.sell / speed if used else None
        worth = used * max(0.0, gain or 0.0) + asked * max(0.0, o.sell - o.cost)
        found = Rank(
            app, arch, used, asked, sum(r.jobs for r in mine), customers, effort, tier, o.place, speed, speed_tier, gain, worth,
            worth / effort,
        )  # fmt: skip
        if best is None or worth > (best.worth or 0.0):
            best = found
    return best or Rank(app, arch, used, asked, sum(r.jobs for r in mine), customers, effort, tier)


def relative_speed(there: Offer, uses: Sequence[Use], known: Mapping[str, Offer]) -> tuple[float, str]:
    """(speed of a core there against the cores in use, weighted by use; its tier)."""
    logs, weights = [], []
    for u in uses:
        here = known.get(u.place)
        ratios = [] if here is None else [there.peak / here.peak, there.bandwidth / here.bandwidth]
        ratios = [r for r in ratios if math.isfinite(r) and r > 0]
        if ratios and u.core_hours > 0:
            logs.append(u.core_hours * math.fsum(math.log(r) for r in ratios) / len(ratios))
            weights.append(u.core_hours)
    if not weights:
        return 1.0, "estimated"
    return math.exp(math.fsum(logs) / math.fsum(weights)), "modelled"


def order(ranks: Sequence[Rank]) -> list[Rank]:
    """Highest score first; what has none last, by its demand."""
    return sorted(
        ranks, key=lambda r: (r.score is None, -(r.score or 0.0), -(r.used_core_hours + r.refused_core_hours), r.app, r.arch)
    )


def moved(item: str, now: Stage, wanted: str, *, installed: bool) -> Stage:
    """The stage an item goes to. Conflict (porting.not_installed) for serving what no partition of the architecture has."""
    stage = Stage(wanted)
    if stage is Stage.SERVING and not installed:
        raise Conflict("porting.not_installed", f"{item} serves nobody yet: no partition of that architecture lists it",
                       hint="name it in the cluster's `software` in the network file, and verify it")  # fmt: skip
    return stage
