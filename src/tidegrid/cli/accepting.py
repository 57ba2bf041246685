"""Acceptance tests over the API: submit, wait, fetch, compare."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidegrid.catalog import acceptance
from tidegrid.catalog.document import Application, AppTest, from_body
from tidegrid.domain.errors import NotFound

if TYPE_CHECKING:
    from tidegrid.client import Job, Tide


@dataclass(frozen=True)
class Outcome:
    """How one test went. seconds: from its start to its end at the site; values: what the test looked at; failed: what is not as
    expected, nothing where it passed."""

    app: str
    version: str
    test: str
    job: str
    where: str
    state: str
    seconds: float
    values: tuple[tuple[str, Any], ...]
    failed: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return not self.failed

    def result(self) -> str:
        return ", ".join(f"{n}={v:.6g}" if isinstance(v, float) else f"{n}={v}" for n, v in self.values[:4])

    def line(self) -> str:
        return f"{self.app}: {self.test}: {'passed' if self.passed else 'FAILED'} on {self.where or 'nowhere'} ({self.job})"

    def view(self) -> dict[str, Any]:
        return {
            "app": self.app, "version": self.version, "test": self.test, "job": self.job, "where": self.where,
            "state": self.state, "seconds": round(self.seconds, 3), "values": dict(self.values), "failed": list(self.failed),
            "passed": self.passed,
        }  # fmt: skip


def tests_of(tide: Tide, name: str, only: Sequence[str] = ()) -> tuple[Application, list[AppTest]]:
    """NotFound (app.no_tests, app.test_unknown)."""
    application = from_body(tide.app(name)["document"])
    tests = [t for t in application.tests if not only or t.name in only]
    if missing := sorted(set(only) - {t.name for t in tests}):
        raise NotFound("app.test_unknown", f"{application.id} has no test {missing[0]!r}",
                       hint=", ".join(repr(t.name) for t in application.tests))  # fmt: skip
    if not tests:
        raise NotFound("app.no_tests", f"{application.id} has no acceptance tests", hint="its document may have them: `tests`")
    return application, tests


def run(
    tide: Tide, application: Application, tests: Sequence[AppTest], place: str, timeout: float,
    seen: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:
    """All at once; outcomes in the order of the tests. timeout: seconds, for each; seen: called with each."""  # fmt: skip
    out = []
    with tempfile.TemporaryDirectory(prefix="tide-test-") as directory:
        jobs = [_submit(tide, application, test, place, Path(directory)) for test in tests]
        for i, (test, job) in enumerate(zip(tests, jobs, strict=True)):
            out.append(outcome(tide, application, test, job.id, Path(directory) / str(i), timeout))
            if seen is not None:
                seen(out[-1])
    return out


def _submit(tide: Tide, application: Application, test: AppTest, place: str, directory: Path) -> Job:
    body = acceptance.submission(application, test, place)
    inputs: list[dict[str, str]] = []
    for n, (path, text) in enumerate(test.inputs.items()):
        file = directory / f"input-{n}"
        file.write_text(text, encoding="utf-8")
        inputs.append({"path": path, "sha256": tide.upload(file)["sha256"]})
    return tide.submit(**body | ({"inputs": inputs} if inputs else {}))


def outcome(tide: Tide, application: Application, test: AppTest, job_id: str, to: Path, timeout: float) -> Outcome:
    """Of a job of the test, once it has ended. What it wrote is fetched to `to`."""
    failed: list[str] = []
    values: list[tuple[str, Any]] = []
    try:
        job = tide.wait(job_id, timeout=timeout)
    except TimeoutError as e:
        job = tide.job(job_id)
        failed.append(f"{test.name}: {e}")
    else:
        to.mkdir(parents=True, exist_ok=True)
        tide.fetch(job_id, to)
        exits = [e.exit_code for a in job.attempts for e in a.executions if e.exit_code is not None]

        def read(path: str) -> str | None:
            file = to / path
            return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else None

        failed += acceptance.check(test, max(exits, default=-1), read)
        values += acceptance.values(test, read)
        if failed and not job.succeeded and job.reason:
            failed.append(f"{test.name}: {job.state}: {job.reason}")
    began = job.started_at
    seconds = (job.ended_at - began).total_seconds() if began and job.ended_at else 0.0
    where = f"{job.attempts[-1].cluster}/{job.attempts[-1].partition}" if job.attempts else ""
    return Outcome(application.id, application.version, test.name, job.id, where, str(job.state), seconds, tuple(values), tuple(failed))
