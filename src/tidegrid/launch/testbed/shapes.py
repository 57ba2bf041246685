"""What the clusters of the test-bed look like: unlike each other, as centres are. The nodes are virtual."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Nodes:
    """Equal nodes `<cluster><first>` … ; memory in MiB; gpus: how many of `gpu_type` each."""

    count: int
    sockets: int
    cores_per_socket: int
    memory_mib: int
    gpu_type: str = ""
    gpus: int = 0
    feature: str = ""


@dataclass(frozen=True)
class Partition:
    """nodes: a range of node numbers as "1-4", counted from 1 through all Nodes; options: as in slurm.conf."""

    name: str
    nodes: str
    max_time: str
    default: bool = False
    options: str = ""


@dataclass(frozen=True)
class Shape:
    """One cluster. settings: further lines of slurm.conf."""

    name: str
    nodes: tuple[Nodes, ...]
    partitions: tuple[Partition, ...]
    settings: tuple[str, ...] = ()

    @property
    def node_count(self) -> int:
        return sum(group.count for group in self.nodes)


ALPHA = Shape(  # a plain CPU cluster, with a partition for short trials
    "alpha",
    (Nodes(4, sockets=2, cores_per_socket=16, memory_mib=128_000, feature="icelake"),),
    (
        Partition("cpu", "1-4", "2-00:00:00", default=True),
        Partition("debug", "1-1", "00:30:00", options="MaxNodes=1 PriorityTier=2"),
    ),
)
BETA = Shape(  # many small nodes; work in `spare` gives way to work in the others
    "beta",
    (Nodes(12, sockets=1, cores_per_socket=4, memory_mib=8_000, feature="rome"),),
    (
        Partition("short", "1-12", "04:00:00", default=True, options="PriorityTier=10 PreemptMode=OFF"),
        Partition("long", "7-12", "7-00:00:00", options="PriorityTier=10 PreemptMode=OFF"),
        Partition("spare", "1-12", "1-00:00:00", options="PriorityTier=1 PreemptMode=REQUEUE"),
    ),
    ("PreemptType=preempt/partition_prio", "PreemptMode=REQUEUE"),
)
GAMMA = Shape(  # GPUs of two types, and a few cores beside them
    "gamma",
    (
        Nodes(2, sockets=2, cores_per_socket=32, memory_mib=512_000, gpu_type="a100", gpus=4),
        Nodes(1, sockets=2, cores_per_socket=20, memory_mib=384_000, gpu_type="v100", gpus=8),
        Nodes(1, sockets=2, cores_per_socket=32, memory_mib=256_000),
    ),
    (
        Partition("gpu", "1-3", "1-00:00:00", default=True),
        Partition("cpu", "4-4", "1-00:00:00"),
    ),
)
_SHAPES = (ALPHA, BETA, GAMMA)
_NAMES = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta")
MOST = len(_NAMES)


def shapes(count: int) -> list[Shape]:
    """The first `count` (1 … MOST) clusters; after the third the shapes come again under other names."""
    return [replace(_SHAPES[i % len(_SHAPES)], name=_NAMES[i]) for i in range(count)]
