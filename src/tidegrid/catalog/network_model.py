"""What a network is: providers, sites, clusters, partitions, their supply and prices. Frozen values, canonical JSON.

Prices are counted in 1e-8 yuan per resource-hour, amounts in micro-yuan, memory in MiB, times in seconds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tidegrid.catalog.yamldoc import content_hash


@dataclass(frozen=True, slots=True)
class Provider:
    name: str
    title: str = ""


@dataclass(frozen=True, slots=True)
class Site:
    """latitude, longitude: degrees; home_of: organisations whose home it is; fair: what these may not lose by the network: their
    waits, their waits and slowdowns, or "": nothing is promised."""

    name: str
    provider: str
    region: str
    time_zone: str
    latitude: float | None = None
    longitude: float | None = None
    home_of: tuple[str, ...] = ()
    fair: str = ""


@dataclass(frozen=True, slots=True)
class Prices:
    """1e-8 yuan per core-hour, GPU-hour and GiB-hour of memory; memory 0: within the core's price."""

    core_hour: int
    gpu_hour: int = 0
    memory_gib_hour: int = 0


@dataclass(frozen=True, slots=True)
class CoBuilt:
    """Owned capacity. cost: marginal, of use; capital and idc_cost_per_month: micro-yuan; commissioned: YYYY-MM-DD."""

    cost: Prices
    capital: int = 0
    depreciation_years: int = 0
    idc_cost_per_month: int = 0
    commissioned: str = ""
    kind: str = "co_built"


@dataclass(frozen=True, slots=True)
class Purchased:
    """Bought capacity. cost: its price; cap_core_hours: a month's limit (0: none); minimum: micro-yuan a month."""

    cost: Prices
    cap_core_hours: int = 0
    minimum: int = 0
    kind: str = "purchased"


@dataclass(frozen=True, slots=True)
class Partition:
    """nodes of `cores`, `memory_mib` and `gpus` each; max_wall_s: longest job (0: no limit)."""

    name: str
    arch: str
    nodes: int
    cores: int
    memory_mib: int
    supply: CoBuilt | Purchased
    sell: Prices
    cpu_model: str = ""
    gpus: int = 0
    gpu_type: str = ""
    gpu_model: str = ""
    max_wall_s: int = 0
    interconnect: str = ""


@dataclass(frozen=True, slots=True)
class Cluster:
    """connector: its kind; settings: JSON values of that kind, no secrets; software: what is installed there by
    name, as `catalog.software.read` gives it."""

    name: str
    site: str
    connector: str
    settings: Mapping[str, Any]
    partitions: tuple[Partition, ...]
    software: Mapping[str, Any] = field(default_factory=dict)

    def partition(self, name: str) -> Partition | None:
        return next((p for p in self.partitions if p.name == name), None)


@dataclass(frozen=True, slots=True)
class Account:
    """An organisation the operator wants to exist; opening_balance: micro-yuan, deposited once."""

    org: str
    projects: tuple[str, ...] = ()
    opening_balance: int = 0


@dataclass(frozen=True, slots=True)
class Licence:
    """A pool of licences that count together. provider, site: whose partitions it serves; both empty: all of the network's."""

    name: str
    feature: str
    count: int
    provider: str = ""
    site: str = ""


@dataclass(frozen=True, slots=True)
class Network:
    """verified: prefer or require places where an application's acceptance tests passed."""

    name: str
    currency: str
    providers: tuple[Provider, ...]
    sites: tuple[Site, ...]
    clusters: tuple[Cluster, ...]
    accounts: tuple[Account, ...] = ()
    licences: tuple[Licence, ...] = ()
    verified: str = "prefer"

    def cluster(self, name: str) -> Cluster | None:
        return next((c for c in self.clusters if c.name == name), None)

    def site(self, name: str) -> Site | None:
        return next((s for s in self.sites if s.name == name), None)

    def site_of(self, cluster: str) -> Site | None:
        found = self.cluster(cluster)
        return self.site(found.site) if found else None

    def served(self, licence: Licence) -> Iterator[str]:
        """`cluster/partition` of each partition where a licence may be used."""
        for cluster, partition in self.partitions():
            site = self.site(cluster.site)
            mine = site is not None and licence.provider in ("", site.provider)
            if mine and licence.site in ("", cluster.site):
                yield f"{cluster.name}/{partition.name}"

    def partitions(self) -> Iterator[tuple[Cluster, Partition]]:
        for cluster in self.clusters:
            for partition in cluster.partitions:
                yield cluster, partition

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical JSON: the network's version."""
        return content_hash(to_json(self))


def to_json(network: Network) -> dict[str, Any]:
    """Plain values: what is stored and hashed. Names order them, so that moving a block in the file changes nothing."""

    def by_name(rows: Any, key: str = "name") -> list[dict[str, Any]]:
        return sorted((dataclasses.asdict(r) for r in rows), key=lambda r: str(r[key]))

    clusters = by_name(network.clusters)
    for c in clusters:
        c["partitions"] = sorted(c["partitions"], key=lambda p: str(p["name"]))
    added: dict[str, Any] = {}  # what older networks did not have, where there is some: their hashes stay
    if network.licences:
        added["licences"] = by_name(network.licences)
    if network.verified != "prefer":
        added["verified"] = network.verified
    return {
        **added,
        "name": network.name,
        "currency": network.currency,
        "providers": by_name(network.providers),
        "sites": [_with_home(s) for s in by_name(network.sites)],
        "clusters": clusters,
        "accounts": by_name(network.accounts, "org"),
    }


def _with_home(site: dict[str, Any]) -> dict[str, Any]:
    """Only what says something: networks of before there were homes keep their hash."""
    return {k: v for k, v in site.items() if k not in ("home_of", "fair") or v}


def from_json(body: Mapping[str, Any]) -> Network:
    """The network whose `to_json` this is."""
    return Network(
        name=body["name"],
        currency=body["currency"],
        providers=tuple(Provider(**p) for p in body["providers"]),
        sites=tuple(Site(**{**s, "home_of": tuple(s.get("home_of", ()))}) for s in body["sites"]),
        clusters=tuple(_cluster(c) for c in body["clusters"]),
        accounts=tuple(Account(**{**a, "projects": tuple(a["projects"])}) for a in body["accounts"]),
        licences=tuple(Licence(**x) for x in body.get("licences", ())),
        verified=body.get("verified", "prefer"),
    )


def _cluster(c: Mapping[str, Any]) -> Cluster:
    partitions = tuple(
        Partition(**{**p, "sell": Prices(**p["sell"]), "supply": _supply(p["supply"])}) for p in c["partitions"]
    )
    return Cluster(**{**c, "partitions": partitions})


def _supply(s: Mapping[str, Any]) -> CoBuilt | Purchased:
    values = {**s, "cost": Prices(**s["cost"])}
    return CoBuilt(**values) if s["kind"] == "co_built" else Purchased(**values)


def price_rows(network: Network) -> dict[str, dict[str, Any]]:
    """`cluster/partition` -> {sell, cost: {core_hour, gpu_hour, memory_gib_hour}, supply: kind}; 1e-8 yuan an hour."""
    return {
        f"{c.name}/{p.name}": {
            "sell": dataclasses.asdict(p.sell),
            "cost": dataclasses.asdict(p.supply.cost),
            "supply": p.supply.kind,
        }
        for c, p in network.partitions()
    }
