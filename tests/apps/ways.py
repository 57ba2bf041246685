"""The same acceptance test by three ways: the command line, the SDK, and REST as any program would speak it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from tests.apps.bed import Bed
from tidegrid.catalog import acceptance
from tidegrid.catalog.document import Application, AppTest
from tidegrid.cli import accepting
from tidegrid.cli.accepting import Outcome
from tidegrid.client import Tide
from tidegrid.domain.job import FINAL

PATIENCE_S = 600.0
Way = Callable[[Bed, Application, AppTest, str, Path], Outcome]


def by_cli(bed: Bed, app: Application, test: AppTest, place: str, to: Path) -> Outcome:
    """`tide apps test`, in a process of its own."""
    command = [sys.executable, "-m", "tidegrid.cli.main", "apps", "test", f"{app.id}@{app.version}", "--on", place,
               "--test", test.name, "--timeout", f"{PATIENCE_S:.0f}s", "--json"]  # fmt: skip
    env = {**os.environ, "TIDE_URL": bed.url, "TIDE_TOKEN": bed.token}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env, timeout=PATIENCE_S + 60)
    if done.returncode not in (0, 1) or not done.stdout:
        raise RuntimeError(f"tide apps test ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    (found,) = json.loads(done.stdout)
    passed = found.pop("passed")
    assert passed == (done.returncode == 0), "the exit status and the answer disagree"
    values = tuple(found.pop("values").items())
    return Outcome(**{**found, "values": values, "failed": tuple(found["failed"])})


def by_sdk(bed: Bed, app: Application, test: AppTest, place: str, to: Path) -> Outcome:
    with Tide(bed.url, bed.token) as tide:
        return accepting.run(tide, app, [test], place, PATIENCE_S)[0]


def by_rest(bed: Bed, app: Application, test: AppTest, place: str, to: Path) -> Outcome:
    """Plain HTTP: no code of the SDK."""
    with httpx.Client(base_url=f"{bed.url}/api/v1", headers={"Authorization": f"Bearer {bed.token}"}, timeout=60) as http:
        body = acceptance.submission(app, test, place)
        body["inputs"] = [
            {"path": path, "sha256": _json(http.post("/uploads", content=text.encode()))["sha256"]} for path, text in test.inputs.items()
        ]
        job = _json(http.post("/jobs", json=body))
        deadline = time.monotonic() + PATIENCE_S
        while job["state"] not in FINAL and time.monotonic() < deadline:
            time.sleep(0.2)
            job = _json(http.get(f"/jobs/{job['id']}"))
        texts: dict[str, str] = {}
        for output in _json(http.get(f"/jobs/{job['id']}/outputs"))["items"]:
            if output["state"] == "done" and output["path"] in {e.file for e in test.expect}:
                texts[output["path"]] = http.get(f"/jobs/{job['id']}/outputs/{output['path']}").text
    exits = [e["exit_code"] for a in job["attempts"] for e in a["executions"] if e["exit_code"] is not None]
    failed = acceptance.check(test, max(exits, default=-1), texts.get)
    if failed and job["reason"]:
        failed.append(f"{test.name}: {job['state']}: {job['reason']}")
    where = f"{job['attempts'][-1]['cluster']}/{job['attempts'][-1]['partition']}" if job["attempts"] else ""
    return Outcome(app.id, app.version, test.name, job["id"], where, job["state"], _seconds(job),
                   tuple(acceptance.values(test, texts.get)), tuple(failed))  # fmt: skip


def _json(answer: httpx.Response) -> dict[str, Any]:
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found


def _seconds(job: Mapping[str, Any]) -> float:
    if not job["started_at"] or not job["ended_at"]:
        return 0.0
    begin, end = (datetime.fromisoformat(job[k].replace("Z", "+00:00")) for k in ("started_at", "ended_at"))
    return (end - begin).total_seconds()


WAYS: dict[str, Way] = {"cli": by_cli, "sdk": by_sdk, "rest": by_rest}
