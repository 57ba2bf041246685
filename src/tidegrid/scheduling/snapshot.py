"""The network at one instant, frozen: arrays over partitions, from which a decision can be made again, byte for byte.

P partitions, K resource kinds, times in integer seconds from `epoch_s` (a unix time). What is kept with a decision is the
`revision`, the content hash; `to_bytes` and `from_bytes` carry the snapshot itself.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidegrid.domain.errors import Broken, InvalidInput
from tidegrid.domain.job import Resources
from tidegrid.rating.book import Supply
from tidegrid.rating.rates import Rates
from tidegrid.scheduling import forecasts, holes
from tidegrid.scheduling import software as programs
from tidegrid.scheduling.software import Software

SCHEMA = 3
_READABLE = (1, 2, 3)  # 1 knew nothing of software, 2 nothing of holes
KINDS = ("millicores", "memory_mib", "gpus")
SUPPLIES = (Supply.CO_BUILT, Supply.PURCHASED)
_MAGIC = b"TGSNAP1\n"

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class Health(IntEnum):
    """Whether new work may go there."""

    UP = 0
    UNHEALTHY = 1  # silent, or not yet heard of
    DRAINED = 2  # by an operator
    FAILING = 3  # drained by itself, until probes succeed
    SUSPECT = 4  # may be used, at a disadvantage


def need_of(resources: Resources) -> tuple[int, int, int]:
    """One task's need over all its nodes, in the order of KINDS."""
    n = resources.nodes
    return (resources.cores * 1000 * n, resources.memory_mib * n, resources.gpus * n)


@dataclass(frozen=True, slots=True)
class PartitionRow:
    """One partition as `Snapshot.build` takes it; capacity, free, largest and needs in the order of KINDS.

    largest: the largest node; max_wall_s: 0 for no limit; running: (expected end from epoch_s, need) rows; waiting: (estimate, need)
    rows in queue order; holes: nodes on which something is free, see `holes`; sell, cost: None where no price is known, which refuses the partition; speed: relative to the
    reference that run-time predictions are for; staging_s: delay before a transfer; bandwidth: bytes/s.
    """

    cluster: str
    partition: str
    region: str
    arch: str
    capacity: Sequence[int]
    free: Sequence[int]
    largest: Sequence[int]
    sell: Rates | None
    cost: Rates | None
    gpu_type: str = ""
    max_wall_s: int = 0
    health: Health = Health.UP
    supply: Supply = Supply.CO_BUILT
    speed: float = 1.0
    staging_s: float = 0.0
    bandwidth: float = 100e6
    policy: str = "easy"
    running: Sequence[tuple[int, Sequence[int]]] = ()
    waiting: Sequence[tuple[int, Sequence[int]]] = ()
    holes: Sequence[holes.Row] = ()


def with_sent(row: PartitionRow, sent: Iterable[tuple[int, Sequence[int], int]]) -> PartitionRow:
    """With the tasks that were sent there and that its load does not show yet, rows (estimate, need, nodes) in the order in which they were: the first
    ones hold what is free, as long as nobody waits; the others wait at the queue's tail."""
    free, running, waiting, left = list(row.free), list(row.running), list(row.waiting), list(row.holes)
    for wall_s, need, nodes in sent:
        each = holes.each_of(need, nodes)
        if not waiting and all(f >= n for f, n in zip(free, need, strict=True)) and holes.hold(left, each, nodes):
            free = [f - n for f, n in zip(free, need, strict=True)]
            left = holes.take(left, each, nodes)
            running.append((wall_s, need))
        else:
            waiting.append((wall_s, need))
    return replace(row, free=free, running=running, waiting=waiting, holes=left)


