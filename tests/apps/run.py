"""Every application that comes with the program, from its one document: `python -m tests.apps.run [--json]`.

On an embedded cluster and on a real Slurm cluster, by command line, SDK and REST, its acceptance tests with their numbers.
Exit status 1 where one does not pass, 2 where something is not installed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.apps.bed import PLACES, Bed, installed, missing, up
from tests.apps.ways import WAYS
from tidegrid.apps import documents
from tidegrid.catalog.document import Application, AppTest
from tidegrid.cli.accepting import Outcome


@dataclass(frozen=True)
class Row:
    """One run of one test."""

    app: Application
    test: AppTest
    where: str
    via: str
    outcome: Outcome | None
    error: str = ""

    @property
    def passed(self) -> bool:
        return self.outcome is not None and self.outcome.passed

    def view(self) -> dict[str, Any]:
        o = self.outcome
        return {
            "application": self.app.id, "version": self.app.version, "test": self.test.name, "where": self.where, "via": self.via,
            "place": o.where if o else "", "job": o.job if o else "", "result": dict(o.values) if o else {},
            "seconds": round(o.seconds, 2) if o else None, "pass": self.passed,
            "problems": [self.error] if self.error else list(o.failed) if o else [],
        }  # fmt: skip

    def line(self) -> str:
        o = self.outcome
        result = o.result() if o else ""
        took = f"{o.seconds:7.1f}" if o else "      -"
        return (f"{self.app.id:<16} {self.app.short} {self.where:<8} {self.via:<4} {took} s  {'pass' if self.passed else 'FAIL'}  "
                f"{self.test.name}: {result}")  # fmt: skip


def cases(apps: Sequence[Application], first: bool) -> list[tuple[Application, AppTest]]:
    return [(a, t) for a in apps for t in (a.tests[:1] if first else a.tests)]


def run(
    bed: Bed, wanted: Sequence[tuple[Application, AppTest]], places: Sequence[str], ways: Sequence[str], at_once: int, say: Any
) -> list[Row]:
    """In the order of the arguments."""

    def one(app: Application, test: AppTest, where: str, via: str) -> Row:
        with tempfile.TemporaryDirectory(prefix="tide-apps-") as to:
            try:
                row = Row(app, test, where, via, WAYS[via](bed, app, test, PLACES[where], Path(to)))
            except Exception as e:  # noqa: BLE001 - whatever it is, that application did not pass
                row = Row(app, test, where, via, None, f"{type(e).__name__}: {e}")
        say(row)
        return row

    with ThreadPoolExecutor(at_once) as pool:
        todo = [pool.submit(one, app, test, where, via) for app, test in wanted for where in places for via in ways]
        return [t.result() for t in todo]


def main(arguments: Sequence[str]) -> int:
    p = argparse.ArgumentParser(prog="python -m tests.apps.run", description=__doc__)
    p.add_argument("--only", action="append", metavar="APP", help="this application only; repeatable")
    p.add_argument("--where", action="append", choices=sorted(PLACES), help="there only; repeatable")
    p.add_argument("--via", action="append", choices=sorted(WAYS), help="by this way only; repeatable")
    p.add_argument("--first", action="store_true", help="only the first test of each application")
    p.add_argument("--at-once", type=int, default=2, metavar="N", help="runs at a time")
    p.add_argument("--json", action="store_true", help="the table as JSON on standard output")
    o = p.parse_args(arguments)
    if lacking := missing():
        print(f"not installed: {' '.join(lacking)}; `make apps` installs it", file=sys.stderr)
        return 2
    apps = [a for a in documents() if not o.only or a.id in o.only]
    if unknown := sorted(set(o.only or ()) - {a.id for a in apps}):
        p.error(f"there is no application {unknown[0]}")
    places, ways = o.where or list(PLACES), o.via or list(WAYS)

    def say(row: Row) -> None:
        print(row.line(), file=sys.stderr if o.json else sys.stdout, flush=True)
        for problem in () if row.passed else row.view()["problems"]:
            print(f"    {problem}", file=sys.stderr, flush=True)

    began = time.monotonic()
    note = sys.stderr
    print(f"{len(apps)} applications; here: {', '.join(sorted(installed()))}", file=note, flush=True)
    with up(slurm="slurm" in places) as bed:
        rows = run(bed, cases(apps, o.first), places, ways, o.at_once, say)
    bad = [r for r in rows if not r.passed]
    took = time.monotonic() - began
    if o.json:
        body = {"ok": not bad, "runs": len(rows), "failed": len(bad), "seconds": round(took, 1), "rows": [r.view() for r in rows]}
        print(json.dumps(body, ensure_ascii=False))
    print(f"{len(apps)} applications, {len(rows)} runs on {' and '.join(places)} by {', '.join(ways)} in {took:.0f} s: "
          + (f"{len(bad)} did not pass" if bad else "all passed"), file=note)  # fmt: skip
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
