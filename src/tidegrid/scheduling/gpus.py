"""Which nodes a task, or a gang of tasks at once, takes its GPUs from, so that what is left stays of use to what is usually asked for.

A free GPU is a fragment for a shape of task that cannot use it: too little of it is free, or its node lacks cores, memory, further GPUs
or the right model. The expected fragments of a node are its fragments for each usual shape, weighed by how often that is asked for; a
task goes where they grow least (Weng et al., "Beware of Fragmentation: Scheduling GPU-Sharing Workloads with Fragmentation Gradient
Descent", USENIX ATC'23). Ties go to the tightest fit (GPUs left on the node, then of the shared GPU, then cores, then memory), then to
the first node. Where nothing is known of what is usual all is a tie: best fit.

Amounts are whole numbers in any unit that nodes and shapes share (cores or thousandths of one; MiB); GPUs are in thousandths of one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tidegrid.domain.errors import InvalidInput

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Need = tuple[int, int, int]  # cores, MiB, GPUs

WHOLE = 1000
USUAL = 64  # of the shapes asked for, how many are looked at: the most frequent


class Shape(NamedTuple):
    """What one task asks of one node: `part` of each of its GPUs in thousandths, of one of the `models` (codes; empty: any)."""

    need: Need
    part: int = WHOLE
    models: tuple[int, ...] = ()


class Seat(NamedTuple):
    """A task's node and the GPUs it takes there, by their columns in `Nodes.devices`."""

    node: int
    devices: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Nodes:
    """What is free. room[n, 2]: cores and memory; devices[n, g]: thousandths of each GPU (0 also where a node has fewer); model[n]: codes."""

    room: Ints
    devices: Ints
    model: Ints

    @classmethod
    def whole(cls, free: Ints, model: Ints | None = None) -> Nodes:
        """Of free[n, 3] (cores, MiB, whole GPUs), as `Need` has them; a negative amount is none."""
        free = np.maximum(free, 0)
        devices = np.where(np.arange(int(free[:, 2].max(initial=0))) < free[:, 2:], WHOLE, 0)
        return cls(free[:, :2].copy(), devices, np.zeros(len(free), np.int64) if model is None else model)

    def copy(self) -> Nodes:
        return Nodes(self.room.copy(), self.devices.copy(), self.model)

    def take(self, shape: Shape, seat: Seat) -> None:
        """In place."""
        self.room[seat.node] -= shape.need[:2]
        self.devices[seat.node, list(seat.devices)] -= shape.part


@dataclass(frozen=True, slots=True)
class Usual:
    """The shapes that are usually asked for and how often each was. Those without GPUs weigh nothing: to them every GPU is a fragment anywhere."""

    counts: Mapping[Shape, int]
    _rows: tuple[Ints, NDArray[np.int32], Floats, NDArray[np.intp], Ints] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        kept = sorted((-count, shape) for shape, count in self.counts.items() if shape.need[2] > 0 and count > 0)[:USUAL]
        need = np.array([shape.need for _, shape in kept], np.int64).reshape(len(kept), 3)
        parts, which = np.unique(np.array([shape.part for _, shape in kept], np.int32), return_inverse=True)
        picky = np.array([i for i, (_, shape) in enumerate(kept) if shape.models], np.int64)
        object.__setattr__(self, "_rows", (need, parts, np.array([-float(c) for c, _ in kept]), which, picky))
        object.__setattr__(self, "counts", {shape: -c for c, shape in kept})

    def fragments(self, nodes: Nodes) -> Floats:
        """float64[n]: thousandths of a GPU that a shape cannot use, summed over the counts. Whole numbers, so that ties are ties."""
        need, parts, counts, which, picky = self._rows
        if not len(counts):
            return np.zeros(len(nodes.room))
        devices = np.ascontiguousarray(nodes.devices.T, np.int32)  # [g, n]: nodes come last, where arrays are long
        able, usable = np.zeros((2, len(parts), len(nodes.room)), np.int32)
        for device in devices:
            enough = device >= parts[:, None]
            able += enough
            usable += enough * device
        fits = able[which] >= need[:, 2:]  # [shape, n]
        fits &= nodes.room[:, 0] >= need[:, :1]
        fits &= nodes.room[:, 1] >= need[:, 1:2]
        if len(picky):
            shapes = list(self.counts)
            for i in picky:
                fits[i] &= np.isin(nodes.model, shapes[i].models)
        total: Floats = devices.sum(axis=0) * float(counts.sum())
        return total - counts @ (usable[which] * fits).astype(np.float64)


