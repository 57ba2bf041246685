"""A partition's nodes: who gets which, all of them or none, and for whom some are kept."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Hashable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegrid.connectors.embedded.config import PartitionConfig
from tidegrid.connectors.embedded.nodes import Partition, Place, Seat, Wanted


def partition(policy: str = "easy", **changes: Any) -> Partition:
    return Partition(PartitionConfig(**{"name": "p", "nodes": 2, "cores": 4, "memory_mib": 1000, **changes}), policy)


def start(p: Partition, now_s: int, *rows: Any) -> dict[Hashable, Place]:
    """What starts of rows (key, need of each node, wall time, number of nodes)."""
    return dict(p.choose(now_s, [Wanted(*row) for row in rows]))


def nodes(placed: dict[Hashable, Place]) -> dict[Hashable, list[int]]:
    return {key: [seat.node for seat in place.seats] for key, place in placed.items()}


def test_tasks_are_fitted_onto_nodes_and_given_their_own_cores() -> None:
    p = partition(cpus=tuple(range(8)), gpus=1)
    placed = start(p, 0, ("a", (3, 10, 0), 10), ("b", (3, 10, 1), 10), ("c", (2, 10, 0), 10))
    assert placed["a"].seats == (Seat(0, (0, 1, 2)),)
    assert placed["b"].seats == (Seat(1, (4, 5, 6), (0,)),)
    assert "c" not in placed and p.free() == (2, 1980, 1)
    p.release("a")
    assert start(p, 0, ("c", (4, 10, 0), 10))["c"].cpus == (0, 1, 2, 3)


def test_fragments_do_not_starve_the_task_in_front() -> None:
    p = partition()
    start(p, 0, ("a", (2, 10, 0), 10), ("b", (3, 10, 0), 100))
    assert p.free() == (3, 1980, 0)
    # `short` ends before node 0 is free for `big`; `long` would not
    assert [*start(p, 0, ("big", (3, 10, 0), 50), ("long", (2, 10, 0), 50), ("short", (2, 10, 0), 5))] == ["short"]


def test_adopted_tasks_hold_what_they_were_given() -> None:
    p = partition(cpus=tuple(range(8)))
    p.adopt("a", [Seat(1, (5, 6))], (2, 100, 0), 50)
    assert p.free() == (6, 1900, 0)
    assert start(p, 0, ("b", (4, 1, 0), 5), ("c", (2, 1, 0), 5))["c"].cpus == (4, 7)
    p.release("a")
    assert p.free() == (2, 1998, 0)


def test_a_partition_serves_its_queue_by_the_policy_it_is_given() -> None:
    queue = [("long", (4, 10, 0), 100), ("short", (4, 10, 0), 5)]
    for policy, first in [("fcfs", "long"), ("easy", "long"), ("sjf", "short"), ("conservative", "long"), ("default", "short")]:
        assert [*start(partition(policy, nodes=1), 0, *queue)] == [first], policy


def test_who_has_waited_beyond_the_guard_comes_first_though_shorter_ones_keep_coming() -> None:
    p = partition("default", nodes=1)
    start(p, 0, ("held", (4, 10, 0), 10))
    start(p, 0, ("long", (4, 10, 0), 50_000))
    p.release("held")
    assert [*start(p, 6 * 86_400, ("long", (4, 10, 0), 50_000), ("short", (4, 10, 0), 5))] == ["long"]


# GPUs -----------------------------------------------------------------------------------------------------------------


def with_gpus() -> Partition:
    """Two nodes of 16 cores and four GPUs, two GPUs free on each: with eight cores on the first, twelve on the second."""
    p = partition(cores=16, gpus=4)
    p.adopt("held 0", [Seat(0, (), (0, 1))], (8, 10, 2), 1_000)
    p.adopt("held 1", [Seat(1, (), (0, 1))], (4, 10, 2), 1_000)
    return p


def test_gpus_are_not_stranded_behind_too_few_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    queue = [("cores", (8, 10, 0), 10), *((f"usual {i}", (4, 10, 1), 10) for i in range(3))]
    placed = start(with_gpus(), 0, *queue)
    assert nodes(placed)["cores"] == [1] and [*placed] == ["cores", "usual 0", "usual 1", "usual 2"]
    monkeypatch.setattr(Partition, "_fit", Partition._first_fit)
    assert nodes(start(with_gpus(), 0, *queue)) == {"cores": [0], "usual 0": [1], "usual 1": [1]}


def test_the_same_tasks_are_given_the_same_nodes() -> None:
    queue = [(f"t{i}", (1 + i % 3, 10, i % 3), 10 + i, 1 + i % 2) for i in range(8)]
    first, second = (start(with_gpus(), 0, *queue) for _ in range(2))
    assert first == second and len(first) > 3


def test_where_there_are_gpus_too_the_node_that_is_kept_for_the_front_stays_kept() -> None:
    p = partition(gpus=1)
    assert nodes(start(p, 0, ("a", (2, 10, 0), 10), ("b", (3, 10, 0), 100))) == {"a": [0], "b": [1]}
    assert [*start(p, 0, ("big", (3, 10, 0), 50), ("long", (2, 10, 0), 50), ("short", (2, 10, 0), 5))] == ["short"]


def test_a_gang_takes_its_gpus_from_nodes_where_the_least_is_stranded() -> None:
    p = partition(nodes=4, cores=16, gpus=4)
    for node in (0, 3):  # here GPUs are free that the last cores would be taken from
        p.adopt(f"held {node}", [Seat(node, (), (0, 1))], (8, 10, 2), 1_000)
    usual = [(f"usual {i}", (4, 10, 1), 10) for i in range(2)]
    placed = start(p, 0, ("cores", (8, 10, 0), 10, 2), *usual)
    assert nodes(placed)["cores"] == [1, 2]


def test_each_node_of_a_gang_counts_in_what_is_usual() -> None:
    p = partition(nodes=3, gpus=1)
    start(p, 0, ("gang", (1, 10, 1), 10, 3), ("one", (2, 10, 1), 10))
    start(p, 0, ("one", (2, 10, 1), 10))
    assert Counter(p._asked) == {(1, 10, 1): 3, (2, 10, 1): 1}


def test_gpus_are_told_by_the_numbers_that_the_host_gives_them() -> None:
    p = partition(gpus=2)
    one = start(p, 0, ("one", (1, 10, 1), 10))["one"]
    gang = start(p, 0, ("gang", (1, 10, 1), 10, 2))["gang"]
    assert [s.gpus for s in gang.seats if s.node == one.seats[0].node] == [(1,)]
    taken = [*p.devices(one), *p.devices(gang)]
    assert len(set(taken)) == 3 and set(taken) <= {0, 1, 2, 3}
    assert sorted(d // 2 for d in p.devices(gang)) == [0, 1]


# Gangs ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gpus", [0, 1])
def test_a_gang_has_a_node_of_its_own_for_each_of_its_seats_or_nothing(gpus: int) -> None:
    p = partition(nodes=3, cpus=tuple(range(12)), gpus=gpus)
    gang = ("gang", (2, 100, gpus), 10, 2)
    placed = start(p, 0, gang)["gang"]
    assert len({s.node for s in placed.seats}) == 2 and placed.need == (4, 200, 2 * gpus)
    assert all(len(s.cpus) == 2 and {c // 4 for c in s.cpus} == {s.node} and len(s.gpus) == gpus for s in placed.seats)
    assert p.free() == (8, 2800, gpus)
    # eight cores are free, and no two nodes have three
    p.adopt("in the way", [Seat(3 - sum(s.node for s in placed.seats), (), ())], (2, 10, 0), 100)
    before = p.free()
    assert start(p, 0, ("wide", (3, 10, 0), 10, 2)) == {} and p.free() == before
    p.release("gang")
    assert start(p, 0, ("wide", (3, 10, 0), 10, 2)).keys() == {"wide"}


def test_every_seat_of_a_gang_is_given_back_and_adopted() -> None:
    first, second = partition(cpus=tuple(range(8)), gpus=2), partition(cpus=tuple(range(8)), gpus=2)
    placed = start(first, 0, ("gang", (3, 100, 2), 50, 2))["gang"]
    lines = [seat.line() for seat in placed.seats]
    assert lines == ["0;0-2;0-1", "1;4-6;0-1"]
    second.adopt("gang", [Seat.read(line) for line in lines], placed.each, placed.ends_s)
    assert second.held == first.held and second.free() == first.free() == (2, 1800, 0)
    for p in (first, second):
        p.release("gang")
        assert p.free() == p.total()
        assert start(p, 0, ("all", (4, 1000, 2), 5, 2))["all"].cpus == tuple(range(8))


def test_a_seat_on_a_node_that_is_no_more_is_nobodys_loss() -> None:
    p = partition()
    p.adopt("gang", [Seat(1), Seat(2)], (2, 100, 0), 50)
    assert p.free() == (6, 1900, 0) and p.held["gang"].need == (4, 200, 0)
    p.release("gang")
    assert p.free() == p.total()


def test_tasks_behind_a_waiting_gang_use_its_nodes_only_if_they_end_before() -> None:
    p = partition(nodes=4)
    start(p, 0, *((f"held {i}", (3, 10, 0), ends) for i, ends in enumerate((10, 20, 100, 100))))
    start(p, 0, ("corner", (1, 10, 0), 100))  # on node 0, that is free for the gang at 100 only
    p.release("held 3")
    gang = ("gang", (2, 10, 0), 50, 3)  # nodes 0, 1 and 3: at 20
    assert p.free() == (6, 3960, 0)
    assert nodes(start(p, 1, gang, ("long", (1, 10, 0), 20), ("short", (1, 10, 0), 19))) == {"long": [2], "short": [1]}


def test_a_gang_that_only_fragments_hold_back_keeps_its_nodes_also_while_the_pool_has_no_room_for_it() -> None:
    p = partition(nodes=3)
    start(p, 0, ("a", (3, 10, 0), 10), ("b", (3, 10, 0), 100), ("c", (2, 10, 0), 100))
    gang = ("gang", (2, 10, 0), 50, 2)  # nodes 0 and 2, at 10
    assert nodes(start(p, 0, gang, ("long", (1, 10, 0), 100))) == {"long": [1]}
    # now three cores are free and four are wanted: the pool would give the one that is left over at 10 to another
    assert start(p, 1, gang, ("another", (1, 10, 0), 100)) == {}
    p.release("a")
    assert nodes(start(p, 10, gang, ("another", (1, 10, 0), 100))) == {"gang": [0, 2], "another": [0]}


def test_nodes_stay_kept_only_for_the_first_of_the_queue() -> None:
    """One that was to go before the first, and may no more since it would end too late, keeps nobody from doing so."""
    p = partition(nodes=3)
    start(p, 0, ("a", (3, 10, 0), 100), ("b", (3, 10, 0), 100), ("c", (2, 10, 0), 100))
    first, gang = ("first", (4, 10, 0), 50, 3), ("gang", (2, 10, 0), 50, 2)
    assert start(p, 0, first, gang) == {} and p._front == "gang"
    p.release("a")
    p.release("c")
    small = [(f"small {i}", (1, 10, 0), 20) for i in range(5)]
    assert len(start(p, 60, first, gang, *small)) == 5


def crowd(p: Partition, gang: Wanted, rng: random.Random) -> tuple[list[int], int, int]:
    """Small tasks keep coming, the gang among them: until when its nodes were kept at each look, how many started meanwhile, and when
    it did."""
    queue: list[Wanted] = []
    until: list[int] = []
    behind = 0
    for now in range(400):
        for key in [key for key, place in p.held.items() if place.ends_s <= now]:
            p.release(key)
        gpus = rng.choice((0, p.config.gpus // 2))
        queue += [Wanted(f"{now}.{i}", (rng.choice((1, 1, 2)), 10, gpus), rng.randint(1, 60)) for i in range(2)]
        queue += [gang] if now == 20 else []
        placed = dict(p.choose(now, queue[:30]))
        queue = [task for task in queue if task.key not in placed]
        if gang.key in placed:
            return until, behind, now
        if p._front == gang.key:
            until.append(p._frees_first(gang, now).until)
            behind += len(placed)
    pytest.fail("it never started")


@pytest.mark.parametrize("policy", ["easy", "conservative"])
@pytest.mark.parametrize("gpus", [0, 2])
def test_small_tasks_that_keep_coming_do_not_starve_a_gang(policy: str, gpus: int) -> None:
    """However many come, it starts at the latest when the last of its first nodes is free; and they go on meanwhile."""
    kept = started_behind = 0
    for seed in range(6):
        p = partition(policy, nodes=4, gpus=gpus)
        until, behind, now = crowd(p, Wanted("gang", (3, 10, gpus // 2), 500, 3), random.Random(seed))
        assert not until or now <= until[0], seed
        assert until == sorted(until, reverse=True), seed
        kept, started_behind = kept + len(until), started_behind + behind
    assert kept > 6 and started_behind > 3


# Whatever happens -----------------------------------------------------------------------------------------------------

tasks = st.tuples(st.integers(1, 4), st.integers(1, 500), st.integers(0, 2), st.integers(1, 30), st.integers(1, 3))


@given(st.lists(st.lists(tasks, max_size=4), min_size=1, max_size=12), st.booleans(), st.randoms(use_true_random=False))
def test_nothing_is_given_twice_and_all_comes_back(arrivals: list[list[Any]], with_gpus: bool, rng: random.Random) -> None:
    p = partition(nodes=3, cpus=tuple(range(12)), gpus=2 if with_gpus else 0)
    waiting: list[Wanted] = []
    for now, new in enumerate(arrivals):
        waiting += [Wanted((now, i), (c, m, g if with_gpus else 0), wall, n) for i, (c, m, g, wall, n) in enumerate(new)]
        wanted = {task.key: task for task in waiting}
        for key, place in p.choose(now, waiting):
            task = wanted.pop(key)
            assert len({seat.node for seat in place.seats}) == len(place.seats) == task.nodes
            assert all((len(s.cpus), len(s.gpus)) == (task.each[0], task.each[2]) for s in place.seats)
        waiting = [*wanted.values()]
        cpus = Counter(c for place in p.held.values() for c in place.cpus)
        devices = Counter(d for place in p.held.values() for d in p.devices(place))
        memory: Counter[int] = Counter()
        for place in p.held.values():
            memory.update({seat.node: place.each[1] for seat in place.seats})
        assert max([0, *cpus.values(), *devices.values()]) <= 1 and max([0, *memory.values()]) <= 1000
        used = [sum(place.need[k] for place in p.held.values()) for k in range(3)]
        assert [t - f for t, f in zip(p.total(), p.free(), strict=True)] == used
        for key in [k for k in p.held if rng.random() < 0.4]:
            p.release(key)
    for key in [*p.held]:
        p.release(key)
    assert p.free() == p.total() and {c for n in p._nodes for c in n.slots} == {0, 1, 2, 3}
