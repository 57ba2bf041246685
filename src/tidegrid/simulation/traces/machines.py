"""What a log ran on, where a file beside it says so: Alea's `.machines`, openb's list of nodes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from tidegrid.simulation.traces.bytesin import refuse, reject_binary, unpack
from tidegrid.simulation.traces.cells import read_cells


@dataclass(frozen=True)
class Group:
    """Equal nodes of a machine. `processors`, `memory_mib` and `gpus` are a node's."""

    name: str
    nodes: int
    processors: int
    memory_mib: int
    gpus: int = 0
    gpu_type: str = ""


def read_machines(data: bytes) -> tuple[Group, ...]:
    """Alea's file: id, name, nodes, processors a node, speed, KiB a node, and where it is ours GPUs a node and their type.

    Raises InvalidInput `trace.machines` with the line.
    """
    text, _ = unpack(data)
    reject_binary(text)
    out = []
    for n, line in enumerate(text.decode("utf-8", "replace").splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith((";", "#")):
            continue
        if len(words) < 6 or not all(words[i].isdigit() for i in (2, 3, 5)) or int(words[2]) < 1 or int(words[3]) < 1:
            raise refuse("machines", "", [(n, "not: id, name, nodes, processors a node, speed, KiB a node")], mendable=False)
        gpus = int(words[6]) if len(words) > 7 and words[6].isdigit() else 0
        out.append(Group(words[1], int(words[2]), int(words[3]), int(words[5]) // 1024, gpus, words[7] if gpus else ""))
    if not out:
        raise refuse("empty", "no machines are listed", mendable=False)
    return tuple(out)


def read_openb_nodes(data: bytes) -> tuple[Group, ...]:
    """openb's nodes, equal ones together, in the order they come."""
    cells = read_cells(data, ",")
    cells.need("cpu_milli", "memory_mib", "gpu", "model")
    cpus, memory, gpus = cells.whole("cpu_milli", essential=True), cells.whole("memory_mib", essential=True), cells.whole("gpu")
    cells.settle()
    kinds = Counter(zip((cpus // 1000).tolist(), memory.tolist(), gpus.tolist(), cells.text("model"), strict=True))
    return tuple(Group(f"{kind or 'cpu'}-{c}c-{g}g", n, c, m, g, kind) for (c, m, g, kind), n in kinds.items())
