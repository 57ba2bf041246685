"""GPUs left over when a cluster has been asked for all it has: our choice of nodes beside first fit, best fit and random.

The inflation experiment of the FGD paper (ATC'23) on Alibaba's openb: pods are drawn from the list with replacement until they ask for
as many GPUs as there are (6,212 on 1,213 nodes); each is placed as it comes or turned away, and nothing ends. Unallocated GPUs are counted
at the end. "ours" learns the usual shapes from the last 512 pods; "ours, mix known" is told those of the whole list, as the paper's is.

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
    seats = choose(nodes, [shape], Usual({}))
    return seats[0] if seats else None


def anywhere(pick: Callable[[int], int]) -> Way:
    """A node that `pick` says of those that can, and its first GPUs that can."""

    def way(nodes: Nodes, shape: Shape) -> Seat | None:
        able = nodes.devices >= shape.part
        fits = (nodes.room >= shape.need[:2]).all(axis=1) & (able.sum(axis=1) >= shape.need[2])
        rows = np.flatnonzero(fits)
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
    capacity = int(nodes.devices.sum())
    found: dict[str, list[dict[str, float]]] = {}
    for seed in seeds:
        tasks = drawn(shapes, capacity, seed)
        ways = {
            "ours": ours(), "ours, mix known": ours(Usual(Counter(shapes))), "best fit": best_fit,
            "first fit": anywhere(lambda _: 0), "random": anywhere(np.random.default_rng(seed).integers),
        }  # fmt: skip
        for name, way in ways.items():
            found.setdefault(name, []).append(left(nodes, tasks, way))
            print(f"seed {seed}, {len(tasks)} pods, {name}: {json.dumps(found[name][-1])}", file=sys.stderr, flush=True)
    mean = {name: statistics.fmean(r["unallocated_percent"] for r in rows) for name, rows in found.items()}
    out: dict[str, Any] = {"nodes": len(nodes.room), "gpus": capacity // WHOLE, "seeds": len(seeds)}
    for name, rows in found.items():
        percent = [r["unallocated_percent"] for r in rows]
        out[name] = {
            "unallocated_percent": round(mean[name], 3), "lowest": round(min(percent), 3), "highest": round(max(percent), 3),
            "deviation": round(statistics.stdev(percent), 3) if len(rows) > 1 else 0.0,
            "turned_away": statistics.fmean(r["turned_away"] for r in rows),
            "ms_a_decision": round(statistics.median(r["ms_a_decision"] for r in rows), 3),
            "fewer_by_ours_percent": round(100 * (1 - mean["ours"] / mean[name]), 1) if mean[name] else 0.0,
        }  # fmt: skip
    print(json.dumps(out, indent=1))


if __name__ == "__main__":
    main()
