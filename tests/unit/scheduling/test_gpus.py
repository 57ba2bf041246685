"""GPUs go where what is left stays of use; the vectorised choice agrees with one that tries everything."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegrid.domain.errors import InvalidInput
from tidegrid.scheduling.gpus import WHOLE, Nodes, Seat, Shape, Usual, choose

NOTHING = Usual({})


def whole(*free: tuple[int, int, int]) -> Nodes:
    return Nodes.whole(np.array(free, np.int64).reshape(len(free), 3))


def where(nodes: Nodes, need: tuple[int, int, int], usual: Usual) -> int:
    found = choose(nodes, [Shape(need)], usual)
    assert found is not None
    return found[0].node


def test_without_history_a_task_goes_where_it_fits_tightest() -> None:
    nodes = whole((8, 800, 4), (8, 800, 2), (6, 800, 2), (6, 700, 2), (6, 700, 2))
    assert where(nodes, (2, 100, 1), NOTHING) == 3
    assert where(nodes, (2, 100, 3), NOTHING) == 0
    assert where(whole((8, 800, 4), (8, 800, 0)), (2, 100, 0), NOTHING) == 1  # cores alone are taken where no GPU lies idle for it


def test_the_last_cores_beside_a_free_gpu_are_kept_for_the_shape_that_needs_them() -> None:
    nodes = whole((4, 800, 2), (16, 800, 4))
    usual = Usual({Shape((4, 10, 1)): 9, Shape((1, 10, 1)): 1})
    assert where(nodes, (1, 10, 1), NOTHING) == 0
    assert where(nodes, (1, 10, 1), usual) == 1  # on node 0 three cores would be left, and a GPU that nine of ten cannot use


def test_as_many_gpus_as_are_wanted_together_are_kept_together() -> None:
    nodes = whole((64, 800, 8), (64, 800, 6))
    assert where(nodes, (4, 10, 2), NOTHING) == 1
    assert where(nodes, (4, 10, 2), Usual({Shape((4, 10, 6)): 1})) == 0  # six are left together, not four


def test_a_part_of_a_gpu_goes_where_another_part_is_taken() -> None:
    nodes = Nodes(np.array([[8, 80], [8, 80]]), np.array([[1000, 1000], [1000, 400]]), np.zeros(2, np.int64))
    usual = Usual({Shape((1, 1, 1)): 1})
    assert choose(nodes, [Shape((1, 1, 1), 300)], usual) == (Seat(1, (1,)),)
    assert choose(nodes, [Shape((1, 1, 1), 500)], usual) is not None
    assert choose(nodes, [Shape((1, 1, 2))], usual) == (Seat(0, (0, 1)),)


def test_models_bind_and_are_kept_for_those_who_want_them() -> None:
    nodes = Nodes(np.full((2, 2), 8), np.full((2, 2), WHOLE), np.array([7, 3]))
    assert choose(nodes, [Shape((1, 1, 1), models=(3,))], NOTHING) == (Seat(1, (0,)),)
    assert choose(nodes, [Shape((1, 1, 1), models=(4,))], NOTHING) is None
    assert where(nodes, (1, 1, 1), Usual({Shape((1, 1, 1), models=(7,)): 1})) == 1


def test_a_gang_is_placed_whole_or_not_at_all_and_takes_nothing_by_asking() -> None:
    nodes = whole((8, 80, 3), (8, 80, 2))
    before = nodes.devices.copy()
    pair = Shape((1, 1, 2))
    assert choose(nodes, [pair, pair], NOTHING) is not None
    assert choose(nodes, [pair, pair, pair], NOTHING) is None
    assert choose(nodes, [pair, pair], NOTHING, closed=[1]) is None
    assert choose(nodes, [Shape((1, 1, 1))] * 3, NOTHING, apart=True) is None
    seats = choose(nodes, [Shape((1, 1, 1)), pair, pair], NOTHING)  # the largest first, or the pairs would not fit
    assert seats is not None and (nodes.devices == before).all()
    for shape, seat in zip([Shape((1, 1, 1)), pair, pair], seats, strict=True):
        nodes.take(shape, seat)
    assert nodes.devices.sum() == 0


def test_parts_of_several_gpus_are_refused() -> None:
    with pytest.raises(InvalidInput, match="500 thousandths of each of 2"):
        choose(whole((1, 1, 2)), [Shape((1, 1, 2), 500)], NOTHING)
    with pytest.raises(InvalidInput):
        choose(whole((1, 1, 2)), [Shape((1, 1, 1), 0)], NOTHING)


# ---- beside one that tries everything --------------------------------------------------------------------------------------

parts = st.sampled_from([200, 500, 700, WHOLE])
shapes = st.builds(
    lambda cores, memory, gpus, part, models: Shape((cores, memory, gpus), part if gpus == 1 else WHOLE, models),
    st.integers(0, 4), st.integers(0, 4), st.integers(0, 3), parts, st.sampled_from([(), (), (0,), (0, 1)]),
)  # fmt: skip
node = st.tuples(
    st.integers(0, 6), st.integers(0, 6), st.lists(st.sampled_from([0, 300, 500, 800, WHOLE]), min_size=3, max_size=3), st.integers(0, 1)
)  # fmt: skip
Plain = list[tuple[int, int, list[int], int]]


def arrays(nodes: Plain) -> Nodes:
    return Nodes(np.array([n[:2] for n in nodes]), np.array([n[2] for n in nodes]), np.array([n[3] for n in nodes]))


def holds(n: tuple[int, int, list[int], int], s: Shape) -> bool:
    model = not s.need[2] or not s.models or n[3] in s.models
    return model and n[0] >= s.need[0] and n[1] >= s.need[1] and sum(d >= s.part for d in n[2]) >= s.need[2]


def wasted(n: tuple[int, int, list[int], int], counts: dict[Shape, int]) -> int:
    return sum(c * sum(d for d in n[2] if not holds(n, s) or d < s.part) for s, c in counts.items() if s.need[2])


def seats_of(n: tuple[int, int, list[int], int], s: Shape) -> list[tuple[tuple[int, ...], tuple[int, int, list[int], int]]]:
    """Every set of GPUs it could take there, and the node afterwards."""
    if not holds(n, s):
        return []
    sets = itertools.combinations([g for g, d in enumerate(n[2]) if d >= s.part], s.need[2])
    return [(p, (n[0] - s.need[0], n[1] - s.need[1], [d - s.part * (g in p) for g, d in enumerate(n[2])], n[3])) for p in sets]


@settings(max_examples=300, deadline=None)
@given(st.lists(node, min_size=1, max_size=5), shapes, st.dictionaries(shapes, st.integers(1, 5), max_size=5))
def test_one_task_goes_where_trying_everything_says(nodes: Plain, shape: Shape, counts: dict[Shape, int]) -> None:
    tried = [
        (wasted(after, counts) - wasted(n, counts), sum(after[2]), min((after[2][g] for g in p), default=0) if shape.part < WHOLE else 0, after[0], after[1], i)
        for i, n in enumerate(nodes)
        for p, after in seats_of(n, shape)
    ]  # fmt: skip
    found = choose(arrays(nodes), [shape], Usual(counts))
    assert (found is None) == (not tried)
    if found is not None:
        (seat,) = found
        after = dict(seats_of(nodes[seat.node], shape))[seat.devices]
        growth = wasted(after, counts) - wasted(nodes[seat.node], counts)
        shared = after[2][seat.devices[0]] if shape.part < WHOLE else 0
        assert (growth, sum(after[2]), shared, after[0], after[1], seat.node) == min(tried)


def can(nodes: Plain, shape: Shape, tasks: int) -> bool:
    if not tasks:
        return True
    return any(
        can([*nodes[:i], after, *nodes[i + 1 :]], shape, tasks - 1) for i, n in enumerate(nodes) for _, after in seats_of(n, shape)
    )  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(node, min_size=1, max_size=3), shapes, st.integers(1, 3), st.dictionaries(shapes, st.integers(1, 5), max_size=4))
def test_a_gang_of_equal_tasks_is_placed_whenever_it_can_be(nodes: Plain, shape: Shape, tasks: int, counts: dict[Shape, int]) -> None:
    state = arrays(nodes)
    seats = choose(state, [shape] * tasks, Usual(counts))
    assert (seats is not None) == can(nodes, shape, tasks)
    assert seats == choose(arrays(nodes), [shape] * tasks, Usual(dict(reversed(counts.items()))))
    for seat in seats or ():
        assert len(set(seat.devices)) == shape.need[2]
        state.take(shape, seat)
    assert (state.room >= 0).all() and (state.devices >= 0).all()
