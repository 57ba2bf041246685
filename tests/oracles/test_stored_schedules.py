"""Start times against schedules that others computed and stored: EASY of Gaussier et al. (SC'15), plain and clairvoyant."""

from __future__ import annotations

import numpy as np
import pytest
from tests.oracles.replay import of_jobs, trace

from tidegrid.lab import logs


def stored(name: str):
    """(submit, wait, run, processors, estimate) of the file's jobs by their numbers: the file is in order of ends, and jobs of one
    instant queue by number."""
    log = logs.load(trace(f"oracle/{name}.swf.gz"))
    log = log.take(np.argsort(log.job, kind="stable"))
    return log.submit, log.wait, log.run, log.allocated, log.estimate


@pytest.mark.parametrize(("log", "processors", "jobs"), [("KTH-SP2", 100, 28_481), ("SDSC-SP2", 128, 54_006)])
def test_every_job_starts_when_the_stored_clairvoyant_schedule_starts_it(log: str, processors: int, jobs: int):
    submit, wait, run, need, _ = stored(f"{log}-easy-clairvoyant")
    assert len(submit) == jobs
    done = of_jobs("easy", processors, submit, run, need, run)
    order = np.argsort(submit, kind="stable")
    differ = np.flatnonzero(done.start != (submit + wait)[order])
    assert differ.size == 0, f"{differ.size} jobs start at another time, the first is number {differ[0]} by submission"