@dataclass(frozen=True, eq=False)
class Snapshot:
    """partitions: "cluster/partition" names; cluster, region, arch, gpu_type int64[P]: codes into the name tuples; capacity,
    free, largest int64[P,K]; max_wall_s int64[P], 0 for no limit; health int64[P]: `Health`; sell, cost int64[P,3]: 1e-8 yuan per
    (core, GPU, GiB)-hour, -1 where unknown; supply int64[P]: index into SUPPLIES; speed, staging_s (s), bandwidth (bytes/s)
    float64[P]; easy bool[P]: EASY backfill there, else FCFS.

    running jobs of partition p: rows run_ptr[p]:run_ptr[p+1] of run_end_s int64[R], run_need int64[R,K]; waiting ones: rows of
    wait_ptr, wait_wall_s, wait_need; its holes (`holes`): rows of hole_ptr, hole_nodes int64[H], hole_free int64[H,K]. apps: names known to be installed only where `installed` bool[A,P] says; software: what is
    known of installations, licences and machines. wait_table float64[P,N,4]: what forward runs were worth there (`forecasts`); nothing is known
    where it is left out.
    """

    epoch_s: int
    partitions: tuple[str, ...]
    clusters: tuple[str, ...]
    regions: tuple[str, ...]
    archs: tuple[str, ...]
    gpu_types: tuple[str, ...]
    cluster: Ints
    region: Ints
    arch: Ints
    gpu_type: Ints
    capacity: Ints
    free: Ints
    largest: Ints
    max_wall_s: Ints
    health: Ints
    sell: Ints
    cost: Ints
    supply: Ints
    speed: Floats
    staging_s: Floats
    bandwidth: Floats
    easy: Bools
    run_ptr: Ints
    run_end_s: Ints
    run_need: Ints
    wait_ptr: Ints
    wait_wall_s: Ints
    wait_need: Ints
    apps: tuple[str, ...]
    installed: Bools
    wait_table: Floats = field(default_factory=lambda: np.empty((0, 0, 0)))
    hole_ptr: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    hole_nodes: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    hole_free: Ints = field(default_factory=lambda: np.empty((0, len(KINDS)), np.int64))
    kinds: tuple[str, ...] = KINDS
    schema: int = SCHEMA
    software: Software = None  # type: ignore[assignment]  # None: nothing is known
    memo: dict[str, Any] = field(init=False, repr=False, default_factory=dict)  # what `placement` derived; never stored

    def __post_init__(self) -> None:
        if self.software is None:
            object.__setattr__(self, "software", programs.table(self.partitions))
        if not len(self.wait_table):
            object.__setattr__(self, "wait_table", forecasts.cold(len(self.partitions)))
        if not len(self.hole_ptr):
            object.__setattr__(self, "hole_ptr", np.zeros(len(self.partitions) + 1, np.int64))
        shapes = _shapes(self)
        for name, value in self._fields():
            if isinstance(value, np.ndarray):
                if value.shape != shapes[name]:
                    raise InvalidInput("snapshot.shape", f"{name} has shape {value.shape}, not {shapes[name]}")
                value.setflags(write=False)

    def _fields(self) -> list[tuple[str, Any]]:
        """All that is stored, by name; what is known of software as `software.apps` and so on."""
        own = [(f.name, getattr(self, f.name)) for f in dataclasses.fields(self) if f.name not in ("memo", "software")]
        if self.schema < 3:
            own = [(name, value) for name, value in own if not name.startswith("hole_")]
        if self.schema < 2:
            return own
        return own + [(f"software.{name}", value) for name, value in programs.to_fields(self.software).items()]

    @staticmethod
    def build(
        epoch_s: int,
        rows: Sequence[PartitionRow],
        apps: Mapping[str, Sequence[str]] | None = None,
        software: Callable[[Sequence[str]], Software] | None = None,
        wait_tables: Mapping[str, Floats] | None = None,
    ) -> Snapshot:
        """A snapshot of `rows`. apps: application -> the clusters or partitions that have it; an application not named
        there is taken to be everywhere; software: makes the arrays of the partitions' names; wait_tables: by the partition's name,
        cold where it has none. InvalidInput snapshot.shape where a row has not one number a kind."""
        names = tuple(f"{r.cluster}/{r.partition}" for r in rows)
        if len(set(names)) != len(names):
            raise InvalidInput("snapshot.shape", "a partition is named twice")
        clusters, cluster = _coded([r.cluster for r in rows])
        regions, region = _coded([r.region for r in rows])
        archs, arch = _coded([r.arch for r in rows])
        gpu_types, gpu_type = _coded([r.gpu_type for r in rows])
        running = [j for r in rows for j in r.running]
        waiting = [j for r in rows for j in r.waiting]
        with_room = [h for r in rows for h in r.holes]
        installed = {
            app: [r.cluster in places or name in places for r, name in zip(rows, names, strict=True)]
            for app, places in sorted((apps or {}).items())
        }
        return Snapshot(
            epoch_s=epoch_s,
            partitions=names,
            clusters=clusters,
            regions=regions,
            archs=archs,
            gpu_types=gpu_types,
            cluster=cluster,
            region=region,
            arch=arch,
            gpu_type=gpu_type,
            capacity=_table([r.capacity for r in rows]),
            free=_table([r.free for r in rows]),
            largest=_table([r.largest for r in rows]),
            max_wall_s=np.array([r.max_wall_s for r in rows], np.int64),
            health=np.array([int(r.health) for r in rows], np.int64),
            sell=_prices([r.sell for r in rows]),
            cost=_prices([r.cost for r in rows]),
            supply=np.array([SUPPLIES.index(r.supply) for r in rows], np.int64),
            speed=np.array([r.speed for r in rows], np.float64),
            staging_s=np.array([r.staging_s for r in rows], np.float64),
            bandwidth=np.array([r.bandwidth for r in rows], np.float64),
            easy=np.array([r.policy == "easy" for r in rows], np.bool_),
            run_ptr=_pointers([len(r.running) for r in rows]),
            run_end_s=np.array([end for end, _ in running], np.int64),
            run_need=_table([need for _, need in running]),
            wait_ptr=_pointers([len(r.waiting) for r in rows]),
            wait_wall_s=np.array([wall for wall, _ in waiting], np.int64),
            wait_need=_table([need for _, need in waiting]),
            apps=tuple(installed),
            installed=np.array(list(installed.values()), np.bool_).reshape(len(installed), len(rows)),
            software=software(names) if software is not None else programs.table(names),
            wait_table=_wait_tables(names, wait_tables or {}),
            hole_ptr=_pointers([len(r.holes) for r in rows]),
            hole_nodes=np.array([n for n, _ in with_room], np.int64),
            hole_free=_table([free for _, free in with_room]),
        )

    @property
    def usable(self) -> Bools:
        """bool[P]: up, if suspect, and not drained."""
        up: Bools = (self.health == Health.UP) | (self.health == Health.SUSPECT)
        return up

    def has_app(self, app: str) -> Bools:
        """bool[P]: where `app` is installed."""
        everywhere: Bools = np.ones(len(self.partitions), np.bool_)
        there: Bools = self.installed[self.apps.index(app)] if app in self.apps else everywhere
        return there

    def holes_of(self, p: int) -> list[holes.Row]:
        """Partition p's, see `holes`."""
        rows = slice(int(self.hole_ptr[p]), int(self.hole_ptr[p + 1]))
        return [(n, tuple(free)) for n, free in zip(self.hole_nodes[rows].tolist(), self.hole_free[rows].tolist(), strict=True)]

    @cached_property
    def places(self) -> dict[str, Ints]:
        """Partition indices by name of cluster and of cluster/partition."""
        out = {name: np.array([i], np.int64) for i, name in enumerate(self.partitions)}
        return out | {name: np.flatnonzero(self.cluster == c) for c, name in enumerate(self.clusters)}

    def sell_rates(self, p: int) -> Rates:
        return Rates(*(int(x) for x in self.sell[p]))

    def cost_rates(self, p: int) -> Rates:
        return Rates(*(int(x) for x in self.cost[p]))

    @cached_property
    def _body(self) -> bytes:
        head: dict[str, Any] = {}
        arrays: list[bytes] = []
        for name, value in self._fields():
            if isinstance(value, np.ndarray):
                little = np.ascontiguousarray(value).astype(value.dtype.newbyteorder("<"), copy=False)
                head[name] = [little.dtype.str, list(value.shape)]
                arrays.append(little.tobytes())
            else:
                head[name] = value
        text = json.dumps(head, separators=(",", ":"), ensure_ascii=False).encode()
        return b"".join([len(text).to_bytes(8, "little"), text, *arrays])

    @cached_property
    def revision(self) -> str:
        """SHA-256 of the content, in hex."""
        return hashlib.sha256(self._body).hexdigest()

    def to_bytes(self) -> bytes:
        """Compressed; the same content gives the same bytes."""
        return _MAGIC + zlib.compress(self._body, 6)

    @staticmethod
    def from_bytes(data: bytes) -> Snapshot:
        """Broken (snapshot.corrupt, snapshot.schema) where `data` is no snapshot of this schema."""
        try:
            if data[: len(_MAGIC)] != _MAGIC:
                raise ValueError("not a snapshot")
            body = zlib.decompress(data[len(_MAGIC) :])
            at = 8 + int.from_bytes(body[:8], "little")
            head = json.loads(body[8:at])
            if head["schema"] not in _READABLE:
                raise Broken(
                    "snapshot.schema", f"the snapshot has schema {head['schema']}, this program reads {SCHEMA}"
                )
            values: dict[str, Any] = {}
            for name, value in head.items():
                if isinstance(value, list) and len(value) == 2 and isinstance(value[1], list):
                    size = int(np.prod(value[1])) * np.dtype(value[0]).itemsize
                    flat = np.frombuffer(body, value[0], int(np.prod(value[1])), at) if size else np.empty(0, value[0])
                    values[name] = flat.reshape(value[1]).astype(np.dtype(value[0]).newbyteorder("="))
                    at += size
                else:
                    values[name] = tuple(value) if isinstance(value, list) else value
            if at != len(body):
                raise ValueError(f"{len(body) - at} bytes too many")
            known = {k: values.pop(k) for k in list(values) if k.startswith("software.")}
            if known:
                values["software"] = Software(**{k.partition(".")[2]: v for k, v in known.items()})
            return Snapshot(**values)
        except (ValueError, KeyError, TypeError, zlib.error, InvalidInput) as error:
            raise Broken("snapshot.corrupt", f"this is no snapshot: {error}") from None


