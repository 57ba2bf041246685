"""What is free in pieces is no room for what needs a whole node, or several."""

from __future__ import annotations

import dataclasses

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tidegrid.rating.rates import Rates
from tidegrid.scheduling import holes
from tidegrid.scheduling.placement import Request, decide
from tidegrid.scheduling.snapshot import PartitionRow, Snapshot, with_sent

ROWS = st.lists(st.tuples(st.integers(1, 6), st.tuples(st.integers(1, 16), st.integers(1, 64), st.integers(0, 8))), min_size=1, max_size=5)
EACH = st.tuples(st.integers(1, 16), st.integers(0, 64), st.integers(0, 8))


def _total(rows: list[holes.Row]) -> list[int]:
    return [sum(n * free[k] for n, free in rows) for k in range(3)]


@given(ROWS, EACH, st.integers(1, 20))
def test_what_is_taken_is_gone_and_nodes_stay_as_many(rows: list[holes.Row], each: tuple[int, int, int], seats: int) -> None:
    room = sum(n * min(f // x for f, x in zip(free, each, strict=True) if x) for n, free in rows)
    left = holes.take(rows, each, seats)
    taken = min(seats, room)
    assert _total(left) == [a - taken * x for a, x in zip(_total(rows), each, strict=True)]
    assert sum(n for n, _ in left) == sum(n for n, _ in rows)
    assert all(f >= 0 for _, free in left for f in free)


def test_where_nobody_knows_what_is_free_counts_as_one() -> None:
    assert holes.hold([], (64, 0, 8), 4)
    assert holes.hold([(2, (8, 10, 1))], (8, 10, 1), 2) and not holes.hold([(2, (8, 10, 1))], (8, 10, 1), 3)


def _row(cluster: str, price: int, rooms: list[holes.Row], nodes: int = 4) -> PartitionRow:
    """Nodes of 8 cores and 8 GPUs, of which so much is free; what is in use ends in an hour, a node's worth at a time."""
    free = tuple(sum(n * room[k] for n, room in rooms) for k in range(3))
    used = [nodes * 8000 - free[0], nodes * 1000 - free[1], nodes * 8 - free[2]]
    running = [(600 * (i + 1), tuple(u // 4 for u in used)) for i in range(4)]
    return PartitionRow(cluster, "gpu", "r", "x86_64", capacity=(nodes * 8000, nodes * 1000, nodes * 8), free=free, largest=(8000, 1000, 8),
                        sell=Rates(price), cost=Rates(0), running=running, holes=rooms)  # fmt: skip


def _ask(gpus: int, nodes: int = 1, tasks: int = 1, id: int = 1) -> Request:
    return Request(id, "app", (1000 * nodes, 10 * nodes, gpus * nodes), 3600, run_p50_s=1800.0, run_p90_s=3600.0, nodes=nodes, tasks=tasks)


SCATTERED = [(4, (4000, 500, 2))]  # 8 GPUs free, two on each node
TOGETHER = [(1, (8000, 1000, 8))]


def test_a_task_goes_where_its_gpus_are_free_on_one_node() -> None:
    snapshot = Snapshot.build(0, [_row("scattered", 1_000_000, SCATTERED), _row("together", 1_100_000, TOGETHER)])
    (small, large) = (decide([_ask(gpus)], snapshot)[0] for gpus in (2, 8))
    assert small.best is not None and small.best.cluster == "scattered"
    assert large.best is not None and large.best.cluster == "together"
    waits = {c.cluster: c.wait_ahead for c in large.candidates}
    assert waits["together"] == 0
    assert waits["scattered"] == 1200  # 24 GPUs are in use, six at a time become free: eight by the second


def test_a_gang_needs_as_many_nodes() -> None:
    snapshot = Snapshot.build(0, [_row("scattered", 1_000_000, SCATTERED), _row("together", 1_000_000, TOGETHER)])
    waits = {c.cluster: c.wait_ahead for c in decide([_ask(2, nodes=4)], snapshot)[0].candidates}
    assert waits["scattered"] == 0 and waits["together"] > 0


def test_a_whole_node_is_one_on_which_nobody_is() -> None:
    snapshot = Snapshot.build(0, [_row("scattered", 1_000_000, SCATTERED), _row("together", 1_100_000, TOGETHER)])
    alone = dataclasses.replace(_ask(0), exclusive=True)
    chosen = [d.best for d in decide([alone, dataclasses.replace(alone, id=2)], snapshot)]
    assert chosen[0] is not None and chosen[0].cluster == "together" and chosen[0].wait_ahead == 0
    assert chosen[1] is not None and chosen[1].wait_ahead > 0


def test_the_first_of_a_batch_take_the_nodes_from_the_later_ones() -> None:
    rooms = [(1, (8000, 1000, 8)), (2, (4000, 500, 4))]
    snapshot = Snapshot.build(0, [_row("a", 1_000_000, rooms), _row("b", 1_000_000, [(1, (8000, 1000, 8))])])
    chosen = [d.best for d in decide([_ask(8, id=1), _ask(8, id=2), _ask(4, id=3), _ask(4, id=4)], snapshot)]
    assert [b.cluster for b in chosen if b is not None] == ["a", "b", "a", "a"]


def test_an_array_fills_node_by_node() -> None:
    assert holes.take([(2, (8000, 1000, 8))], (1000, 10, 3), 3) == [(1, (6000, 980, 2)), (1, (7000, 990, 5))]


def test_what_was_sent_takes_nodes_too() -> None:
    row = with_sent(_row("a", 1, [(2, (8000, 1000, 8))]), [(60, (1000, 10, 8), 1), (60, (2000, 20, 16), 2)])
    assert sorted(row.holes) == [(1, (7000, 990, 0)), (1, (8000, 1000, 8))]
    assert list(row.waiting) == [(60, (2000, 20, 16))]


def test_a_snapshot_keeps_its_holes_and_reads_those_that_had_none() -> None:
    snapshot = Snapshot.build(0, [_row("scattered", 1, SCATTERED), _row("together", 1, TOGETHER)])
    again = Snapshot.from_bytes(snapshot.to_bytes())
    assert again.revision == snapshot.revision and again.holes_of(0) == SCATTERED and again.holes_of(1) == TOGETHER
    old = dataclasses.replace(snapshot, schema=2, hole_ptr=np.zeros(3, np.int64), hole_nodes=np.empty(0, np.int64), hole_free=np.empty((0, 3), np.int64))
    read = Snapshot.from_bytes(old.to_bytes())
    assert read.revision == old.revision and read.holes_of(0) == []
