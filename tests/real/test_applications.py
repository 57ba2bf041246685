"""What `make apps` runs at length, in short: every application on real Slurm and on an embedded cluster, its numbers checked."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.apps import bed, run
from tests.unit.catalog.test_shell_injection import NASTY

from tidegrid.apps import documents
from tidegrid.catalog.document import Application, AppTest
from tidegrid.client import Tide

pytestmark = [pytest.mark.real, pytest.mark.slurm]


@pytest.fixture(scope="module")
def there() -> Iterator[bed.Bed]:
    if missing := bed.missing():
        pytest.skip(f"not installed: {' '.join(missing)}")
    with bed.up() as up:
        yield up


@pytest.mark.timeout(300)
def test_every_application_gives_its_number_on_slurm_and_embedded_by_one_way_each(there: bed.Bed) -> None:
    """Which way is which application's changes from one to the next, so that all three are taken on both clusters."""
    ways = list(run.WAYS)
    rows: list[run.Row] = []
    cases: list[tuple[Application, AppTest]] = run.cases(documents(), first=True)
    for n, way in enumerate(ways):
        for m, place in enumerate(bed.PLACES):
            share = [c for i, c in enumerate(cases) if (i + m) % len(ways) == n]
            rows += run.run(there, share, [place], [way], 2, _say)
    assert len(rows) == 2 * len(cases)
    assert {(r.where, r.via) for r in rows} == {(p, w) for p in bed.PLACES for w in ways}
    assert [r.line() for r in rows if not r.passed] == []


# Each writes its arguments, ended by NULs.
PYTHON = "import sys, os\nopen('words.json', 'wb').write(b''.join(os.fsencode(a) + b'\\0' for a in sys.argv[1:]))\n"
R = "out <- file('words.json', 'wb')\nfor (a in commandArgs(TRUE)) { writeBin(charToRaw(a), out); writeBin(as.raw(0), out) }\nclose(out)\n"
SHELL = "printf '%s\\0' \"$@\" > words.json\n"


@pytest.mark.timeout(120)
def test_what_users_type_reaches_real_programs_on_real_clusters_as_they_typed_it(there: bed.Bed, tmp_path: Path) -> None:
    args = [*NASTY, "-e", "system('touch PWNED')", "--version", "-c", "import os", "--args", "%s%n"]
    wanted = b"".join(a.encode() + b"\0" for a in args)
    look: dict[str, dict[str, Any]] = {
        "python": {"script": PYTHON, "args": args}, "r": {"script": R, "args": args}, "script": {"script": SHELL, "args": args},
        "command": {"program": "printf", "args": ["%s\\0", *args]},
    }  # fmt: skip
    with Tide(there.url, there.token) as tide:
        jobs = {
            (app, where): tide.submit(app, params=params, constraints={"any_of": [place]}, outputs=["words.json", "PWNED*"])
            for app, params in look.items() for where, place in bed.PLACES.items()
        }  # fmt: skip
        for (app, where), job in jobs.items():
            ended = tide.wait(job.id, timeout=100)
            assert ended.succeeded, (app, where, ended.reason)
            to = tmp_path / f"{app}-{where}"
            tide.fetch(job.id, to)
            assert not list(to.rglob("PWNED*"))
            assert (to / ("log/0.out" if app == "command" else "words.json")).read_bytes() == wanted, (app, where)


def _say(row: run.Row) -> None:
    print(json.dumps(row.view(), ensure_ascii=False), file=sys.stderr, flush=True)
