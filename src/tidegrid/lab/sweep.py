"""Policies x seeds x loads over logs, in processes of their own; what is finished is kept, so that the same command goes on where it was.

    DIR/runs/<key>.json   one finished run: what was run, figures, distributions, use over time, a Gantt window
    DIR/results.parquet   one row a run
    DIR/report.html       the page

A run's key is the hash of everything that decides it (the log's bytes among it): a changed log, policy or setting is another run.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from tidegrid.domain.errors import Broken, InvalidInput, TideError
from tidegrid.lab import logs, replaying
from tidegrid.simulation.digest import Schedule, busiest, digest
from tidegrid.simulation.traces.trace import Trace, convention_k
from tidegrid.simulation.variants import at_load, offered, shaken

FORMAT = 1  # of a run's file


@dataclass(frozen=True)
class Run:
    """One simulation. `seed` 0 leaves the submit times as they are; `load` None too."""

    log: str
    name: str
    digest: str
    processors: int
    policy: str
    clairvoyant: bool
    seed: int
    load: float | None
    shake_s: int
    repair: bool = False

    @property
    def key(self) -> str:
        how = asdict(replaying.policy(self.policy, knowing=self.clairvoyant))
        told = {**asdict(self), "log": "", "how": how, "format": FORMAT}
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:20]

    @property
    def label(self) -> str:
        return self.policy + (" clairvoyant" if self.clairvoyant else "")


def plan(paths: Sequence[Path], policies: Sequence[str], *, processors: Sequence[int] = (), clairvoyant: bool = False, seeds: int = 1,
         loads: Sequence[float] = (), shake_s: int = 300, repair: bool = False) -> list[Run]:  # fmt: skip
    """Every run there is to do. `processors`: one for each log in order, or none; `clairvoyant`: each policy also knowing run times.

    Raises InvalidInput: `sweep.processors`, `sweep.load`, `policy.unknown`, and as `logs.load` does: a sweep fails before it begins.
    """
    if processors and len(processors) != len(paths):
        raise InvalidInput("sweep.processors", f"{len(processors)} numbers of processors for {len(paths)} logs", hint="give one --processors a log, in order")
    if any(not 0 < load <= 100 for load in loads):
        raise InvalidInput("sweep.load", f"a load of {min(loads)} cannot be made", hint="give loads above 0, as 0.7")
    for name in policies:
        replaying.policy(name)
    out = []
    names: dict[str, int] = {}
    for i, path in enumerate(paths):
        k = jobs(str(path), processors[i] if processors else 0, repair)
        if not len(k):
            raise InvalidInput("trace.empty", f"{path}: no job fits the machine", hint="give its --processors")
        name = path.name.split(".swf")[0].removesuffix(".gz")
        names[name] = names.get(name, 0) + 1
        mark = hashlib.sha256(path.read_bytes()).hexdigest()[:20]
        for load in loads or (None,):
            for seed in range(seeds):
                out += [Run(str(path), name + (f" ({names[name]})" if names[name] > 1 else ""), mark, int(k.header.processors or 0), policy, knowing, seed, load,
                            shake_s if seed else 0, repair) for policy in policies for knowing in _knowing(policy, clairvoyant)]  # fmt: skip
    return out


def _knowing(policy: str, clairvoyant: bool) -> tuple[bool, ...]:
    """Without and with the run times; a queue that plans nothing is the same either way."""
    how = replaying.policy(policy)
    return (False, True) if clairvoyant and not (how.backfill == "none" and how.order == "fcfs") else (False,)


@lru_cache(maxsize=2)
def jobs(path: str, processors: int, repair: bool) -> Trace:
    """A log under convention K."""
    return convention_k(logs.load(Path(path), repair=repair, processors=processors or None), processors or None)


def perform(run: Run) -> dict[str, Any]:
    """Simulate one run; what its file holds."""
    k = jobs(run.log, run.processors, run.repair)
    if run.load is not None:
        k = at_load(k, run.load)
    if run.seed:
        k = shaken(k, np.random.Generator(np.random.PCG64(run.seed)), run.shake_s)
    # The window is the log's, not the schedule's: every policy shows the same one.
    window = busiest(Schedule(k.submit, k.submit, k.run, k.processors, run.processors))
    done, took = replaying.schedule(k, replaying.policy(run.policy, knowing=run.clairvoyant))
    return {"format": FORMAT, "run": asdict(run), "label": run.label, "start": k.header.start, "offered": offered(k), "seconds": took, **digest(done, window)}


def finished(directory: Path, run: Run) -> dict[str, Any] | None:
    """What an earlier sweep left of a run; None where it did not finish. Raises Broken `sweep.state` for a file that is no run's."""
    path = directory / "runs" / f"{run.key}.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, UnicodeDecodeError):
        raise Broken("sweep.state", f"{path} cannot be read", hint="remove it: that run is then done again") from None
    found["run"] = asdict(run)  # a log may lie elsewhere by now
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
    if not todo:
        return
    before = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_ready, initargs=(os.getpid(),))
    try:
        waiting: dict[Future[Any], Run] = {pool.submit(_safely, todo[0]): todo[0]}  # alone: it compiles the kernel, where that is not kept yet
        rest = list(todo[1:])
        while waiting:
            ended, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in ended:
                run = waiting.pop(future)
                outcome = future.result()
                if "refused" in outcome:
                    code, message, hint = outcome["refused"]
                    raise InvalidInput(code, f"{run.name}, {run.label}: {message}", hint=hint)
                yield run, outcome
            while rest and len(waiting) < workers:
                run = rest.pop(0)
                waiting[pool.submit(_safely, run)] = run
    except RuntimeError as error:  # BrokenProcessPool
        raise Broken("sweep.worker", f"a worker process died: {error}", hint="it may have run out of memory: try --workers 1; what is finished is kept") from None
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in set(multiprocessing.active_children()) - before:
            child.terminate()


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
