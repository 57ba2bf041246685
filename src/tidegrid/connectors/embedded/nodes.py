"""What a partition has, who holds it, and which waiting tasks start now.

The queue itself is `scheduling.queue.start_now` over the partition as one pool; here its choice is fitted onto nodes: first fit, and
where there are GPUs as `scheduling.gpus` chooses, so that those left over suit what was lately asked for. A task over several nodes takes
all of them at once or none. One that the pool could hold and the nodes cannot (fragments) keeps those that can hold it first for itself:
tasks behind it may use them only if they end before. Where it is the first of the queue it keeps them until it starts.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict, deque
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from tidegrid.connectors.embedded.config import PartitionConfig
from tidegrid.domain.ranges import compress, expand
from tidegrid.scheduling.gpus import Nodes, Shape, Usual, choose
from tidegrid.scheduling.queue import start_now

Need = tuple[int, int, int]  # cores, MiB, GPUs
ROUNDS = 8  # how often the pool is asked again without the tasks that the nodes could not hold
LATELY = 512  # how many of the nodes last asked for tell what is usual, where there are GPUs


class Wanted(NamedTuple):
    """A task that waits: `each` on each of so many nodes."""

    key: Hashable
    each: Need
    wall_s: int
    nodes: int = 1

    @property
    def need(self) -> Need:
        return times(self.each, self.nodes)


class Seat(NamedTuple):
    """What a task has of one node: its own cpus (none where cores are shared) and GPUs, which every node numbers from 0."""

    node: int
    cpus: tuple[int, ...] = ()
    gpus: tuple[int, ...] = ()

    def line(self) -> str:
        return f"{self.node};{compress(self.cpus)};{compress(self.gpus)}"

    @classmethod
    def read(cls, line: str) -> Seat:
        """ValueError where it is no line of a seat."""
        node, cpus, gpus = line.split(";")
        return cls(int(node), expand(cpus), expand(gpus))


@dataclass(frozen=True, slots=True)
class Place:
    """Where a task runs: a seat on each of its nodes, with `each` of them."""

    seats: tuple[Seat, ...]
    each: Need
    ends_s: int

    @property
    def need(self) -> Need:
        return times(self.each, len(self.seats))

    @property
    def cpus(self) -> tuple[int, ...]:
        return tuple(c for seat in self.seats for c in seat.cpus)


@dataclass
class _Node:
    free: list[int]
    slots: list[int]  # free core numbers, lowest first
    gpus: list[int]


class _Kept(NamedTuple):
    """Nodes that are kept for the task `key`, and when they can hold it."""

    key: Hashable
    nodes: frozenset[int]
    until: int

    def closed(self, task: Wanted, now_s: int) -> frozenset[int]:
        """Where the task may not go."""
        return frozenset() if task.key == self.key or now_s + task.wall_s <= self.until else self.nodes


_NOTHING = _Kept(None, frozenset(), 0)


@dataclass
class Partition:
    """Allocation state of one partition. Times are whole seconds of the supervisor's clock."""

    config: PartitionConfig
    policy: str
    held: dict[Hashable, Place] = field(default_factory=dict)
    _since: dict[Hashable, int] = field(default_factory=dict)  # when each waiting task was first seen
    _asked: deque[Need] = field(default_factory=lambda: deque(maxlen=LATELY))  # of each node of each task
    _front: Hashable = None  # the task for which nodes are kept

    def __post_init__(self) -> None:
        c = self.config
        self._nodes = [
            _Node([c.cores, c.memory_mib, c.gpus], list(range(c.cores)), list(range(c.gpus))) for _ in range(c.nodes)
        ]

    @property
    def largest(self) -> Need:
        return (self.config.cores, self.config.memory_mib, self.config.gpus)

    def total(self) -> Need:
        return times(self.largest, self.config.nodes)

    def free(self) -> Need:
        return tuple(sum(n.free[k] for n in self._nodes) for k in range(3))  # type: ignore[return-value]

    def holes(self) -> list[tuple[int, ...]]:
        """(how many nodes, cores, MiB, GPUs free on each), of those with a core free."""
        free = Counter(tuple(n.free) for n in self._nodes if n.free[0] > 0)
        return [(count, *(max(0, f) for f in room)) for room, count in sorted(free.items())]

    def devices(self, place: Place) -> list[int]:
        """Its GPUs as the host numbers them. All nodes are on one host, and its GPUs belong to them node by node, as its CPUs do."""
        return [seat.node * self.config.gpus + gpu for seat in place.seats for gpu in seat.gpus]

    def choose(self, now_s: int, queue: Sequence[Wanted]) -> list[tuple[Hashable, Place]]:
        """Start what may start of `queue`, which is in its order; allocates and returns the places."""
        placed: list[tuple[Hashable, Place]] = []
        waiting = list(queue)
        self._asked.extend(task.each for task in queue if task.key not in self._since for _ in range(task.nodes))
        self._since = {task.key: self._since.get(task.key, now_s) for task in queue}
        kept = self._still_kept(now_s, queue)
        for _ in range(ROUNDS):
            misfits = set()
            for row in self._chosen(now_s, waiting):
                task = waiting[row]
                nodes = self._fit(task, kept.closed(task, now_s))
                if nodes is not None:
                    placed.append((task.key, self._take(task, nodes, now_s)))
                    kept = _NOTHING if task.key == kept.key else kept
                    continue
                misfits.add(task.key)
                if not kept.nodes:
                    kept = self._frees_first(task, now_s)
            if not misfits:
                break
            done = misfits | {key for key, _ in placed}
            waiting = [task for task in waiting if task.key not in done]
        self._front = kept.key
        return placed

    def _still_kept(self, now_s: int, queue: Sequence[Wanted]) -> _Kept:
        """For whom nodes were kept at the last look, while nobody comes before it: the pool may have given its room to those behind."""
        front = next((task for task in queue if task.key == self._front), None)
        if front is None:
            return _NOTHING
        first = self._asked_of_pool(now_s, queue, self.total(), ())[:1]
        return self._frees_first(front, now_s) if [queue[row] for row in first] == [front] else _NOTHING

    def _chosen(self, now_s: int, queue: Sequence[Wanted]) -> list[int]:
        free = self.free()
        return self._asked_of_pool(now_s, queue, free, list(self.held.values())) if queue and free[0] > 0 else []

    def _asked_of_pool(self, now_s: int, queue: Sequence[Wanted], free: Need, running: Sequence[Place]) -> list[int]:
        """Rows of the queue that start, in their order."""
        return [
            int(row)
            for row in start_now(
                self.policy,
                now_s,
                np.array(free, dtype=np.int64),
                np.array([max(p.ends_s, now_s) for p in running], dtype=np.int64),
                np.array([p.need for p in running], dtype=np.int64).reshape(len(running), 3),
                np.array([task.need for task in queue], dtype=np.int64).reshape(len(queue), 3),
                np.array([task.wall_s for task in queue], dtype=np.int64),
                np.array([self._since[task.key] for task in queue], dtype=np.int64),
            )
        ]

    def adopt(self, key: Hashable, seats: Sequence[Seat], each: Need, ends_s: int) -> None:
        """A task that runs already, on the seats that it was given; counted even where the settings have shrunk since."""
        for seat in seats:
            if not 0 <= seat.node < len(self._nodes):
                continue
            n = self._nodes[seat.node]
            for k in range(3):
                n.free[k] -= each[k]
            base = seat.node * self.config.cores
            n.slots = [s for s in n.slots if not self.config.cpus or self.config.cpus[base + s] not in seat.cpus]
            n.gpus = [g for g in n.gpus if g not in seat.gpus]
        self.held[key] = Place(tuple(seats), each, ends_s)
        self._asked.extend([each] * len(seats))

    def release(self, key: Hashable) -> None:
        place = self.held.pop(key, None)
        if place is None:
            return
        for seat in place.seats:
            if not 0 <= seat.node < len(self._nodes):
                continue
            n = self._nodes[seat.node]
            for k in range(3):
                n.free[k] += place.each[k]
            base = seat.node * self.config.cores
            if self.config.cpus:
                own = self.config.cpus[base : base + self.config.cores]
                n.slots = sorted({*n.slots, *(own.index(c) for c in seat.cpus if c in own)})
            n.gpus = sorted({*n.gpus, *seat.gpus})

    def _fit(self, task: Wanted, closed: Collection[int]) -> tuple[int, ...] | None:
        """As many nodes as it wants, each another; None where so many cannot hold it."""
        if not self.config.gpus:
            return self._first_fit(task, closed)
        free = Nodes.whole(np.array([n.free for n in self._nodes], np.int64))
        usual = Usual(Counter(Shape(asked) for asked in self._asked))
        seats = choose(free, [Shape(task.each)] * task.nodes, usual, apart=True, closed=sorted(closed))
        return tuple(seat.node for seat in seats) if seats else None

    def _first_fit(self, task: Wanted, closed: Collection[int]) -> tuple[int, ...] | None:
        fits = (i for i, n in enumerate(self._nodes) if i not in closed and _holds(n.free, task.each))
        found = tuple(itertools.islice(fits, task.nodes))
        return found if len(found) == task.nodes else None

    def _take(self, task: Wanted, nodes: Sequence[int], now_s: int) -> Place:
        place = Place(tuple(self._seat(i, task.each) for i in nodes), task.each, now_s + task.wall_s)
        self.held[task.key] = place
        return place

    def _seat(self, node: int, need: Need) -> Seat:
        n = self._nodes[node]
        for k in range(3):
            n.free[k] -= need[k]
        cpus: tuple[int, ...] = ()
        if self.config.cpus:
            slots, n.slots = n.slots[: need[0]], n.slots[need[0] :]
            cpus = tuple(self.config.cpus[node * self.config.cores + s] for s in slots)
        gpus, n.gpus = tuple(n.gpus[: need[2]]), n.gpus[need[2] :]
        return Seat(node, cpus, gpus)

    def _frees_first(self, task: Wanted, now_s: int) -> _Kept:
        """The nodes that can hold it first, and when the last of them can; none where it never fits."""
        held: dict[int, list[Place]] = defaultdict(list)
        for place in sorted(self.held.values(), key=lambda p: p.ends_s):
            for seat in place.seats:
                held[seat.node].append(place)
        when = ((self._holds_at(i, task.each, held[i], now_s), i) for i in range(len(self._nodes)))
        first = sorted((at, i) for at, i in when if at is not None)[: task.nodes]
        if len(first) < task.nodes:
            return _NOTHING
        return _Kept(task.key, frozenset(i for _, i in first), first[-1][0])

    def _holds_at(self, node: int, need: Need, held: Sequence[Place], now_s: int) -> int | None:
        """When it has room, if those who hold it go in this order."""
        free = self._nodes[node].free
        if _holds(free, need):
            return now_s
        for place in held:
            free = [f + x for f, x in zip(free, place.each, strict=True)]
            if _holds(free, need):
                return max(place.ends_s, now_s)
        return None


def times(each: Need, nodes: int) -> Need:
    """What so many nodes of it are together."""
    return (each[0] * nodes, each[1] * nodes, each[2] * nodes)


def _holds(free: Sequence[int], need: Need) -> bool:
    return all(f >= x for f, x in zip(free, need, strict=True))
