"""The queue against schedules that others computed: clairvoyant EASY (Gaussier et al., SC'15), every job at the same second."""

from __future__ import annotations

import numpy as np
import pytest
from tests.oracles.replay import read_swf, replay, trace

NUMBER, SUBMIT, WAIT, RUN, ALLOCATED = 0, 1, 2, 3, 4


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("log", "processors", "jobs"), [("KTH-SP2", 100, 28_481), ("SDSC-SP2", 128, 54_006)])
def test_every_job_starts_when_the_stored_clairvoyant_schedule_starts_it(log: str, processors: int, jobs: int):
    rows = read_swf(trace(f"oracle/{log}-easy-clairvoyant.swf.gz"))
    assert len(rows) == jobs
    rows = rows[np.argsort(rows[:, NUMBER])]  # the file is in order of ends; jobs of one instant queue by their number
    starts = replay("easy", processors, rows[:, SUBMIT], rows[:, RUN], rows[:, ALLOCATED], rows[:, RUN])
    differ = np.flatnonzero(starts != rows[:, SUBMIT] + rows[:, WAIT])
    assert differ.size == 0, f"{differ.size} jobs start at another time, the first is job {rows[differ[0], NUMBER]}"
