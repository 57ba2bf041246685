"""What all tests share: deterministic property tests, and no silent skips where skipping is forbidden."""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy is loaded, as in a server

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.parts.postgres", "tests.parts.slurm", "tests.parts.stores"]

settings.register_profile("tidegrid", deadline=None, derandomize=True, database=None,
                          suppress_health_check=[HealthCheck.too_slow])  # fmt: skip
settings.load_profile("tidegrid")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """With TIDEGRID_NO_SKIP a skipped test is a failed run."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if not os.environ.get("TIDEGRID_NO_SKIP") or reporter is None:
        return
    skipped = reporter.stats.get("skipped", [])
    if skipped and exitstatus == 0:
        names = ", ".join(sorted({getattr(r, "nodeid", "?") for r in skipped})[:5])
        reporter.write_line(f"{len(skipped)} skipped, and nothing may be: {names}", red=True)
        session.exitstatus = 1
