"""Policies x seeds x loads over logs, in processes of their own; what is finished is kept, so that the same command goes on where it was.

    DIR/runs/<key>.json   one finished run: what was run, figures, distributions, use over time, a Gantt window
    DIR/results.parquet   one row a run
    DIR/report.html       the page

A run's key is the hash of everything that decides it (the log's bytes among it): a changed log, policy or setting is another run.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import numpy as np

from tidegrid.domain.errors import Broken, InvalidInput, TideError
from tidegrid.lab import logs, network_runs, replaying
from tidegrid.scheduling.network import POLICIES as BROKERS
from tidegrid.simulation.digest import Schedule, busiest, digest
from tidegrid.simulation.traces.trace import Trace, convention_k
from tidegrid.simulation.variants import at_load, offered, shaken

FORMAT = 2  # of a run's file
SITES = " + "  # between the names of a network's


@dataclass(frozen=True)
class Run:
    """One simulation: of one log, or where `network` names a broker's policy of several as one network.

    `marks` are hashes of the logs' bytes, `each` the processors of each, `policy` the queues'. `seed` 0 leaves the submit times as they are; `load` None too.
    """

    logs: tuple[str, ...]
    name: str
    marks: tuple[str, ...]
    each: tuple[int, ...]
    policy: str
    clairvoyant: bool
    seed: int
    load: float | None
    shake_s: int
    repair: bool = False
    network: str = ""
    days: int | None = None

    @property
    def key(self) -> str:
        how = asdict(replaying.policy(self.policy, knowing=self.clairvoyant))
        broker = asdict(BROKERS[self.network]) if self.network else None
        told = {**asdict(self), "logs": "", "how": how, "broker": broker, "format": FORMAT}
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:20]

    @property
    def label(self) -> str:
        return (self.network or self.policy) + (" clairvoyant" if self.clairvoyant else "")

    @property
    def processors(self) -> int:
        return sum(self.each)


def plan(paths: Sequence[Path], policies: Sequence[str], *, networks: Sequence[str] = (), processors: Sequence[int] = (), clairvoyant: bool = False,
         seeds: int = 1, loads: Sequence[float] = (), shake_s: int = 300, repair: bool = False, days: int | None = None) -> list[Run]:  # fmt: skip
    """Every run there is to do. `processors`: one for each log in order, or none; `clairvoyant`: each policy also knowing run times; `networks`:
    policies of a broker over all logs, under one policy of the queues; `days`: only so many of each log.

    Raises InvalidInput: `sweep.processors`, `sweep.load`, `sweep.network`, `policy.unknown`, and as `logs.load` does: a sweep fails before it begins.
    """
    if processors and len(processors) != len(paths):
        raise InvalidInput("sweep.processors", f"{len(processors)} numbers of processors for {len(paths)} logs", hint="give one --processors a log, in order")
    if any(not 0 < load <= 100 for load in loads):
        raise InvalidInput("sweep.load", f"a load of {min(loads)} cannot be made", hint="give loads above 0, as 0.7")
    for name in policies:
        replaying.policy(name)
    _check_networks(networks, len(paths), len(policies))
    found: list[tuple[str, str, str, int]] = []
    names: dict[str, int] = {}
    for i, path in enumerate(paths):
        k = jobs(str(path), processors[i] if processors else 0, repair, days)
        if not len(k):
            raise InvalidInput("trace.empty", f"{path}: no job fits the machine", hint="give its --processors")
        name = path.name.split(".swf")[0].removesuffix(".gz")
        names[name] = names.get(name, 0) + 1
        found.append((str(path), name + (f" ({names[name]})" if names[name] > 1 else ""), hashlib.sha256(path.read_bytes()).hexdigest()[:20], int(k.header.processors or 0)))
    kinds = [(load, seed, policy, knowing) for load in loads or (None,) for seed in range(seeds)
             for policy in policies for knowing in _knowing(policy, clairvoyant)]  # fmt: skip
    if networks:
        where, called, marks, each = (tuple(column) for column in zip(*found, strict=True))
        return [Run(where, SITES.join(called), marks, each, policy, knowing, seed, load, shake_s if seed else 0, repair, network, days)
                for load, seed, policy, knowing in kinds for network in networks]  # fmt: skip
    return [Run((path,), name, (mark,), (n,), policy, knowing, seed, load, shake_s if seed else 0, repair, "", days)
            for path, name, mark, n in found for load, seed, policy, knowing in kinds]  # fmt: skip


def _check_networks(networks: Sequence[str], logs: int, policies: int) -> None:
    for name in networks:
        if name not in BROKERS:
            raise InvalidInput("sweep.network", f"there is no network policy {name!r}", hint=f"it is one of {', '.join(BROKERS)}")
    if networks and logs < 2:
        raise InvalidInput("sweep.network", "a network has more than one site", hint="give a log for each")
    if networks and policies > 1:
        raise InvalidInput("sweep.network", f"{policies} policies of the queues", hint="with --network give one --policy, which every site has")


def _knowing(policy: str, clairvoyant: bool) -> tuple[bool, ...]:
    """Without and with the run times; a queue that plans nothing is the same either way."""
    how = replaying.policy(policy)
    return (False, True) if clairvoyant and not (how.backfill == "none" and how.order == "fcfs") else (False,)


@lru_cache(maxsize=8)
def jobs(path: str, processors: int, repair: bool, days: int | None) -> Trace:
    """A log under convention K."""
    k = convention_k(logs.load(Path(path), repair=repair, processors=processors or None), processors or None)
    return k if days is None else k.take(k.submit < days * 86400)


def perform(run: Run) -> dict[str, Any]:
    """Simulate one run; what its file holds."""
    rng = np.random.Generator(np.random.PCG64(run.seed))
    parts = []
    for path, n in zip(run.logs, run.each, strict=True):
        k = jobs(path, n, run.repair, run.days)
        if run.load is not None:
            k = at_load(k, run.load)
        parts.append(shaken(k, rng, run.shake_s) if run.seed else k)
    how = replaying.policy(run.policy, knowing=run.clairvoyant)
    said = {"format": FORMAT, "run": {**asdict(run), "processors": run.processors}, "label": run.label}
    if run.network:
        return {**said, **network_runs.perform(parts, run.name.split(SITES), how, BROKERS[run.network], run.seed)}
    k = parts[0]
    # The window is the log's, not the schedule's: every policy shows the same one.
    window = busiest(Schedule(k.submit, k.submit, k.run, k.processors, run.processors))
    done, took = replaying.schedule(k, how)
    return {**said, "start": k.header.start, "offered": offered(k), "seconds": took, **digest(done, window)}


def finished(directory: Path, run: Run) -> dict[str, Any] | None:
    """What an earlier sweep left of a run; None where it did not finish. Raises Broken `sweep.state` for a file that is no run's."""
    path = directory / "runs" / f"{run.key}.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, UnicodeDecodeError):
        raise Broken("sweep.state", f"{path} cannot be read", hint="remove it: that run is then done again") from None
    found["run"] = {**asdict(run), "processors": run.processors}  # a log may lie elsewhere by now
    return dict(found)


