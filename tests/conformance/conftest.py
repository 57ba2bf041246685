from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.parts.embedded import EmbeddedSite, Watcher
from tests.parts.slurm_site import SlurmSite


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


KINDS = [
    "embedded",
    *(pytest.param(kind, marks=[pytest.mark.real, pytest.mark.slurm]) for kind in ("slurm-local", "slurm-ssh", "slurm-accounting")),
]


@pytest.fixture(scope="module", params=KINDS)
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A running cluster that the tests of one module share; nothing in it is disturbed."""
    if request.param != "embedded":
        bed = request.getfixturevalue("slurm_accounting" if request.param == "slurm-accounting" else "slurm")
        home = tmp_path_factory.mktemp(request.param)
        yield SlurmSite(home, bed.cluster("alpha"), ssh=request.param != "slurm-local")
        return
    made = EmbeddedSite(tmp_path_factory.mktemp("cluster") / "east")
    made.start()
    yield made
    made.end_everything()


@pytest.fixture
def own_site(tmp_path: Path) -> Iterator[EmbeddedSite]:
    """A running cluster of one test's own, which may kill it."""
    made = EmbeddedSite(tmp_path / "east")
    made.start()
    yield made
    made.end_everything()


@pytest.fixture
async def connector(site: Any) -> AsyncIterator[Any]:
    made = site.connector()
    yield made
    await made.close()


@pytest.fixture
async def watch(site: Any, connector: Any) -> Watcher:
    return Watcher(connector, site.patience_s)


@pytest.fixture
async def own_watch(own_site: EmbeddedSite) -> AsyncIterator[Watcher]:
    connector = own_site.connector()
    yield Watcher(connector)
    await connector.close()