class _Options(NamedTuple):
    """Seats that are open to one shape, one a row, and what each leads to: growth of fragments, then what is left."""

    node: Ints
    device: Ints  # the one GPU that is shared; -1: whole ones, or none
    price: Floats  # [options, 5]: growth, then left of: the node's GPUs, the shared GPU, cores, memory

    def best(self) -> int:
        """The row of least price, the lowest node among equals; -1: none."""
        rows = np.arange(len(self.node))
        for column in self.price.T:
            if len(rows) <= 1:
                break
            values = column[rows]
            rows = rows[values == values.min()]
        return int(rows[np.argmin(self.node[rows])]) if len(rows) else -1

    def without(self, node: int) -> _Options:
        kept = self.node != node
        return _Options(self.node[kept], self.device[kept], self.price[kept])


def choose(
    nodes: Nodes, gang: Sequence[Shape], usual: Usual, *, apart: bool = False, closed: Sequence[int] = ()
) -> tuple[Seat, ...] | None:
    """A seat for each task of the gang, in its order, or None where not all find one; nothing is taken.

    apart: no two on one node; closed: nodes that may not be used. A gang of equal tasks is placed whenever it can be; of unequal ones the
    largest are placed first, and None is then no proof. InvalidInput (gpus.part) where a task wants parts of several GPUs.
    """
    for shape in gang:
        if not 0 < shape.part <= WHOLE or (shape.part < WHOLE and shape.need[2] > 1):
            raise InvalidInput("gpus.part", f"{shape.part} thousandths of each of {shape.need[2]} GPUs", hint="a part (1 to 999) is of one GPU; several are whole")
    left = nodes.copy() if len(gang) > 1 else nodes
    barred = set(closed)
    seats: dict[int, Seat] = {}
    for shape in sorted(set(gang), key=lambda s: (s.need[2] * s.part, s), reverse=True):
        options = _options(left, shape, usual, _open(left, barred))
        for i in (i for i, other in enumerate(gang) if other == shape):
            row = options.best()
            if row < 0:
                return None
            seats[i] = seat = _seat(left, shape, options, row)
            if len(seats) == len(gang):
                break
            left.take(shape, seat)
            options = options.without(seat.node)
            if apart:
                barred.add(seat.node)
            else:  # only this node has changed
                options = _joined(options, _options(left, shape, usual, np.array([seat.node])))
    return tuple(seats[i] for i in range(len(gang)))


def _open(nodes: Nodes, barred: set[int]) -> Ints:
    rows: Ints = np.arange(len(nodes.room))
    return rows[~np.isin(rows, list(barred))] if barred else rows


def _options(nodes: Nodes, shape: Shape, usual: Usual, rows: Ints) -> _Options:
    (cores, memory, gpus), part = shape.need, shape.part
    fits = (nodes.room[rows, 0] >= cores) & (nodes.room[rows, 1] >= memory)
    if gpus:
        fits &= (nodes.devices[rows] >= part).sum(axis=1) >= gpus
    if shape.models and gpus:
        fits &= np.isin(nodes.model[rows], shape.models)
    rows = rows[fits]
    devices = nodes.devices[rows]
    before = usual.fragments(Nodes(nodes.room[rows], devices, nodes.model[rows]))
    if gpus and part < WHOLE:  # each GPU that has enough, of those alike on a node the first
        order = np.arange(devices.shape[1])
        alike = (devices[:, :, None] == devices[:, None, :]) & (order[:, None] > order)
        which, device = np.nonzero((devices >= part) & ~alike.any(axis=2))
        after = devices[which]
        after[np.arange(len(which)), device] -= part
        shared = after[np.arange(len(which)), device]
    else:
        which, device, shared = np.arange(len(rows)), np.full(len(rows), -1), np.zeros(len(rows), np.int64)
        able = devices >= part
        after = devices - part * (able & (np.cumsum(able, axis=1) <= gpus))
    room = nodes.room[rows[which]] - (cores, memory)
    growth = usual.fragments(Nodes(room, after, nodes.model[rows[which]])) - before[which]
    return _Options(rows[which], device, np.column_stack([growth, after.sum(axis=1), shared, room]).astype(np.float64))


def _seat(nodes: Nodes, shape: Shape, options: _Options, row: int) -> Seat:
    node, device = int(options.node[row]), int(options.device[row])
    if device >= 0:
        return Seat(node, (device,))
    able = np.flatnonzero(nodes.devices[node] >= shape.part)
    return Seat(node, tuple(int(g) for g in able[: shape.need[2]]))


def _joined(a: _Options, b: _Options) -> _Options:
    return _Options(np.concatenate([a.node, b.node]), np.concatenate([a.device, b.device]), np.concatenate([a.price, b.price]))
