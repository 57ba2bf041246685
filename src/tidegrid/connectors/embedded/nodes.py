"""What a partition has, who holds it, and which waiting tasks start now.

The queue itself is `scheduling.queue.start_now` over the partition as one pool; here its choice is fitted onto nodes: first fit, and
where there are GPUs as `scheduling.gpus` chooses, so that those left over suit what was lately asked for. A task that the pool could hold and no node can (fragments) keeps the node that frees up first for itself: tasks behind it may use
that node only if they end before.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np

from tidegrid.connectors.embedded.config import PartitionConfig
from tidegrid.scheduling.gpus import Nodes, Shape, Usual, choose
from tidegrid.scheduling.queue import start_now

Need = tuple[int, int, int]  # cores, MiB, GPUs
ROUNDS = 8  # how often the pool is asked again without the tasks that no node could hold
LATELY = 512  # how many of the last tasks tell what is usually asked for, where there are GPUs


@dataclass(frozen=True, slots=True)
class Place:
    """Where a task runs: cpus and gpus are its own there (cpus is empty where cores are shared)."""

    node: int
    need: Need
    ends_s: int
    cpus: tuple[int, ...]
    gpus: tuple[int, ...]


@dataclass
class _Node:
    free: list[int]
    slots: list[int]  # free core numbers, lowest first
    gpus: list[int]


@dataclass
class Partition:
    """Allocation state of one partition. Times are whole seconds of the supervisor's clock."""

    config: PartitionConfig
    policy: str
    held: dict[Hashable, Place] = field(default_factory=dict)
    _since: dict[Hashable, int] = field(default_factory=dict)  # when each waiting task was first seen
    _asked: deque[Need] = field(default_factory=lambda: deque(maxlen=LATELY))

    def __post_init__(self) -> None:
        c = self.config
        self._nodes = [
            _Node([c.cores, c.memory_mib, c.gpus], list(range(c.cores)), list(range(c.gpus))) for _ in range(c.nodes)
        ]

    @property
    def largest(self) -> Need:
        return (self.config.cores, self.config.memory_mib, self.config.gpus)

    def total(self) -> Need:
        c = self.config
        return (c.nodes * c.cores, c.nodes * c.memory_mib, c.nodes * c.gpus)

    def free(self) -> Need:
        return tuple(sum(n.free[k] for n in self._nodes) for k in range(3))  # type: ignore[return-value]

    def choose(self, now_s: int, queue: Sequence[tuple[Hashable, Need, int]]) -> list[tuple[Hashable, Place]]:
        """Start what may start of `queue`, rows (key, need, wall_s) in queue order; allocates and returns the places."""
        placed: list[tuple[Hashable, Place]] = []
        waiting = list(queue)
        self._asked.extend(need for key, need, _ in queue if key not in self._since)
        self._since = {key: self._since.get(key, now_s) for key, _, _ in queue}
        barred, until = -1, 0
        for _ in range(ROUNDS):
            misfits = set()
            for row in self._chosen(now_s, waiting):
                key, need, wall_s = waiting[row]
                node = self._node(need, barred if now_s + wall_s > until else -1)
                if node is not None:
                    placed.append((key, self._take(key, node, need, now_s + wall_s)))
                    continue
                misfits.add(key)
                if barred < 0:
                    barred, until = self._frees_first(need, now_s)
            if not misfits:
                break
            done = misfits | {key for key, _ in placed}
            waiting = [row for row in waiting if row[0] not in done]
        return placed

    def _chosen(self, now_s: int, queue: Sequence[tuple[Hashable, Need, int]]) -> list[int]:
        free = self.free()
        if not queue or free[0] <= 0:
            return []
        running = list(self.held.values())
        return [
            int(row)
            for row in start_now(
                self.policy,
                now_s,
                np.array(free, dtype=np.int64),
                np.array([max(p.ends_s, now_s) for p in running], dtype=np.int64),
                np.array([p.need for p in running], dtype=np.int64).reshape(len(running), 3),
                np.array([need for _, need, _ in queue], dtype=np.int64).reshape(len(queue), 3),
                np.array([wall for _, _, wall in queue], dtype=np.int64),
                np.array([self._since[key] for key, _, _ in queue], dtype=np.int64),
            )
        ]

    def adopt(
        self, key: Hashable, node: int, need: Need, ends_s: int, cpus: Sequence[int], gpus: Sequence[int]
    ) -> None:
        """A task that runs already, as its journal line says; counted even where the settings have shrunk since."""
        if 0 <= node < len(self._nodes):
            n = self._nodes[node]
            for k in range(3):
                n.free[k] -= need[k]
            base = node * self.config.cores
            n.slots = [s for s in n.slots if not self.config.cpus or self.config.cpus[base + s] not in cpus]
            n.gpus = [g for g in n.gpus if g not in gpus]
        self.held[key] = Place(node, need, ends_s, tuple(cpus), tuple(gpus))
        self._asked.append(need)

    def release(self, key: Hashable) -> None:
        place = self.held.pop(key, None)
        if place is None or place.node >= len(self._nodes):
            return
        n = self._nodes[place.node]
        for k in range(3):
            n.free[k] += place.need[k]
        base = place.node * self.config.cores
        if self.config.cpus:
            own = self.config.cpus[base : base + self.config.cores]
            n.slots = sorted({*n.slots, *(own.index(c) for c in place.cpus if c in own)})
        n.gpus = sorted({*n.gpus, *place.gpus})

    def _node(self, need: Need, barred: int) -> int | None:
        if not self.config.gpus:
            return self._first_fit(need, barred)
        free = Nodes.whole(np.array([n.free for n in self._nodes], np.int64))
        usual = Usual(Counter(Shape(asked) for asked in self._asked))
        seats = choose(free, [Shape(need)], usual, closed=(barred,))
        return seats[0].node if seats else None

    def _first_fit(self, need: Need, barred: int) -> int | None:
        for i, n in enumerate(self._nodes):
            if i != barred and all(n.free[k] >= need[k] for k in range(3)):
                return i
        return None

    def _take(self, key: Hashable, node: int, need: Need, ends_s: int) -> Place:
        n = self._nodes[node]
        for k in range(3):
            n.free[k] -= need[k]
        cpus: tuple[int, ...] = ()
        if self.config.cpus:
            slots, n.slots = n.slots[: need[0]], n.slots[need[0] :]
            cpus = tuple(self.config.cpus[node * self.config.cores + s] for s in slots)
        gpus, n.gpus = tuple(n.gpus[: need[2]]), n.gpus[need[2] :]
        place = Place(node, need, ends_s, cpus, gpus)
        self.held[key] = place
        return place

    def _frees_first(self, need: Need, now_s: int) -> tuple[int, int]:
        """The node that can hold `need` first, and when."""
        best, best_s = -1, 1 << 62
        for i, n in enumerate(self._nodes):
            free = list(n.free)
            for p in sorted((p for p in self.held.values() if p.node == i), key=lambda p: p.ends_s):
                for k in range(3):
                    free[k] += p.need[k]
                if all(free[k] >= need[k] for k in range(3)):
                    if p.ends_s < best_s:
                        best, best_s = i, max(p.ends_s, now_s)
                    break
        return best, best_s
