"""GPUs left over when a cluster has been asked for all it has: our choice of nodes beside first fit, best fit and random.

The inflation experiment of the FGD paper (ATC'23) on Alibaba's openb: pods are drawn from the list with replacement until they ask for
as many GPUs as there are (6,212 on 1,213 nodes); each is placed as it comes or turned away, and nothing ends. Unallocated GPUs are counted
at the end, as the pods ask for parts of GPUs ("shared") and as if each asked for whole ones, which is all that embedded clusters give
("whole"). "ours" learns the usual shapes from the last 512 pods; "ours, mix known" is told those of the whole list, as the paper's is.

    TIDEGRID_TRACES=DIR python -m benchmarks.gpus [SEED…]    # by default seeds 1 to 5
"""

from __future__ import annotations

import gzip
import json
import os
import statistics
import sys
import time
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tidegrid.scheduling.gpus import WHOLE, Nodes, Seat, Shape, Usual, choose
from tidegrid.simulation.traces.cells import read_cells
from tidegrid.simulation.traces.gpu import read_openb

LATELY = 512
Way = Callable[[Nodes, Shape], Seat | None]


def read_nodes(folder: Path) -> Nodes:
    cells = read_cells((folder / "gpu" / "openb_node_list_gpu_node.csv").read_bytes(), ",")
    free = np.column_stack([cells.whole(name, essential=True) for name in ("cpu_milli", "memory_mib", "gpu")])
    return Nodes.whole(free)


def read_shapes(folder: Path) -> list[Shape]:
    """One a pod, cores in thousandths: the trace has whole processors and memory by processor, so those two are read as they stand."""
    data = gzip.decompress((folder / "gpu" / "openb_pod_list_default.csv.gz").read_bytes())
    trace, cells = read_openb(data), read_cells(data, ",")
    cores, memory = cells.whole("cpu_milli", essential=True), cells.whole("memory_mib", essential=True)
    assert len(trace.gpus) == len(cores) and not trace.gpu_type.max(initial=0) > 0  # every pod is kept, and none asks for a model
    rows = zip(cores.tolist(), memory.tolist(), trace.gpus.tolist(), trace.gpu_milli.tolist(), strict=True)
    return [Shape((c, m, g), min(max(part, 1), WHOLE) if g == 1 else WHOLE) for c, m, g, part in rows]


def drawn(shapes: list[Shape], capacity: int, seed: int) -> list[Shape]:
    """Until the next would ask for more GPUs than there are."""
    rng, out, asked = np.random.default_rng(seed), [], 0
    while True:
        shape = shapes[int(rng.integers(len(shapes)))]
        asked += shape.need[2] * shape.part
        if asked > capacity:
            return out
        out.append(shape)


def ours(usual: Usual | None = None) -> Way:
    lately: deque[Shape] = deque(maxlen=LATELY)

    def way(nodes: Nodes, shape: Shape) -> Seat | None:
        lately.append(shape)
        seats = choose(nodes, [shape], usual or Usual(Counter(lately)))
        return seats[0] if seats else None

    return way


def best_fit(nodes: Nodes, shape: Shape) -> Seat | None:
    """Fewest GPUs left on the node, then of the GPU, then cores, then memory: what ours does without history."""
    seats = choose(nodes, [shape], Usual({}))
    return seats[0] if seats else None


def _able(nodes: Nodes, shape: Shape) -> tuple[Any, Any]:
    """Which GPUs of which node have enough for the shape, and the nodes that can hold it."""
    able = nodes.devices >= shape.part
    return able, np.flatnonzero((nodes.room >= shape.need[:2]).all(axis=1) & (able.sum(axis=1) >= shape.need[2]))


