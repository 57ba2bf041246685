"""Logs for the oracles, and one way to put jobs through the kernel."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from tidegrid.lab import logs, replaying
from tidegrid.simulation.digest import Schedule, figures
from tidegrid.simulation.traces.trace import Trace, convention_k

PROCESSORS = {"KTH-SP2-1996-2.1-cln": 100, "SDSC-SP2-1998-4.2-cln": 128, "HPC2N-2002-2.2-cln": 240, "CTC-SP2-1996-3.1-cln": 338}


def trace(name: str) -> Path:
    """A file below TIDEGRID_TRACES; skips the test where there is none."""
    root = os.environ.get("TIDEGRID_TRACES")
    if not root:
        pytest.skip("TIDEGRID_TRACES is not set: no logs to compare on")
    path = Path(root) / name
    if not path.exists():
        pytest.skip(f"{name} is not below TIDEGRID_TRACES")
    return path


def of_log(name: str, policy: str, *, processors: int | None = None, kill: bool = True) -> dict[str, float]:
    """Figures of a log under convention K."""
    n = processors or PROCESSORS[name]
    jobs = convention_k(logs.load(trace(f"swf/{name}.swf.gz")), n, cut=kill)
    done, _ = replaying.schedule(jobs, replaying.policy(policy))
    return figures(done)


def of_jobs(policy: str, processors: int, submit: np.ndarray, run: np.ndarray, need: np.ndarray, estimate: np.ndarray) -> Schedule:
    """Jobs, in any order, as they are: none dropped, none cut."""
    from tidegrid.simulation.traces.trace import Header, build

    jobs: Trace = build(submit, run, requested=need, estimate=estimate, header=Header(processors=processors)).sorted()
    return replaying.schedule(jobs, replaying.policy(policy))[0]
