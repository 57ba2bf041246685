"""Real Slurm clusters for tests: `slurm` for the session, which a test leaves as it was, `private_slurm` to be harmed.

Whatever uses one of them is marked `real`, and is skipped where Debian's packages are not installed.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tidegrid.launch import testbed
from tidegrid.launch.testbed import packages

_FIXTURES = {"slurm", "private_slurm", "slurm_accounting"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.real)
            item.add_marker(pytest.mark.slurm)


@contextmanager
def running(clusters: int = 3, *, accounting: bool = False) -> Iterator[testbed.Testbed]:
    """A test-bed in a directory of its own; it dies with this process."""
    missing = packages.missing(accounting=accounting)
    if missing:
        pytest.skip(f"not installed: {' '.join(missing)}")
    bed = testbed.up(Path(tempfile.mkdtemp(prefix="tide-slurm-")), clusters, accounting, bound=True)
    try:
        yield bed
    finally:
        bed.down()


@pytest.fixture(scope="session")
def slurm() -> Iterator[testbed.Testbed]:
    """Three clusters without accounting: alpha (CPU), beta (small nodes, preemption), gamma (GPUs)."""
    with running() as bed:
        yield bed


@pytest.fixture
def private_slurm() -> Iterator[testbed.Testbed]:
    """The same, for one test, which may break it. Up in about a second."""
    with running() as bed:
        yield bed


@pytest.fixture(scope="session")
def slurm_accounting() -> Iterator[testbed.Testbed]:
    """One cluster, alpha, with slurmdbd. Up in two seconds, in six for the first time."""
    with running(1, accounting=True) as bed:
        yield bed


def state_of(bed: testbed.Testbed, cluster: str, job: str) -> str:
    """As Slurm says it, "" where the controller knows no such job."""
    return bed.run(cluster, "squeue", "-h", "-t", "all", "-j", job, "-o", "%T").stdout.strip()


def wait_for_state(bed: testbed.Testbed, cluster: str, job: str, state: str, *, seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while (now := state_of(bed, cluster, job)) != state:
        assert time.monotonic() < until, f"job {job} of {cluster} is {now or 'unknown'}, not {state}"
        time.sleep(0.05)
