"""What a snapshot knows of software and machines, and what may go where for it: standing of installations, speeds, licences, cards.

Kept as one block of arrays in the snapshot (`Snapshot.software`), A applications, P partitions, L licence pools, F features, M card
values. An application is named by its id, and a version that is not the current one as `id@version`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# Values of machine cards that placement and prediction look at, in this order; units: GF/s, GF/s, GF/s, GB/s, GB/s, ns, GHz, cores.
CARD = (
    "peak_dp_core", "peak_sp_core", "peak_dp_all", "bandwidth_triad_1", "bandwidth_triad_all", "latency_memory", "clock_core",
    "cpu_quota",
)  # fmt: skip


class Standing(IntEnum):
    """Of an application at a partition that has it; what is not installed is `Snapshot.installed`'s to say."""

    WITHDRAWN = -2
    FAILED = -1
    INSTALLED = 0
    VERIFIED = 1
    TUNED = 2


@dataclass(frozen=True, slots=True)
class Pool:
    """Licences that count together. at: names of the partitions they serve; used: by what runs or waits at a cluster now."""

    name: str
    feature: str
    total: int
    used: int
    at: Sequence[str]


@dataclass(frozen=True, slots=True)
class AppRow:
    """An application as `table` takes it: by partition what differs from INSTALLED, and (relative speed, n, spread) where it was
    measured; tested: it has acceptance tests; strict: it goes only where they passed."""

    standing: Mapping[str, Standing] = field(default_factory=dict)
    speed: Mapping[str, tuple[float, int, float]] = field(default_factory=dict)
    tested: bool = False
    strict: bool = False


@dataclass(frozen=True, eq=False)
class Software:
    """apps: names, sorted; standing int64[A,P]: `Standing`; tested, strict bool[A]; speed float64[A,P]: measured, relative, NaN where
    not measured; speed_n int64[A,P]; speed_spread float64[A,P]: relative half span, NaN where unknown; card float64[P,M]: values of
    the newest machine card in the order of CARD, NaN where unavailable; pools: names; features; pool_feature int64[L]: code;
    pool_at bool[L,P]; pool_total, pool_free int64[L]; linked bool[P]: nodes have an interconnect."""

    apps: tuple[str, ...]
    features: tuple[str, ...]
    pools: tuple[str, ...]
    standing: Ints
    tested: Bools
    strict: Bools
    speed: Floats
    speed_n: Ints
    speed_spread: Floats
    card: Floats
    pool_feature: Ints
    pool_at: Bools
    pool_total: Ints
    pool_free: Ints
    linked: Bools

    def row(self, app: str) -> int | None:
        """Index of an application; None where nothing is known of it."""
        return self.apps.index(app) if app in self.apps else None

    def pools_of(self, feature: str) -> Ints:
        """Indices of the pools of a feature, those that serve fewest partitions first: what is bound to one site is used up before
        what serves the network."""
        if feature not in self.features:
            return np.empty(0, np.int64)
        found = np.flatnonzero(self.pool_feature == self.features.index(feature))
        return found[np.argsort(self.pool_at[found].sum(axis=1), kind="stable")]


def table(
    partitions: Sequence[str],
    apps: Mapping[str, AppRow] | None = None,
    cards: Mapping[str, Sequence[float]] | None = None,
    pools: Sequence[Pool] = (),
    linked: Sequence[bool] | None = None,
) -> Software:
    """The arrays. partitions: "cluster/partition" names in the snapshot's order; cards: by partition, in the order of CARD; linked: by
    partition, None for nowhere."""
    rows = dict(sorted((apps or {}).items()))
    a, p = len(rows), len(partitions)
    at = {name: i for i, name in enumerate(partitions)}
    standing = np.zeros((a, p), np.int64)
    speed, spread, n = np.full((a, p), np.nan), np.full((a, p), np.nan), np.zeros((a, p), np.int64)
    for i, row in enumerate(rows.values()):
        for name, s in row.standing.items():
            if name in at:
                standing[i, at[name]] = int(s)
        for name, (value, runs, half) in row.speed.items():
            if name in at:
                speed[i, at[name]], n[i, at[name]], spread[i, at[name]] = value, runs, half
    card = np.full((p, len(CARD)), np.nan)
    for name, values in (cards or {}).items():
        if name in at:
            card[at[name]] = values
    features = tuple(sorted({x.feature for x in pools}))
    return Software(
        apps=tuple(rows),
        features=features,
        pools=tuple(x.name for x in pools),
        standing=standing,
        tested=np.array([r.tested for r in rows.values()], np.bool_),
        strict=np.array([r.strict for r in rows.values()], np.bool_),
        speed=speed,
        speed_n=n,
        speed_spread=spread,
        card=card,
        pool_feature=np.array([features.index(x.feature) for x in pools], np.int64),
        pool_at=np.array([[name in x.at for name in partitions] for x in pools], np.bool_).reshape(len(pools), p),
        pool_total=np.array([x.total for x in pools], np.int64),
        pool_free=np.array([max(0, x.total - x.used) for x in pools], np.int64),
        linked=np.array(linked if linked is not None else [False] * p, np.bool_).reshape(p),
    )


def shapes(s: Software, p: int) -> dict[str, tuple[int, ...]]:
    """What each array's shape must be, for P partitions."""
    a, n = len(s.apps), len(s.pools)
    return {
        "standing": (a, p), "tested": (a,), "strict": (a,), "speed": (a, p), "speed_n": (a, p), "speed_spread": (a, p),
        "card": (p, len(CARD)), "pool_feature": (n,), "pool_at": (n, p), "pool_total": (n,), "pool_free": (n,), "linked": (p,),
    }  # fmt: skip


def to_fields(s: Software) -> dict[str, Any]:
    """Names and arrays, as a snapshot stores them."""
    return {name: getattr(s, name) for name in ("apps", "features", "pools", *shapes(s, 0))}