def sweep(runs: Sequence[Run], directory: Path, *, workers: int = 2, progress: Callable[[int, int, float], None] | None = None) -> Iterator[dict[str, Any]]:
    """Each run's result in the order they finish, kept in `directory` as they come; those that are there already come first.

    `progress(done, all, seconds since the beginning)`. Interrupted, workers end, and what is finished stays. Raises what a run raises, and
    Broken `sweep.worker` where a worker process dies.
    """
    (directory / "runs").mkdir(parents=True, exist_ok=True)
    began, done = time.monotonic(), 0
    tell = progress or (lambda done, of, took: None)
    todo = []
    for run in runs:
        found = finished(directory, run)
        if found is None:
            todo.append(run)
        else:
            done += 1
            yield found
    tell(done, len(runs), time.monotonic() - began)
    for run, outcome in _elsewhere(todo, min(workers, len(todo))):
        _keep(directory / "runs" / f"{run.key}.json", outcome)
        done += 1
        tell(done, len(runs), time.monotonic() - began)
        yield outcome


def _elsewhere(todo: Sequence[Run], workers: int) -> Iterator[tuple[Run, dict[str, Any]]]:
    """Each run's outcome as they end. A pipe for each process: one that is ended in the middle of an answer holds up nobody else."""
    rest = list(todo)
    context = multiprocessing.get_context("spawn")
    busy: dict[Any, Run] = {}
    processes: dict[Any, Any] = {}
    answered = False  # the first run goes alone: it compiles the kernel, where that is not kept yet
    try:
        while rest or busy:
            while rest and len(busy) < (workers if answered else 1):
                idle = next((c for c in processes if c not in busy), None)
                if idle is None:
                    idle, theirs = context.Pipe()
                    processes[idle] = context.Process(target=_serve, args=(theirs, os.getpid()), daemon=True)
                    processes[idle].start()
                    theirs.close()
                busy[idle] = rest.pop(0)
                with contextlib.suppress(OSError):  # it has died: so says what it answers
                    idle.send(busy[idle])
            ended: list[Any] = list(wait(list(busy)))
            for ready in ended:
                run = busy.pop(ready)
                try:
                    outcome = ready.recv()
                except (EOFError, OSError):
                    raise Broken("sweep.worker", f"the process that simulated {run.name}, {run.label}, died",
                                 hint="it may have run out of memory: try --workers 1; what is finished is kept") from None  # fmt: skip
                if "refused" in outcome:
                    code, message, hint = outcome["refused"]
                    raise InvalidInput(code, f"{run.name}, {run.label}: {message}", hint=hint)
                answered = True
                yield run, outcome
    finally:
        for process in processes.values():
            process.terminate()
        for process in processes.values():
            process.join(5)
            if process.is_alive():
                process.kill()


def _serve(pipe: Any, parent: int) -> None:
    """In a process of its own: runs come, outcomes go, until the pipe or the parent ends."""
    _ready(parent)
    while True:
        try:
            pipe.send(_safely(pipe.recv()))
        except (EOFError, OSError):
            return


def _safely(run: Run) -> dict[str, Any]:
    try:
        return perform(run)
    except TideError as error:
        return {"refused": (error.code, error.message, error.hint)}


def _ready(parent: int) -> None:
    """In a worker: Ctrl-C is the parent's to handle, and without the parent there is nothing to do."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=look, daemon=True).start()


def _keep(path: Path, outcome: dict[str, Any]) -> None:
    part = path.with_suffix(f".{os.getpid()}.part")
    part.write_text(json.dumps(outcome), encoding="utf-8")
    part.replace(path)
