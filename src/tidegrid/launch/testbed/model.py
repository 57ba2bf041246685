"""What a test-bed is, as data that a file in its directory keeps, so that any process finds it again."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tidegrid.domain.errors import Broken, NotFound
from tidegrid.launch.testbed.packages import search_path
from tidegrid.launch.testbed.processes import Part

STATE = "testbed.json"


@dataclass(frozen=True)
class Ssh:
    """How to log in. key, known_hosts: absolute paths."""

    host: str
    port: int
    user: str
    key: Path
    known_hosts: Path

    @property
    def url(self) -> str:
        return f"ssh://{self.user}@{self.host}:{self.port}"

    @property
    def argv(self) -> list[str]:
        """`ssh …` up to the host; a command may follow. Nothing of the caller's own configuration has a say."""
        return [
            "ssh", "-F", "none", "-i", str(self.key), "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none",
            "-o", f"UserKnownHostsFile={self.known_hosts}", "-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes",
            "-o", "ConnectTimeout=10", "-p", str(self.port), f"{self.user}@{self.host}",
        ]  # fmt: skip


@dataclass(frozen=True)
class Cluster:
    """One Slurm cluster. Over ssh its commands are found as on a login node; here, with `environment`.

    home: everything of it lies below. slurm_conf: the cluster's own. client_conf: the same for programs that watch it,
    which hear of a dead controller in 3 s. bin: directory of sbatch and its like. accounting: slurmdbd stands behind it.
    """

    name: str
    home: Path
    partitions: tuple[str, ...]
    nodes: tuple[str, ...]
    ssh: Ssh
    slurm_conf: Path
    client_conf: Path
    bin: Path
    accounting: bool

    @property
    def environment(self) -> dict[str, str]:
        """The caller's environment, with which Slurm's commands on this machine speak to this cluster."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "SBATCH_", "SQUEUE_", "SINFO_"))}
        return kept | {"SLURM_CONF": str(self.client_conf), "PATH": f"{self.bin}{os.pathsep}{search_path()}"}


@dataclass(frozen=True)
class Plan:
    """clusters, and the daemons by `<cluster>/<program or node>`; shared ones are under `shared/`."""

    clusters: tuple[Cluster, ...]
    parts: Mapping[str, Part]


def save(directory: Path, plan: Plan, *, ready: bool) -> None:
    body = {
        "ready": ready,
        "clusters": [asdict(cluster) for cluster in plan.clusters],
        "parts": {name: asdict(part) for name, part in plan.parts.items()},
    }
    temporary = directory / f".{STATE}"
    temporary.write_text(json.dumps(body, default=str))
    temporary.replace(directory / STATE)


def read(directory: Path) -> tuple[Plan, bool]:
    """(plan, whether it came up). NotFound (testbed.absent), Broken (testbed.broken)."""
    try:
        body = json.loads((directory / STATE).read_text())
        clusters = tuple(_cluster(each) for each in body["clusters"])
        parts = {name: _part(each) for name, each in body["parts"].items()}
        return Plan(clusters, parts), bool(body["ready"])
    except FileNotFoundError:
        raise NotFound("testbed.absent", f"no test-bed is in {directory}", hint="start one with `tide testbed up`") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Broken("testbed.broken", f"{directory / STATE} cannot be read: {error}",
                     hint="`tide testbed down` ends what is left of it") from None  # fmt: skip


def _cluster(body: dict[str, Any]) -> Cluster:
    ssh = body["ssh"]
    body["ssh"] = Ssh(ssh["host"], ssh["port"], ssh["user"], Path(ssh["key"]), Path(ssh["known_hosts"]))
    for name in ("home", "slurm_conf", "client_conf", "bin"):
        body[name] = Path(body[name])
    body["partitions"], body["nodes"] = tuple(body["partitions"]), tuple(body["nodes"])
    return Cluster(**body)


def _part(body: dict[str, Any]) -> Part:
    return Part(body["name"], Path(body["home"]), tuple(body["argv"]), body["environment"])
