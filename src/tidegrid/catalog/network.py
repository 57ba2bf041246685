"""The network file: YAML -> Network, and what changes between two.

    network: demo
    providers:
      tide: {title: The operator}
    sites:
      east: {provider: tide, region: cn-east, time_zone: Asia/Shanghai, position: {lat: 31.2, lon: 121.5}}
      south: {provider: tide, region: cn-south, time_zone: Asia/Shanghai,
              home_of: [acme], fair: wait}   # acme's jobs wait no longer than with this site alone; or slowdown; see `fairness`
    clusters:
      east-a:
        site: east
        connector: {kind: embedded}        # other keys are the connector's settings; no secrets
        software: {lmp: /usr/bin/lmp}      # commands there; or {module: …}, {apptainer: …}: see `software`
        supply: {kind: co_built, marginal_core_hour: 0.02, capital: 1000000, depreciation_years: 5,
                 idc_cost_per_month: 20000, commissioned: 2025-01-01}
        prices: {core_hour: 0.10, memory_gib_hour: 0.01}
        partitions:
          cpu: {arch: x86_64, cpu_model: …, nodes: 1, cores: 4, memory: 8 GiB, max_wall: 24h, interconnect: …}
          gpu: {arch: x86_64, nodes: 1, cores: 8, memory: 64 GiB, gpus: 2, gpu_type: a100, gpu_model: …,
                supply: {kind: purchased, core_hour: 0.08, gpu_hour: 4, cap_core_hours: 10000, minimum_per_month: 500},
                prices: {core_hour: 0.12, gpu_hour: 6}}
    accounts:
      acme: {projects: [default], opening_balance: 1000}
    licences:
      mech: {count: 25}                              # of the whole network
      mech-east: {feature: mech, count: 4, site: east}    # or of one provider: used before what serves more
    placement: {verified: prefer}      # or require: applications with acceptance tests run only where these passed

`supply` and `prices` of a cluster are those of its partitions that have none of their own. Prices are in yuan per
resource-hour, amounts in yuan. Unknown keys, duplicates, references to nothing: all are reported, each with its line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tidegrid.catalog.network_model import (
    Account,
    Cluster,
    CoBuilt,
    Licence,
    Network,
    Partition,
    Prices,
    Provider,
    Purchased,
    Site,
    from_json,
    price_rows,
    to_json,
)
from tidegrid.catalog.network_reader import Reader
from tidegrid.catalog.yamldoc import Problem, load
from tidegrid.domain.errors import InvalidInput

__all__ = [
    "Account", "Change", "Cluster", "CoBuilt", "Licence", "Network", "Partition", "Prices", "Provider", "Purchased", "Site",
    "diff", "from_json", "parse", "price_rows", "to_json",
]  # fmt: skip


def parse(text: str) -> Network:
    """The network in `text`; InvalidInput (network.invalid) with `details.problems` [{line, column, path, message}]."""
    doc = load(text)
    if doc.value is None:
        raise _invalid(list(doc.problems))
    reader = Reader(doc)
    network = reader.network()
    problems = [*doc.problems, *reader.problems]
    if problems:
        raise _invalid(problems)
    return network


def _invalid(problems: list[Problem]) -> InvalidInput:
    ordered = sorted(set(problems))
    more = f"; and {len(ordered) - 5} more" if len(ordered) > 5 else ""
    return InvalidInput(
        "network.invalid",
        "the network file: " + "; ".join(str(p) for p in ordered[:5]) + more,
        hint="mend these lines and apply again; nothing was changed",
        details={
            "problems": [{"line": p.line, "column": p.column, "path": p.path, "message": p.message} for p in ordered]
        },
    )


@dataclass(frozen=True, slots=True)
class Change:
    """One line of a difference. kind: added | changed | removed; path: `clusters.east-a.partitions.cpu.cores`;
    old, new: JSON values, None where there is none."""

    kind: str
    path: str
    old: Any = None
    new: Any = None

    def __str__(self) -> str:
        if self.kind == "changed":
            return f"~ {self.path}: {self.old} -> {self.new}"
        return f"+ {self.path}" if self.kind == "added" else f"- {self.path}"


def diff(old: Network | None, new: Network) -> list[Change]:
    """What changes, whole blocks as one line, in the order of paths. old: None for the first network."""
    before = _tree(to_json(old)) if old is not None else {}
    out: list[Change] = []
    _compare(before, _tree(to_json(new)), "", out)
    return out


def _tree(value: Any) -> Any:
    """Lists of named things as mappings, so that a path names what changed."""
    if isinstance(value, list) and value and all(isinstance(v, dict) and ("name" in v or "org" in v) for v in value):
        return {str(v.get("name", v.get("org"))): _tree({k: x for k, x in v.items() if k != "name"}) for v in value}
    if isinstance(value, list):
        return value or {}
    if isinstance(value, Mapping):
        return {k: _tree(v) for k, v in value.items()}
    return value


def _compare(old: Any, new: Any, path: str, out: list[Change]) -> None:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            where = f"{path}.{key}" if path else key
            if key not in new:
                out.append(Change("removed", where, old[key]))
            elif key not in old and path.count(".") == 0 and isinstance(new[key], dict) and not path:
                _compare({}, new[key], where, out)
            elif key not in old:
                out.append(Change("added", where, None, new[key]))
            else:
                _compare(old[key], new[key], where, out)
    elif old != new:
        out.append(Change("changed", path, old, new))
