"""The test-bed as a network: the file that `tide network apply` takes, and the keys it names."""

from __future__ import annotations

from pathlib import Path

from tidegrid.launch.home import write_secret
from tidegrid.launch.testbed.bed import Testbed
from tidegrid.launch.testbed.model import Cluster
from tidegrid.launch.testbed.shapes import Nodes, Shape, shapes

# Three owners' prices, in yuan: owned and cheap, a partner's, bought. (supply, prices) of a core-hour; a GPU-hour is 40 times that.
_SUPPLY = (
    ("{kind: co_built, marginal_core_hour: 0.015, marginal_gpu_hour: 0.60}", "{core_hour: 0.06, gpu_hour: 2.40}"),
    ("{kind: co_built, marginal_core_hour: 0.030, marginal_gpu_hour: 1.20}", "{core_hour: 0.08, gpu_hour: 3.20}"),
    ("{kind: purchased, core_hour: 0.080, gpu_hour: 3.20}", "{core_hour: 0.12, gpu_hour: 4.80}"),
)
_REGIONS = ("cn-hohhot", "cn-shanghai", "cn-guangzhou")


def describe(bed: Testbed, *, roots: Path | None = None, ssh: bool = True, software: dict[str, str] | None = None) -> str:
    """A network file of the bed's clusters. roots: a directory below which every cluster's root lies (default: below each
    cluster's home); ssh: reach them as a partner's would be, else with the commands of this machine."""
    known = {s.name: s for s in shapes(len(bed.clusters))}
    lines = ["network: testbed", "providers:"]
    lines += [f"  {c.name}-centre: {{title: Centre of {c.name}}}" for c in bed.clusters]
    lines.append("sites:")
    for i, c in enumerate(bed.clusters):
        lines.append(
            f"  {c.name}-hall: {{provider: {c.name}-centre, region: {_REGIONS[i % 3]}, time_zone: Asia/Shanghai}}"
        )
    lines.append("clusters:")
    for i, c in enumerate(bed.clusters):
        root = (roots / c.name) if roots else c.home / "tidegrid"
        supply, prices = _SUPPLY[i % 3]
        lines += [
            f"  {c.name}:",
            f"    site: {c.name}-hall",
            f"    connector: {_connector(c, root, ssh)}",
            f"    supply: {supply}",
            f"    prices: {prices}",
        ]
        if software:
            lines.append("    software: {" + ", ".join(f"{k}: {v}" for k, v in software.items()) + "}")
        lines.append("    partitions:")
        lines += [f"      {_partition(known[c.name], name)}" for name in c.partitions]
    lines += ["accounts:", "  operator: {opening_balance: 10000}", "  acme: {projects: [cfd], opening_balance: 1000}"]
    return "\n".join(lines) + "\n"


def install_keys(bed: Testbed, home: Path) -> None:
    """Put the bed's keys where a server on `home` looks them up by the names that `describe` gives."""
    (home / "secrets").mkdir(parents=True, mode=0o700, exist_ok=True)
    for c in bed.clusters:
        write_secret(home / "secrets" / f"{c.name}-key", c.ssh.key.read_text())


def _connector(c: Cluster, root: Path, ssh: bool) -> str:
    if not ssh:
        return f"{{kind: slurm, root: {root}, slurm_conf: {c.client_conf}, path: {c.bin}}}"
    keys = [" ".join(line.split()[1:3]) for line in c.ssh.known_hosts.read_text().splitlines() if line.strip()]
    return (
        f"{{kind: slurm, host: {c.ssh.host}, port: {c.ssh.port}, user: {c.ssh.user}, identity: {c.name}-key, "
        f"host_keys: [{', '.join(keys)}], root: {root}}}"
    )


def _partition(shape: Shape, name: str) -> str:
    """Of mixed nodes, those of the first kind."""
    partition = next(p for p in shape.partitions if p.name == name)
    first, _, last = partition.nodes.partition("-")
    low, high = int(first), int(last or first)
    at = 1
    found: tuple[Nodes, int] | None = None
    for group in shape.nodes:
        inside = min(high, at + group.count - 1) - max(low, at) + 1
        if inside > 0 and found is None:
            found = group, inside
        at += group.count
    assert found is not None, f"{shape.name}/{name} has no nodes"
    nodes, count = found
    gpus = f", gpus: {nodes.gpus}, gpu_type: {nodes.gpu_type}" if nodes.gpus else ""
    wall = partition.max_time
    days, _, clock = wall.rpartition("-")
    hours = int(days or 0) * 24 + int(clock.split(":")[0])
    limit = f"{hours}h" if hours else f"{int(clock.split(':')[1])}m"
    return (
        f"{name}: {{arch: x86_64, nodes: {count}, cores: {nodes.sockets * nodes.cores_per_socket}, "
        f"memory: {nodes.memory_mib} MiB{gpus}, max_wall: {limit}}}"
    )