def weighed(nodes: Nodes, shape: Shape) -> Seat | None:
    """Best fit as the paper's baseline weighs it: what is free of the largest node's cores and GPUs, half each; the tightest GPU of the node."""
    able, rows = _able(nodes, shape)
    if not len(rows):
        return None
    node = int(rows[np.argmin(nodes.room[rows, 0] / 128_000 + nodes.devices[rows].sum(axis=1) / (8 * WHOLE))])
    tight = sorted(np.flatnonzero(able[node]).tolist(), key=lambda g: int(nodes.devices[node, g]))
    return Seat(node, tuple(tight[: shape.need[2]]))


def anywhere(pick: Callable[[int], int]) -> Way:
    """A node that `pick` says of those that can, and its first GPUs that can."""

    def way(nodes: Nodes, shape: Shape) -> Seat | None:
        able, rows = _able(nodes, shape)
        if not len(rows):
            return None
        node = int(rows[pick(len(rows))])
        return Seat(node, tuple(np.flatnonzero(able[node])[: shape.need[2]].tolist()))

    return way


def left(nodes: Nodes, tasks: list[Shape], way: Way) -> dict[str, float]:
    state, capacity, refused = nodes.copy(), int(nodes.devices.sum()), 0
    began = time.perf_counter()
    for shape in tasks:
        seat = way(state, shape)
        if seat is None:
            refused += 1
        else:
            state.take(shape, seat)
    took = time.perf_counter() - began
    assert (state.room >= 0).all() and (state.devices >= 0).all()
    unallocated = 100 * int(state.devices.sum()) / capacity
    return {"unallocated_percent": unallocated, "turned_away": refused, "ms_a_decision": 1000 * took / len(tasks)}


def main() -> None:
    folder = os.environ.get("TIDEGRID_TRACES")
    if not folder:
        print(json.dumps({"skipped": "TIDEGRID_TRACES is not set: no traces"}))
        return
    seeds = [int(word) for word in sys.argv[1:]] or [1, 2, 3, 4, 5]
    nodes, shapes = read_nodes(Path(folder)), read_shapes(Path(folder))
    lists = {"shared": shapes, "whole": [shape._replace(part=WHOLE) for shape in shapes]}
    out: dict[str, Any] = {"nodes": len(nodes.room), "gpus": int(nodes.devices.sum()) // WHOLE, "seeds": len(seeds)}
    for kind, pods in lists.items():
        out[kind] = told([tried(f"{kind}, seed {seed}", nodes, pods, seed) for seed in seeds])
    print(json.dumps(out, indent=1))


def tried(title: str, nodes: Nodes, shapes: list[Shape], seed: int) -> dict[str, dict[str, float]]:
    tasks = drawn(shapes, int(nodes.devices.sum()), seed)
    ways = {
        "ours": ours(), "ours, mix known": ours(Usual(Counter(shapes))), "best fit": best_fit, "best fit, weighed": weighed,
        "first fit": anywhere(lambda _: 0), "random": anywhere(np.random.default_rng(seed).integers),
    }  # fmt: skip
    found = {}
    for name, way in ways.items():
        found[name] = left(nodes, tasks, way)
        print(f"{title}, {len(tasks)} pods, {name}: {json.dumps(found[name])}", file=sys.stderr, flush=True)
    return found


def told(runs: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Over the seeds, of each way: the mean of unallocated GPUs with its spread, and how many fewer ours leaves."""
    percent = {name: [run[name]["unallocated_percent"] for run in runs] for name in runs[0]}
    best = statistics.fmean(percent["ours"])
    return {
        name: {
            "unallocated_percent": round(statistics.fmean(p), 3), "lowest": round(min(p), 3), "highest": round(max(p), 3),
            "deviation": round(statistics.stdev(p), 3) if len(p) > 1 else 0.0,
            "turned_away": round(statistics.fmean(run[name]["turned_away"] for run in runs), 1),
            "ms_a_decision": round(statistics.median(run[name]["ms_a_decision"] for run in runs), 3),
            "fewer_by_ours_percent": round(100 * (1 - best / statistics.fmean(p)), 1) if any(p) else 0.0,
        }
        for name, p in percent.items()
    }  # fmt: skip


if __name__ == "__main__":
    main()
