"""Checks a submission before it is promised: what the cluster can never run is refused at once."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from tidegrid.connectors.embedded.config import ClusterConfig, PartitionConfig
from tidegrid.domain.errors import TideError
from tidegrid.domain.ranges import MAX_TASKS, expand

_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")
_VARIABLE = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")
ENV_LIMIT = 65536  # bytes: one submission fits one pipe


class Refused(Exception):
    """code: site.<what>."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


def specification(config: ClusterConfig, raw: Mapping[str, Any]) -> dict[str, Any]:
    """The submission as it is journalled: checked, defaults filled in. Refused otherwise."""
    spec: dict[str, Any] = {}
    for key in ("name", "directory", "script", "partition", "gpu_type", "tasks"):
        spec[key] = _text(raw, key)
    for key, low in (("cores", 1), ("memory_mib", 1), ("wall_s", 1), ("nodes", 1), ("gpus", 0), ("throttle", 0)):
        spec[key] = _number(raw, key, low)
    spec["array"] = bool(raw.get("array"))
    spec["env"] = _environment(raw.get("env", {}))
    if not _NAME.match(spec["name"]):
        raise Refused("site.bad_request", f"{spec['name']!r} is no job name")
    try:
        tasks = expand(spec["tasks"])
    except TideError as e:
        raise Refused("site.bad_request", e.message) from None
    if not 1 <= len(tasks) <= MAX_TASKS:
        raise Refused("site.bad_request", f"{len(tasks)} tasks; between 1 and {MAX_TASKS} make a job")
    partition = _fits(config, spec)
    if raw.get("exclusive"):  # whole nodes, as Slurm gives them: all their cores and GPUs, and the memory that was asked for
        spec |= {"cores": partition.cores, "gpus": partition.gpus}
    spec["directory"] = inside(config.root, spec["directory"])
    script = inside(spec["directory"], spec["script"])
    if not os.path.isfile(script):
        raise Refused("site.no_script", f"{script} is not there: stage the job before submitting it")
    return spec


def inside(root: str, path: str) -> str:
    """`path`, relative or absolute, as an absolute path below root. Refused (site.outside_root) otherwise."""
    whole = os.path.normpath(os.path.join(root, path))
    if not whole.startswith(root.rstrip("/") + "/"):
        raise Refused("site.outside_root", f"{path} is not below {root}")
    return whole


def _fits(config: ClusterConfig, spec: Mapping[str, Any]) -> PartitionConfig:
    partition = next((p for p in config.partitions if p.name == spec["partition"]), None)
    if partition is None:
        raise Refused("site.no_partition", f"cluster {config.name} has no partition {spec['partition']!r}")
    for key, most in (("cores", partition.cores), ("memory_mib", partition.memory_mib), ("gpus", partition.gpus)):
        if spec[key] > most:
            raise Refused("site.impossible", f"{key} {spec[key]}: a node of {config.name}/{partition.name} has {most}")
    if spec["nodes"] > partition.nodes:
        raise Refused("site.impossible", f"nodes {spec['nodes']}: {config.name}/{partition.name} has {partition.nodes}")
    if spec["gpus"] and spec["gpu_type"] not in ("", partition.gpu_type):
        raise Refused("site.impossible", f"{config.name}/{partition.name} has no GPU {spec['gpu_type']!r}")
    return partition


def _text(raw: Mapping[str, Any], key: str) -> str:
    value = raw.get(key, "")
    if not isinstance(value, str) or "\0" in value:
        raise Refused("site.bad_request", f"{key} is a text")
    return value


def _number(raw: Mapping[str, Any], key: str, low: int) -> int:
    value = raw.get(key, 0)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value < 1 << 40:
        raise Refused("site.bad_request", f"{key} is a whole number, at least {low}")
    return value


def _environment(raw: object) -> dict[str, str]:
    if not isinstance(raw, Mapping):
        raise Refused("site.bad_request", "env is an object")
    size = 0
    for k, v in raw.items():
        if not isinstance(k, str) or not _VARIABLE.match(k) or not isinstance(v, str) or "\0" in v:
            raise Refused("site.bad_request", f"env: {k!r} is no variable with a text")
        size += len(k.encode()) + len(v.encode()) + 2
    if size > ENV_LIMIT:
        raise Refused("site.bad_request", f"env has {size} bytes; {ENV_LIMIT} is the limit")
    return dict(raw)
