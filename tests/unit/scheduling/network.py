"""Small networks for the tests of this room."""

from __future__ import annotations

from typing import Any

from tidegrid.rating.rates import Rates
from tidegrid.scheduling.snapshot import PartitionRow, Snapshot

NODE = (8000, 16_384, 0)  # millicores, MiB, GPUs
FEN = 1_000_000  # 0.01 yuan


def row(name: str = "east/cpu", **changes: Any) -> PartitionRow:
    """One idle partition of a single node of 8 cores at 0.06 yuan a core-hour."""
    cluster, _, partition = name.partition("/")
    values: dict[str, Any] = {
        "cluster": cluster,
        "partition": partition,
        "region": cluster,
        "arch": "x86_64",
        "capacity": NODE,
        "free": NODE,
        "largest": NODE,
        "sell": Rates(6 * FEN),
        "cost": Rates(1 * FEN),
    }
    return PartitionRow(**{**values, **changes})


def network(*rows: PartitionRow, **apps: list[str]) -> Snapshot:
    return Snapshot.build(1_700_000_000, rows, apps)
