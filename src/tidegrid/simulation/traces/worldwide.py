"""A network's workload: many partitions in regions, some with GPUs, each with its own users, and seasons over all of them.

Sizes, run times and the daily cycle are Lublin and Feitelson's; arrivals are Poisson under `seasons.hours`, as the sum of many users is;
GPUs a job are the published shape of Philly's (most ask for one, then 8, 4, 2, 16; M. Jeon et al., USENIX ATC 2019). A user keeps to applications of his own, whose run times lie close together, so that
history says something, as it does in real logs. Only arrival times and partitions are held for all jobs; everything else is drawn for some
jobs at a time, so that ten million jobs pass through little memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tidegrid.domain.errors import InvalidInput
from tidegrid.simulation.traces.lublin import check, estimates, runs, sizes, users
from tidegrid.simulation.traces.machines import Group
from tidegrid.simulation.traces.seasons import REGIONS, Region, hours
from tidegrid.simulation.traces.trace import COMPLETED, UNKNOWN, Header, Ints, Trace, build

GPU_KINDS = (("A100", 8), ("V100", 8), ("H800", 8), ("910B", 8))
_GPUS, _GPU_PART = np.array([1, 2, 4, 8, 16, 32, 64]), np.array([0.70, 0.06, 0.08, 0.10, 0.035, 0.017, 0.008])
CORES_A_GPU = 12
_APPLICATIONS = 24  # of a user; each has one run time and one size, more or less
CHUNK = 200_000
_PILOT = 4096


@dataclass(frozen=True, eq=False)
class Plan:
    """The machines of a generated network: one group a partition, and where it is."""

    groups: tuple[Group, ...]
    region: Ints
    regions: tuple[Region, ...]

    @property
    def processors(self) -> Ints:
        return np.array([g.nodes * g.processors for g in self.groups], np.int64)

    @property
    def gpus(self) -> Ints:
        return np.array([g.nodes * g.gpus for g in self.groups], np.int64)

    @property
    def gpu_type(self) -> Ints:
        kinds = [name for name, _ in GPU_KINDS]
        return np.array([kinds.index(g.gpu_type) if g.gpu_type else UNKNOWN for g in self.groups], np.int64)


def plan(rng: np.random.Generator, partitions: int, processors: int, *, gpu_part: float = 0.2, regions: tuple[Region, ...] = REGIONS) -> Plan:
    """Divide about `processors` over partitions whose sizes differ by a factor of 16; `gpu_part` of the partitions have GPUs.

    Raises InvalidInput `trace.generate` where a partition would have less than a node of 64.
    """
    if partitions < 1 or processors < 64 * partitions:
        raise InvalidInput("trace.generate", f"{processors} processors do not make {partitions} partitions of nodes of 64", hint="give more --processors")
    share = np.exp(rng.uniform(0, np.log(16), partitions))
    nodes = np.maximum(1, np.rint(share / share.sum() * processors / 64)).astype(int)
    where = np.searchsorted(np.cumsum([r.part for r in regions]), rng.random(partitions) * sum(r.part for r in regions))
    where = where.clip(0, len(regions) - 1)
    with_gpus = rng.random(partitions) < gpu_part
    kinds = rng.integers(0, len(GPU_KINDS), partitions)
    groups = []
    for i in range(partitions):
        kind, gpus = GPU_KINDS[kinds[i]]
        if with_gpus[i]:
            n = max(1, round(nodes[i] * 64 / (gpus * CORES_A_GPU)))
            groups.append(Group(f"{regions[where[i]].name}-gpu{i}", n, gpus * CORES_A_GPU, 1 << 20, gpus, kind))
        else:
            groups.append(Group(f"{regions[where[i]].name}-cpu{i}", int(nodes[i]), 64, 1 << 18))
    return Plan(tuple(groups), where.astype(np.int64), regions)


def network(seed: int, jobs: int, processors: int, load: float, *, partitions: int = 8, days: int = 0, start: int = 1767225600,
            gpu_part: float = 0.2, chunk: int = CHUNK) -> tuple[Plan, Iterator[Trace]]:  # fmt: skip
    """(machines, jobs by submit time, `chunk` at a time). `partition` is a job's home.

    `load`: work over capacity, in the mean of all partitions of a kind; it fixes how long the log lasts unless `days` does, in which case it is what `days` make it.
    `start`: Unix time of second 0, at midnight UTC (2026-01-01). Every draw is from streams spawned from `seed`. Raises InvalidInput `trace.generate`.
    """
    check(jobs, processors, load)
    if start % 86400:
        raise InvalidInput("trace.generate", f"the start {start} is no midnight of UTC", hint="give a multiple of 86400")
    # PCG64 streams of one seed sequence: the seed alone decides.
    shape, when = (np.random.Generator(np.random.PCG64(s)) for s in np.random.SeedSequence(seed).spawn(2))
    machines = plan(shape, partitions, processors, gpu_part=gpu_part)
    taste = _tastes(shape, machines)
    mean = np.array([_mean_work(shape, machines, taste, p) for p in range(partitions)])
    rate = machines.processors / mean  # jobs a second that fill each partition
    span = days * 86400 if days else jobs / (load * float(rate.sum()))
    if span > 40 * 366 * 86400:
        raise InvalidInput("trace.generate", f"{jobs} jobs would take {span / 86400 / 365:.0f} years at load {load}", hint="give fewer --jobs or more --processors")
    submit, home = _arrivals(when, machines, rate / rate.sum(), jobs, span, start)
    return machines, _chunks(seed, machines, taste, submit, home, start, chunk)


@dataclass(frozen=True, eq=False)
class _Tastes:
    """What a user's applications are like: [partition, application]."""

    run: Ints
    processors: Ints
    gpus: Ints


