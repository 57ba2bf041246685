"""What `make apps` runs at length, in short: every application on real Slurm and on an embedded cluster, its numbers checked."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from tests.apps import bed, run

from tidegrid.apps import documents
from tidegrid.catalog.document import Application, AppTest

pytestmark = [pytest.mark.real, pytest.mark.slurm]


@pytest.mark.timeout(300)
def test_every_application_gives_its_number_on_slurm_and_embedded_by_one_way_each() -> None:
    """Which way is which application's changes from one to the next, so that all three are taken on both clusters."""
    if missing := bed.missing():
        pytest.skip(f"not installed: {' '.join(missing)}")
    ways = list(run.WAYS)
    rows: list[run.Row] = []
    cases: list[tuple[Application, AppTest]] = run.cases(documents(), first=True)
    with bed.up() as there:
        for n, way in enumerate(ways):
            for m, place in enumerate(bed.PLACES):
                share = [c for i, c in enumerate(cases) if (i + m) % len(ways) == n]
                rows += run.run(there, share, [place], [way], 2, _say)
    assert len(rows) == 2 * len(cases)
    assert {(r.where, r.via) for r in rows} == {(p, w) for p in bed.PLACES for w in ways}
    assert [r.line() for r in rows if not r.passed] == []


def _say(row: Any) -> None:
    print(row.line(), file=sys.stderr, flush=True)
