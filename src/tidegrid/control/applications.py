"""Applications as people meet them: looked at, published, pinned by jobs, and how far a run of one is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from tidegrid.catalog import document
from tidegrid.catalog import progress as telling
from tidegrid.catalog.document import Application
from tidegrid.catalog.needs import Inputs
from tidegrid.connectors.contract import SiteRefused, SiteUnsure
from tidegrid.control import catalogue, views
from tidegrid.control.capability import Capability
from tidegrid.domain.actor import Actor
from tidegrid.domain.errors import NotFound, Unreachable
from tidegrid.domain.ids import parse
from tidegrid.domain.job import FINAL, JobState
from tidegrid.domain.ranges import expand
from tidegrid.store import apps, attempts, blobs, events, transfers
from tidegrid.store.scope import Scope

View = dict[str, Any]


class Applications(Capability):
    """A part of the platform."""

    _apps: dict[tuple[str, str], Application]

    async def application(self, app: str, version: str) -> Application:
        """A pinned version."""
        if (app, version) not in self._apps:
            row = await self.ctx.store.read(lambda c: apps.get(c, app, version))
            if row is None:
                raise NotFound("app.unknown", f"there is no application {app}@{version[:12]}")
            self._apps[app, version] = document.from_body(json.loads(row["body"]))
        return self._apps[app, version]

    async def _named(self, text: str) -> Application:
        """`id` (the current version) or `id@version` (its beginning suffices)."""
        app, _, version = text.partition("@")
        row = await self.ctx.store.read(lambda c: apps.get(c, app, version) if version else apps.current(c, app))
        if row is None:
            raise NotFound("app.unknown", f"there is no application {text!r}", hint="`tide apps` lists them")
        return await self.application(row["id"], row["version"])

    async def apps(self) -> list[View]:
        rows = await self.ctx.store.read(lambda c: [(r["id"], r["version"]) for r in apps.list_current(c)])
        return [_view(await self.application(*row), full=False) for row in rows]

    async def app(self, id: str) -> View:
        return _view(await self._named(id), full=True)

    async def app_versions(self, actor: Actor, id: str) -> list[View]:
        """All that there ever were; each can still be run as `id@version`. by: who published it, for operators."""

        def read(conn: Connection) -> tuple[list[Any], dict[str, str]]:
            rows = apps.versions(conn, id)
            who = {}
            for e in events.after(conn, Scope(None), 0, kinds=("app.added",), limit=10_000) if actor.is_operator else ():
                body = json.loads(e["body"]) if isinstance(e["body"], str) else e["body"]
                if body.get("app") == id:
                    who[str(body["version"])] = str(body.get("by", ""))
            return rows, who

        rows, who = await self.ctx.store.read(read)
        if not rows:
            raise NotFound("app.unknown", f"there is no application {id!r}", hint="`tide apps` lists them")
        out = []
        for r in rows:
            a = await self.application(id, r["version"])
            view = {"id": id, "version": r["version"], "current": bool(r["current"]), "added_at": views.when(r["created_at"]),
                    "title": dict(a.title)}  # fmt: skip
            out.append(view | ({"by": who.get(r["version"], "")} if actor.is_operator else {}))
        return out

    async def app_publish(self, actor: Actor, text: str, files: Mapping[str, bytes], dry_run: bool) -> View:
        """Check a document, keep it with its files, and make it the current version. `new`: this version was not there before;
        publishing one again makes it current again."""
        application, new = await catalogue.publish(self.ctx, text, files, actor.user, dry_run=dry_run)
        return {**_view(application, full=False), "new": new, "dry_run": dry_run,
                "files": [{"path": f.path, "sha256": f.sha256} for f in application.files]}  # fmt: skip

    async def _inputs_of(self, actor: Actor, body: Mapping[str, Any], application: Application) -> Inputs:
        """How much a job is given. Unknown uploads are told later, and what another job has not written yet counts for nothing."""
        wanted, scope = list(body.get("inputs") or ()), Scope(actor.org_id)

        def read(conn: Connection) -> int:
            total = 0
            for i in wanted:
                if i.get("job"):
                    row = transfers.fetched(conn, scope, parse("job", i["job"]), str(i.get("source") or i["path"]))
                else:
                    row = blobs.get(conn, scope, str(i.get("sha256")))
                total += int(row["size"]) if row is not None else 0
            return total

        known = await self.ctx.store.read(read) if wanted else 0
        return Inputs(known + int(body.get("input_bytes") or 0), len(wanted) + int(body.get("input_files") or 0))

    async def progress(self, actor: Actor, job_id: str) -> View:
        """{percent, done, of, source}; percent is None where nothing is known. source: `log`, what the application writes;
        `tasks`, how many of an array have ended; `state`."""
        row = await self._job_row(actor, job_id)
        view: View = {"job": job_id, "state": row["state"], "percent": None, "done": None, "of": None, "source": "state"}
        if row["state"] in FINAL:
            return view | ({"percent": 100.0} if row["state"] == JobState.SUCCEEDED else {})
        scope, id_ = Scope(actor.scope_org), row["id"]
        rows, runs = await self.ctx.store.read(
            lambda c: (attempts.page_of_job(c, scope, id_), attempts.executions_of(c, scope, id_))
        )
        if row["tasks"] > 1:
            done = len({e["task"] for e in runs if e["ended_at"] is not None})
            return view | {"percent": round(100 * done / row["tasks"], 1), "done": done, "of": row["tasks"], "source": "tasks"}
        application = await self.application(row["app"], row["app_version"])
        live = [r for r in rows if r["state"] == "RUNNING"]
        connector = self.ctx.connectors.get(live[-1]["cluster"]) if live else None
        if not application.progress or connector is None:
            return view
        of = json.loads(row["spec"])["params"].get(application.progress_of)
        found = await self._told(connector, live[-1], application, of)
        if found is None:
            return view
        return view | {"percent": found.percent, "done": found.done, "of": found.of, "source": "log"}

    async def _told(
        self, connector: Any, attempt: Mapping[Any, Any], application: Application, of: float | None
    ) -> telling.Progress | None:
        directory, inside = f"{attempt['directory']}/log", f"{expand(attempt['tasks'])[0]}.out"
        if application.progress_in:
            directory, inside = f"{attempt['directory']}/work", application.progress_in
        try:
            async with asyncio.timeout(self.ctx.settings.call):
                sizes = {f.path: f.size for f in await connector.files.glob(directory, [inside], limit=2)}
                size = next(iter(sizes.values()), 0)
                start = max(0, size - telling.TAIL)
                data = await connector.files.read(f"{directory}/{inside}", offset=start, limit=telling.TAIL)
        except (SiteUnsure, SiteRefused, TimeoutError, OSError) as e:
            raise Unreachable("cluster.silent", f"{attempt['cluster']} does not answer: {e}", hint="try again later") from None
        return telling.read(application.progress, data.decode("utf-8", "replace"), of)


def _view(a: Application, *, full: bool) -> View:
    r = a.resources
    view: View = {
        "id": a.id,
        "version": a.version,
        "title": dict(a.title),
        "summary": dict(a.summary),
        "resources": {"cores": r.cores, "memory_mib": r.memory_mib, "gpus": r.gpus, "wall_s": r.wall_s},
        "formulas": a.needs.describe(),
        "movable": a.movable,
        "restartable": a.restartable,
    }
    if full:
        view |= {
            "params": dict(a.params), "ui": dict(a.ui), "inputs": list(a.inputs), "outputs": list(a.outputs),
            "script": a.script, "document": dict(a.body),
        }  # fmt: skip
    return view