def _tastes(rng: np.random.Generator, machines: Plan) -> _Tastes:
    count = len(machines.groups)
    many = 40 * _APPLICATIONS
    most = np.repeat(machines.processors, many)
    processors = sizes(rng, count * many, np.log2(most))
    gpus = np.repeat(machines.gpus, many)
    wanted = np.minimum(_GPUS[np.searchsorted(np.cumsum(_GPU_PART), rng.random(count * many)).clip(0, len(_GPUS) - 1)], np.maximum(gpus, 1))
    processors = np.where(gpus > 0, wanted * CORES_A_GPU, processors)
    run = runs(rng, np.minimum(processors, 128))
    shape = (count, many)
    return _Tastes(run.reshape(shape), processors.reshape(shape), np.where(gpus > 0, wanted, 0).reshape(shape))


def _draw(rng: np.random.Generator, machines: Plan, taste: _Tastes, home: Ints) -> tuple[Ints, Ints, Ints, Ints, Ints]:
    """(run, processors, gpus, user, application) of jobs of these homes."""
    n = len(home)
    user = users(rng, n, 40) - 1
    application = user * _APPLICATIONS + np.minimum(rng.geometric(0.25, n) - 1, _APPLICATIONS - 1)
    run = np.maximum(1, taste.run[home, application] * np.exp(rng.normal(0, 0.3, n))).astype(np.int64)
    failed = rng.random(n) < 0.08  # some stop early
    run = np.where(failed, np.maximum(1, (run * rng.random(n)).astype(np.int64)), run)
    return np.minimum(run, 14 * 86400), taste.processors[home, application], taste.gpus[home, application], user, application


def _mean_work(rng: np.random.Generator, machines: Plan, taste: _Tastes, partition: int) -> float:
    run, processors, *_ = _draw(rng, machines, taste, np.full(_PILOT, partition))
    return float(np.mean(run.astype(np.float64) * processors))


def _arrivals(rng: np.random.Generator, machines: Plan, part: np.ndarray, jobs: int, span: float, start: int) -> tuple[Ints, Ints]:
    """Submit times, in order, and the partition each is sent to."""
    days = max(1, int(np.ceil(span / 86400)))
    by_region = np.array([part[machines.region == r].sum() for r in range(len(machines.regions))])
    counts = rng.multinomial(jobs, by_region / by_region.sum())
    submit, home = np.empty(jobs, np.int64), np.empty(jobs, np.int32)
    at = 0
    for r, region in enumerate(machines.regions):
        if not counts[r]:
            continue
        weights = hours(region, start, days)
        done = np.concatenate((np.zeros(1), np.cumsum(weights)))
        inside = float(np.interp(span / 3600, np.arange(len(done)), done))
        where = slice(at, at + counts[r])
        submit[where] = np.interp(rng.random(counts[r]) * inside, done, np.arange(len(done)) * 3600.0).astype(np.int64)
        here = np.flatnonzero(machines.region == r)
        home[where] = here[np.searchsorted(np.cumsum(part[here] / part[here].sum()), rng.random(counts[r])).clip(0, len(here) - 1)]
        at += counts[r]
    order = np.argsort(submit, kind="stable")
    return submit[order], home[order].astype(np.int64)


def _chunks(seed: int, machines: Plan, taste: _Tastes, submit: Ints, home: Ints, start: int, chunk: int) -> Iterator[Trace]:
    header = Header(start=start, processors=int(machines.processors.sum()), computer="generated network",
                    notes=("sizes, run times and days after Lublin and Feitelson 2003; seasons, GPUs, users and estimates are added",))  # fmt: skip
    labels = {"partition": {i: g.name for i, g in enumerate(machines.groups)}, "gpu_type": {i: name for i, (name, _) in enumerate(GPU_KINDS)}}
    kinds = machines.gpu_type
    memory = np.array([g.memory_mib * 1024 // g.processors for g in machines.groups])
    for n, first in enumerate(range(0, len(submit), chunk)):
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(2, n))))
        here = home[first : first + chunk]
        run, processors, gpus, user, application = _draw(rng, machines, taste, here)
        asked = (memory[here] * np.minimum(1.0, rng.lognormal(-0.9, 0.8, len(here)))).astype(np.int64)
        yield build(
            submit[first : first + chunk], run, job=np.arange(first + 1, first + 1 + len(here)), requested=processors, allocated=processors,
            estimate=estimates(rng, run, 14 * 86400), memory=np.maximum(asked, 1), user=here * 40 + user, group=here,
            application=here * 40 * _APPLICATIONS + application, queue=np.zeros(len(here)), partition=here, gpus=gpus,
            gpu_type=np.where(gpus > 0, kinds[here], UNKNOWN), status=np.full(len(here), COMPLETED), header=header, labels=labels,
        )  # fmt: skip
