"""Judges the jobs that verify installations and measure machines, once they have ended. load -> judge -> commit.

Whoever has the role of placing does it. A trial whose job never ran, or ended for the cluster's own trouble, is void: it says nothing of
the application. A verification counts when all its trials have ended: one that failed fails it, and one void leaves things as they are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from sqlalchemy import Connection

from tidegrid.catalog import acceptance, installations, machine_card
from tidegrid.catalog.document import Application
from tidegrid.control.acting import acting
from tidegrid.control.context import Context
from tidegrid.control.installed import say
from tidegrid.control.picture import Picture
from tidegrid.control.programs import Place
from tidegrid.control.staging import Staging
from tidegrid.domain.errors import InvalidInput, NotFound
from tidegrid.domain.ids import show
from tidegrid.domain.job import FINAL, JobState
from tidegrid.domain.lease import SUBMIT
from tidegrid.store import events, machine_cards
from tidegrid.store import installations as kept
from tidegrid.store.scope import Scope

log = structlog.get_logger(__name__)
LOOK_S = 1.0
_SPEAKS = (JobState.SUCCEEDED, JobState.FAILED, JobState.TIMEOUT, JobState.OOM)  # ends that are the application's own
_CARD_FILE, _CARD_LIMIT = "card.json", 1 << 20
Row = dict[str, Any]


class Trials:
    def __init__(self, ctx: Context, picture: Picture, staging: Staging, application: Any) -> None:
        self.ctx, self.picture, self.staging, self.application = ctx, picture, staging, application

    async def step(self) -> int:
        """How many trials were judged."""
        held = self.ctx.held.get(SUBMIT)
        if held is None:
            return 0
        open_ = await self.ctx.store.read(kept.running)
        if not open_:
            return 0
        jobs = await self.ctx.store.read(lambda c: kept.job_rows(c, [t["job_id"] for t in open_]))
        ended = [t for t in open_ if jobs[t["job_id"]]["state"] in FINAL]
        with acting(held):
            for trial in ended:
                await self._judge(trial, jobs[trial["job_id"]])
        return len(ended)

    async def _judge(self, trial: Row, job: Row) -> None:
        runs = await self.ctx.store.read(lambda c: kept.runs_of(c, job["id"]))
        app: Application = await self.application(trial["app"], trial["version"])
        if trial["kind"] == "card":
            await self._card(trial, job)
            return
        verdict = await self._verdict(trial, job, runs, app)
        place = await self._place(trial)
        ids = [self.ctx.ids.new()]

        def commit(conn: Connection) -> None:
            now = self.ctx.now()
            kept.close(conn, trial["id"], ended_at=now, **verdict)
            batch = kept.of_batch(conn, trial["batch"])
            if any(t["state"] == "running" for t in batch) or place is None:
                return
            self._conclude(conn, batch, place, ids[0], now)

        await self.ctx.write(commit)
        self.ctx.wake("submit")

    def _conclude(self, conn: Connection, batch: Sequence[Row], place: Place, id_: int, now: int) -> None:
        """What a whole verification says of a place, where it says anything."""
        failed = [why for t in batch if t["state"] == "failed" for why in t["failed"]]
        void = [t for t in batch if t["state"] == "void"]
        # it was called in another way then than now
        stale = any(t["way"] != place.way for t in batch)
        if stale or (void and not failed):
            why = "it is invoked otherwise now" if stale else "; ".join(str(w) for t in void for w in t["failed"])[:500]
            body = {"app": place.app.id, "partition": place.partition, "why": why}
            events.append(conn, kind="installation.not_judged", at=now, cluster=place.cluster, body=body)
            return
        row = kept.get(conn, app=place.app.id, version=place.app.version, cluster=place.cluster, partition=place.partition)
        state, _ = installations.effective(row["state"] if row else "", row["way"] if row else None, place.way)
        reason = "; ".join(failed)[:2000]
        say(conn, id=id_, at=now, by=batch[0]["by"], place=place, state=installations.after_tests(state, not failed), reason=reason)

    async def _place(self, trial: Row) -> Place | None:
        """As the network has it now; None where the partition is gone."""
        network = await self.picture.network()
        if network is None:
            return None
        self.picture.software.learn([(trial["app"], trial["version"])])
        known = await self.picture.software.known(network)
        key = (trial["app"], trial["version"], trial["cluster"], trial["partition"])
        return next((p for p in known.places if (p.app.id, p.app.version, p.cluster, p.partition) == key), None)

    async def _verdict(self, trial: Row, job: Row, runs: Sequence[Mapping[str, Any]], app: Application) -> Row:
        """{state, failed, found, seconds}."""
        test = next((t for t in app.tests if t.name == trial["test"]), None)
        ran = [r for r in runs if r["exit_code"] is not None or job["state"] in (JobState.TIMEOUT, JobState.OOM)]
        if test is None or job["state"] not in _SPEAKS or not ran:
            why = f"{show('job', job['id'])} {job['state']}: {job['reason'] or 'it never ran'}"
            return {"state": "void", "failed": [why], "found": {}, "seconds": None}
        texts = await self._texts(job, sorted({e.file for e in test.expect}))
        exits = [r["exit_code"] for r in ran if r["exit_code"] is not None]
        failed = acceptance.check(test, max(exits, default=-1), texts.get)
        if failed and job["state"] != JobState.SUCCEEDED and job["reason"]:
            failed.append(f"{test.name}: {job['state']}: {job['reason']}")
        times = [r for r in ran if r["started_at"] is not None]
        seconds = (max(r["ended_at"] for r in times) - min(r["started_at"] for r in times)) / 1e6 if times else None
        found = dict(acceptance.values(test, texts.get))
        return {"state": "failed" if failed else "passed", "failed": failed, "found": found, "seconds": seconds}

    async def _texts(self, job: Row, paths: Sequence[str]) -> dict[str, str]:
        out = {}
        for path in paths:
            try:
                file = await self.staging.output_path(Scope(job["org_id"]), job, path)
                out[path] = file.read_text(encoding="utf-8", errors="replace")
            except (NotFound, OSError):
                continue
        return out

    async def _card(self, trial: Row, job: Row) -> None:
        text = (await self._texts(job, [_CARD_FILE])).get(_CARD_FILE, "")
        problem, body = "", None
        if job["state"] != JobState.SUCCEEDED:
            problem = f"{show('job', job['id'])} {job['state']}: {job['reason']}"
        elif not text or len(text) > _CARD_LIMIT:
            problem = "it left no card" if not text else "its card is too long"
        else:
            try:
                body = json.loads(text)
                card = machine_card.parse(body)
            except (ValueError, InvalidInput) as e:
                problem, body = f"its card is none: {e}", None
        id_ = self.ctx.ids.new()

        def commit(conn: Connection) -> None:
            now = self.ctx.now()
            state = "failed" if problem else "passed"
            kept.close(conn, trial["id"], ended_at=now, state=state, failed=[problem] if problem else [])
            where = {"partition": trial["partition"], "job": show("job", job["id"])}
            if body is None:
                events.append(conn, kind="card.failed", at=now, cluster=trial["cluster"], body={**where, "why": problem})
                return
            machine_cards.add(
                conn,
                {"id": id_, "cluster": trial["cluster"], "partition": trial["partition"], "measured_at": now, "job_id": job["id"],
                 "by": trial["by"], "hash": card.hash, "body": body},
            )  # fmt: skip
            events.append(conn, kind="card.measured", at=now, cluster=trial["cluster"], body={**where, "hash": card.hash})

        await self.ctx.write(commit)
        if problem:
            log.warning("card.failed", partition=f"{trial['cluster']}/{trial['partition']}", why=problem)
        self.ctx.wake("submit")
