"""Generated logs, from a seed into a file."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from tidegrid.domain.errors import InvalidInput
from tidegrid.lab import logs
from tidegrid.simulation.traces import lublin
from tidegrid.simulation.traces.trace import Trace
from tidegrid.simulation.traces.worldwide import network


def lublin_log(out: Path, *, jobs: int, processors: int, load: float | None, seed: int, start: str, widest: int = 0) -> dict[str, Any]:
    """One machine's log. Raises InvalidInput `trace.generate`."""
    rng = np.random.Generator(np.random.PCG64(seed))
    trace = lublin.generate(rng, jobs, processors, load, widest=widest, start=_midnight(start))
    told = _Told()
    logs.save(out, told.through([_seeded(trace, "lublin", seed)]))
    return {"model": "lublin", "seed": seed, "out": str(out), "processors": processors, **told.figures(processors)}


def network_log(out: Path, *, jobs: int, processors: int, load: float, seed: int, partitions: int, gpu_part: float, start: str,
                progress: bool) -> dict[str, Any]:  # fmt: skip
    """A network's log, and its machines in `OUT.machines`. Progress goes to standard error where that is a terminal."""
    plan, chunks = network(seed, jobs, processors, load, partitions=partitions, gpu_part=gpu_part, start=_midnight(start))
    told = _Told(jobs if progress and sys.stderr.isatty() else 0)
    logs.save(out, told.through(_seeded(c, "network", seed) for c in chunks), jobs=jobs)
    beside = out.with_name(out.name.removesuffix(".gz") + ".machines")
    logs.save_machines(beside, plan.groups)
    total = int(plan.processors.sum())
    return {"model": "network", "seed": seed, "out": str(out), "machines": str(beside), "partitions": partitions, "processors": total,
            "gpus": int(plan.gpus.sum()), **told.figures(total)}  # fmt: skip


class _Told:
    """Counts what passes."""

    def __init__(self, of: int = 0) -> None:
        self.of, self.jobs, self.work, self.first, self.last = of, 0, 0.0, -1, 0

    def through(self, traces: Iterable[Trace]) -> Iterator[Trace]:
        for trace in traces:
            self.first = int(trace.submit[0]) if self.first < 0 else self.first
            self.last = int(trace.submit[-1])
            self.work += float((trace.run * trace.processors).sum(dtype=np.float64))
            self.jobs += len(trace)
            yield trace
            if self.of:
                sys.stderr.write(f"\r{self.jobs:,} of {self.of:,} jobs" + ("\n" if self.jobs == self.of else ""))
                sys.stderr.flush()

    def figures(self, processors: int) -> dict[str, Any]:
        span = self.last - self.first
        return {"jobs": self.jobs, "span_s": span, "load": round(self.work / processors / span, 4) if span else None}


def _seeded(trace: Trace, model: str, seed: int) -> Trace:
    fields = (("Generator", f"tide trace generate --model {model} --seed {seed}"),)
    return replace(trace, header=replace(trace.header, fields=fields))


def _midnight(date: str) -> int:
    try:
        return int(datetime.strptime(date, "%Y-%m-%d").replace(tzinfo=UTC).timestamp())
    except ValueError:
        raise InvalidInput("time.malformed", f"{date!r} is no day", hint="write 2026-01-01") from None
