"""What a cluster is and how busy: configuration, nodes, everybody's queue. Asked now and then, not in every tick."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tidegrid.connectors.contract import NodeLoad, SiteRefused, SubmitRequest
from tidegrid.connectors.slurm.commands import LoadRow, NodeRow

MOST_HOLES = 1000  # kinds of nodes with something free that are told apart to the MiB


@dataclass(frozen=True, slots=True)
class Facts:
    """accounting: a slurmdbd exists; boot: when the controller started; kept_s: how long it shows jobs that ended; silent_s: after
    how long without a word a node is down; kill_wait_s: what is told to stop has so long to do it; private: users see nobody else's
    jobs."""

    version: str = ""
    name: str = ""
    accounting: bool = False
    boot: str = ""
    kept_s: int = 300
    silent_s: int = 300
    kill_wait_s: int = 30
    enforced: Mapping[str, str] = field(default_factory=dict)
    private: bool = False


def facts_of(config: Mapping[str, str]) -> Facts:
    """From `scontrol show config`."""
    tasks = config.get("taskplugin", "")
    memory = "none"
    if config.get("constrainramspace", "").lower() == "yes" and "cgroup" in tasks:
        memory = "cgroup"
    elif "OverMemoryKill" in config.get("jobacctgatherparams", ""):
        memory = "polled"
    cores = "cgroup" if "cgroup" in tasks and config.get("constraincores", "").lower() == "yes" else "none"
    if cores == "none" and "affinity" in tasks:
        cores = "affinity"
    return Facts(
        version=config["slurm_version"],
        name=config.get("clustername", ""),
        accounting=config.get("accountingstoragetype", "").endswith("slurmdbd"),
        boot=config.get("boot_time", "") or "unknown",
        kept_s=_seconds(config, "minjobage"),
        silent_s=_seconds(config, "slurmdtimeout"),
        kill_wait_s=_seconds(config, "killwait", 30),
        enforced={"cores": cores, "memory": memory, "wall_time": "slurm"},
        private="jobs" in config.get("privatedata", "").replace(" ", "").split(","),
    )


def _seconds(config: Mapping[str, str], key: str, default: int = 300) -> int:
    """`300 sec`; Slurm's own default where it says something else."""
    number = config.get(key, "").partition(" ")[0]
    return int(number) if number.isdigit() else default


def all_told(facts: Facts, nodes: Sequence[NodeRow], now_s: int) -> bool:
    """Whether every node has reported its jobs since the controller started. A node does so when it registers, and is told then to
    abort what the controller does not know; one that has not registered is down after `silent_s`."""
    if not facts.boot.isdigit() or now_s - int(facts.boot) < facts.silent_s:
        return False
    return bool(nodes) and all(n.responds for n in nodes)


def loads_of(nodes: Sequence[NodeRow], jobs: Sequence[LoadRow], facts: Facts) -> tuple[NodeLoad, ...]:
    """One per partition that has nodes. Unusable nodes count in nothing but the largest node."""
    loads = []
    for partition in dict.fromkeys(n.partition for n in nodes):
        all_ = [n for n in nodes if n.partition == partition]
        here = [n for n in all_ if n.usable]
        mine = [j for j in jobs if j.partition == partition]
        gpus = sum(sum(n.gpus.values()) for n in here)
        loads.append(
            NodeLoad(
                partition,
                cores=(sum(n.cpus[3] - n.cpus[2] for n in here), sum(n.cpus[1] for n in here)),
                memory_mib=(
                    sum(n.memory_mib for n in here),
                    sum(max(n.memory_mib - n.used_mib, 0) for n in here),
                ),
                gpus=(gpus, max(gpus - sum(n.used_gpus for n in here), 0)),
                largest=(
                    max(n.cpus[3] for n in all_),
                    max(n.memory_mib for n in all_),
                    max(sum(n.gpus.values()) for n in all_),
                ),
                running=tuple((j.left_s, j.cores, j.memory_mib, j.gpus) for j in mine if j.running),
                waiting=tuple((j.wall_s, j.cores, j.memory_mib, j.gpus) for j in mine if not j.running),
                holes=_holes(here),
                enforced=facts.enforced,
            )
        )
    return tuple(loads)


def _holes(nodes: Sequence[NodeRow]) -> tuple[tuple[int, int, int, int], ...]:
    rooms = [(n.cpus[1], max(n.memory_mib - n.used_mib, 0), max(sum(n.gpus.values()) - n.used_gpus, 0)) for n in nodes if n.cpus[1] > 0]
    if len(set(rooms)) > MOST_HOLES:
        rooms = [(cpus, mib & -1024, gpus) for cpus, mib, gpus in rooms]  # alike but for less than a GiB
    return tuple((count, *room) for room, count in sorted(Counter(rooms).items()))


def check(request: SubmitRequest, nodes: Sequence[NodeRow]) -> None:
    """Refuse what Slurm would accept and never start. Where the partition is unknown here, Slurm decides."""
    here = [n for n in nodes if n.partition == request.partition]
    if not here:
        return
    for what, wanted, most in (
        ("cores", request.cores, max(n.cpus[3] for n in here)),
        ("memory_mib", request.memory_mib, max(n.memory_mib for n in here)),
        ("gpus", request.gpus, max(sum(n.gpus.values()) for n in here)),
        ("nodes", request.nodes, len(here)),
    ):
        if wanted > most:
            raise SiteRefused("site.impossible", f"{what} {wanted}: partition {request.partition} has at most {most}")
    limits = {n.limit_s for n in here}
    if None not in limits and request.wall_s > max(x for x in limits if x is not None):
        raise SiteRefused(
            "site.time_limit", f"wall time {request.wall_s} s is above the limit of partition {request.partition}"
        )
