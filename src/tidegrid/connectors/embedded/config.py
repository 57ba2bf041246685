"""config.json of an embedded cluster, read strictly.

    {"name": "east", "root": "/…/site", "queue": "default", "kill_grace_s": 5, "partitions":
        [{"name": "cpu", "nodes": 2, "cores": 2, "memory_mib": 2048, "gpus": 0, "gpu_type": "", "cpus": [0, 1, 2, 3]}]}

nodes are alike; cores, memory_mib and gpus are of one node; cpus (optional): host CPUs that the cores stand for, node by node.
Where they are given tasks are held to them, else cores are shared and said to be. A partition's GPUs are the host's from number 0 on,
node by node too: those of the second node begin at number `gpus`. CUDA_VISIBLE_DEVICES tells a task its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidegrid.domain.errors import InvalidInput
from tidegrid.scheduling.kernel.policy import POLICIES

_NAME = re.compile(r"^[a-z0-9][a-z0-9._-]{0,62}$")


@dataclass(frozen=True, slots=True)
class PartitionConfig:
    name: str
    nodes: int
    cores: int
    memory_mib: int
    gpus: int = 0
    gpu_type: str = ""
    cpus: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """queue: a policy of `scheduling.kernel.policy.POLICIES`; kill_grace_s: between the request to end and the kill; enforce_memory: kill above the allocation."""

    name: str
    root: str
    partitions: tuple[PartitionConfig, ...]
    queue: str = "default"
    kill_grace_s: float = 5.0
    enforce_memory: bool = True


def load(path: Path) -> ClusterConfig:
    """InvalidInput (supervisor.config) names the file and the field."""
    try:
        raw = json.loads(path.read_text())
    except (OSError, ValueError) as e:
        raise InvalidInput("supervisor.config", f"{path}: {e}", hint="write the cluster's settings there") from None
    try:
        return parse(raw)
    except (KeyError, TypeError, ValueError) as e:
        what = f"{e.args[0]} is missing" if isinstance(e, KeyError) else str(e)
        raise InvalidInput("supervisor.config", f"{path}: {what}") from None


def parse(raw: Mapping[str, Any]) -> ClusterConfig:
    """KeyError or ValueError where a field is missing or wrong."""
    _known(raw, ("name", "root", "partitions", "queue", "kill_grace_s", "enforce_memory"), "the cluster")
    if raw.get("queue", "default") not in POLICIES:
        raise ValueError(f"queue is one of {', '.join(POLICIES)}")
    if not str(raw["root"]).startswith("/"):
        raise ValueError("root is an absolute path")
    partitions = tuple(_partition(p) for p in raw["partitions"])
    if not partitions or len({p.name for p in partitions}) < len(partitions):
        raise ValueError("partitions: at least one, each name once")
    grace = float(raw.get("kill_grace_s", 5.0))
    if not 0 <= grace <= 3600:
        raise ValueError("kill_grace_s is between 0 and 3600")
    return ClusterConfig(
        name=_name(raw["name"]),
        root=str(raw["root"]).rstrip("/") or "/",
        partitions=partitions,
        queue=raw.get("queue", "default"),
        kill_grace_s=grace,
        enforce_memory=bool(raw.get("enforce_memory", True)),
    )


def _partition(raw: Mapping[str, Any]) -> PartitionConfig:
    _known(raw, ("name", "nodes", "cores", "memory_mib", "gpus", "gpu_type", "cpus"), "a partition")
    numbers = {k: raw.get(k, 0) if k == "gpus" else raw[k] for k in ("nodes", "cores", "memory_mib", "gpus")}
    for k, v in numbers.items():
        if isinstance(v, bool) or not isinstance(v, int) or v < (0 if k == "gpus" else 1):
            raise ValueError(f"partition {raw['name']}: {k} is a whole number, at least {int(k != 'gpus')}")
    cpus = tuple(int(c) for c in raw.get("cpus") or ())
    if cpus and len(cpus) != numbers["nodes"] * numbers["cores"]:
        raise ValueError(
            f"partition {raw['name']}: cpus names {len(cpus)} CPUs for {numbers['nodes'] * numbers['cores']} cores"
        )
    return PartitionConfig(_name(raw["name"]), **numbers, gpu_type=str(raw.get("gpu_type") or ""), cpus=cpus)


def _name(text: object) -> str:
    if not isinstance(text, str) or not _NAME.match(text):
        raise ValueError(f"{text!r} is no name: small letters, digits, dot, dash and underscore")
    return text


def _known(raw: Mapping[str, Any], names: tuple[str, ...], what: str) -> None:
    if not isinstance(raw, Mapping):
        raise ValueError(f"{what} is an object")
    for k in raw:
        if k not in names:
            raise ValueError(f"{what} has no setting {k!r}; known are {', '.join(names)}")
