"""A log through a policy of the kernel: when each job starts, and how long that took to find out."""

from __future__ import annotations

import time
from functools import cache
from typing import Any

import numpy as np

from tidegrid.domain.errors import InvalidInput
from tidegrid.lab import machine_code
from tidegrid.scheduling.kernel import build, replay
from tidegrid.scheduling.kernel.policy import POLICIES, Policy, clairvoyant
from tidegrid.simulation.digest import Schedule
from tidegrid.simulation.traces.trace import Trace


def policy(name: str, *, knowing: bool = False) -> Policy:
    """A policy by name, `knowing` run times beforehand. Raises InvalidInput `policy.unknown`."""
    if name not in POLICIES:
        raise InvalidInput("policy.unknown", f"there is no policy {name!r}", hint=f"it is one of {', '.join(POLICIES)}")
    return clairvoyant(POLICIES[name]) if knowing else POLICIES[name]


def schedule(k: Trace, how: Policy) -> tuple[Schedule, float]:
    """(jobs with their starts, seconds the kernel took) of a log under convention K, compiled where numba is there."""
    processors = int(k.header.processors or k.processors.max())
    names, user = np.unique(k.user, return_inverse=True)
    user = user - int((names < 0).sum())  # who is not known (-1) has no history
    jobs = build.table(k.submit, k.estimate, k.run, k.processors, user)
    kernel = compiled()
    state = build.build(jobs, np.array([[processors]]), [how], users=max(1, int(user.max()) + 1), compiled=kernel is not None)
    began = time.perf_counter()
    (replay if kernel is None else kernel).replay(state, 0, 0, len(k))
    took = time.perf_counter() - began
    return Schedule(k.submit, build.starts(state), k.run, k.processors, processors), took


@cache
def compiled() -> Any:
    """The compiled kernel, None where numba is not installed: then the same source runs as it is."""
    try:
        from tidegrid.scheduling.kernel.compiled import load

        machine_code.tidy()
        return load()
    except ImportError:
        return None