def _shapes(s: Snapshot) -> dict[str, tuple[int, ...]]:
    p, k, r, w, h = len(s.partitions), len(s.kinds), len(s.run_end_s), len(s.wait_wall_s), len(s.hole_nodes)
    table: dict[str, tuple[int, ...]] = {f.name: (p,) for f in dataclasses.fields(s)}
    table.update(wait_table=(p, len(forecasts.NODES), 4), capacity=(p, k), free=(p, k), largest=(p, k), sell=(p, 3), cost=(p, 3), installed=(len(s.apps), p))
    table.update(run_ptr=(p + 1,), run_end_s=(r,), run_need=(r, k))
    table.update(hole_ptr=(p + 1,), hole_nodes=(h,), hole_free=(h, k))
    table.update(wait_ptr=(p + 1,), wait_wall_s=(w,), wait_need=(w, k))
    table.update({f"software.{name}": shape for name, shape in programs.shapes(s.software, p).items()})
    return table


def _wait_tables(names: Sequence[str], known: Mapping[str, Floats]) -> Floats:
    out = forecasts.cold(len(names))
    for i, name in enumerate(names):
        if name in known:
            out[i] = known[name]
    return out


def _coded(names: Sequence[str]) -> tuple[tuple[str, ...], Ints]:
    known = tuple(sorted(set(names)))
    code = {name: i for i, name in enumerate(known)}
    return known, np.array([code[n] for n in names], np.int64)


def _table(rows: Sequence[Sequence[int]]) -> Ints:
    if any(len(r) != len(KINDS) for r in rows):
        raise InvalidInput("snapshot.shape", f"every row needs {len(KINDS)} numbers: {', '.join(KINDS)}")
    return np.array(rows, np.int64).reshape(len(rows), len(KINDS))


def _prices(rates: Sequence[Rates | None]) -> Ints:
    return np.array([(-1, -1, -1) if r is None else r.as_tuple() for r in rates], np.int64).reshape(len(rates), 3)


def _pointers(counts: Sequence[int]) -> Ints:
    return np.concatenate((np.zeros(1, np.int64), np.cumsum(np.array(counts, np.int64))))
