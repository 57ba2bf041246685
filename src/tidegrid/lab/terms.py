"""What logs of jobs do not tell of a network: money, deadlines, data that travels, sites that fail."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tidegrid.domain.errors import InvalidInput
from tidegrid.simulation.network import Links, NetworkJobs, Site

GB, MB, DAY, HOUR = 1e9, 1e6, 86_400, 3600
MOST_SLACK = 1_000_000  # times an estimate
_OUTAGE = re.compile(r"^(\d{1,6}):(\d{1,6}(?:\.\d{1,6})?):(\d{1,6}(?:\.\d{1,6})?)$")
_EACH = {"price": "a price of {:g} yuan", "cost": "a cost of {:g} yuan", "data": "{:g} GB of data"}
_HINTS = {"price": "give yuan a core-hour, 0 or more", "cost": "give yuan a core-hour, 0 or more", "data": "give GB a job, 0 or more"}


@dataclass(frozen=True, slots=True)
class Terms:
    """One value a log, in their order, 0 where not given: price, cost: yuan a core-hour at the site, the customer's and the operator's;
    data: GB (1e9 bytes) of input that each of its jobs has at home. bandwidth: MB/s between any two sites; latency: s before a transfer; outages:
    SITE:DAY:HOURS, the site of the log with that number, from 1, is down from that day on for so long; slack: every job should have ended
    so many times its estimate after it came, None for no deadlines."""

    price: Sequence[float] = ()
    cost: Sequence[float] = ()
    slack: float | None = None
    data: Sequence[float] = ()
    bandwidth: float = 100.0
    latency: float = 0.0
    outages: Sequence[str] = ()

    def check(self, logs: int) -> None:
        """InvalidInput `simulate.terms` where they do not fit so many logs."""
        for what, says in _EACH.items():
            given: Sequence[float] = getattr(self, what)
            if len(given) > logs:
                raise InvalidInput("simulate.terms", f"--{what} is given {len(given)} times for {logs} logs", hint="give it once a log, in their order")
            for value in given:
                if not 0 <= value < math.inf:
                    raise InvalidInput("simulate.terms", f"{says.format(value)} cannot be", hint=_HINTS[what])
        if self.slack is not None and not 1 <= self.slack <= MOST_SLACK:
            raise InvalidInput("simulate.terms", f"--slack {self.slack} is no deadline", hint=f"give 1 to {MOST_SLACK:,}, as 4")
        if not 0 < self.bandwidth < math.inf:
            raise InvalidInput("simulate.terms", f"--bandwidth {self.bandwidth:g} carries nothing", hint="give MB a second, as 100")
        if not 0 <= self.latency < math.inf:
            raise InvalidInput("simulate.terms", f"--latency {self.latency:g} cannot be", hint="give seconds, 0 or more")
        self.down(logs)

    def down(self, logs: int) -> list[list[tuple[int, int]]]:
        """(down, up again) in seconds of each log's site, in order and apart. InvalidInput `simulate.terms`."""
        out: list[list[tuple[int, int]]] = [[] for _ in range(logs)]
        for text in self.outages:
            found = _OUTAGE.match(text)
            if found is None or not 1 <= int(found[1]) <= logs or float(found[3]) <= 0:
                raise InvalidInput("simulate.terms", f"--outage {text!r} is no outage", hint=f"write SITE:DAY:HOURS, as 1:30:12; SITE is a log's place, 1 to {logs}")
            begins = int(float(found[2]) * DAY)
            out[int(found[1]) - 1].append((begins, begins + max(1, int(float(found[3]) * HOUR))))
        for site, times in enumerate(out):
            times.sort()
            if any(a[1] >= b[0] for a, b in itertools.pairwise(times)):
                raise InvalidInput("simulate.terms", f"outages of site {site + 1} meet", hint="give them as one")
        return out

    def of_site(self, i: int, logs: int) -> tuple[float, float, list[tuple[int, int]]]:
        """Price, cost and outages of a `Site`."""
        return _at(self.price, i), _at(self.cost, i), self.down(logs)[i]

    def of_jobs(self, jobs: NetworkJobs) -> NetworkJobs:
        """The jobs with data and deadlines."""
        if any(self.data):
            jobs = replace(jobs, bytes=np.array([_at(self.data, i) for i in range(int(jobs.home.max()) + 1)])[jobs.home] * GB)
        if self.slack is not None:
            jobs = replace(jobs, deadline=jobs.submit + np.ceil(jobs.estimate * self.slack).astype(np.int64))
        return jobs

    def links(self, sites: Sequence[Site]) -> Links | None:
        """Between sites, None where nothing travels and nothing delays."""
        if not any(self.data) and not self.latency:
            return None
        n = len(sites)
        return Links(np.full((n, n), float(self.latency)), np.full((n, n), self.bandwidth * MB))


def _at(values: Sequence[float], i: int) -> float:
    return float(values[i]) if i < len(values) else 0.0
