"""Uploads, data sets and quotas, on behalf of an actor."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from tidegrid.control import views
from tidegrid.control.capability import Capability
from tidegrid.domain.actor import Actor
from tidegrid.domain.errors import Conflict, Forbidden, InvalidInput, NotFound
from tidegrid.store import blobs, jobs, orgs, uploads
from tidegrid.store.scope import Scope

View = dict[str, Any]
YOUNG_S = 3600.0  # content so young may be another request's, whose row is not committed yet


class Data(Capability):
    """Part of the platform."""

    async def upload(self, actor: Actor, chunks: AsyncIterator[bytes], project: str = "") -> View:
        return await self.staging.uploads.put(actor.org_id, chunks, await self._counted_to(actor, project))

    async def upload_pack(self, actor: Actor, chunks: AsyncIterator[bytes], project: str = "") -> View:
        return await self.staging.uploads.pack(actor.org_id, chunks, await self._counted_to(actor, project))

    async def upload_begin(self, actor: Actor, sha256: str, size: int, project: str = "") -> View:
        to = await self._counted_to(actor, project)
        return await self.staging.uploads.begin(actor.org_id, actor.user_id, sha256, size, to)

    async def upload_state(self, actor: Actor, upload: str) -> View:
        return await self.staging.uploads.state(actor.org_id, upload)

    async def upload_append(self, actor: Actor, upload: str, offset: int, chunks: AsyncIterator[bytes]) -> View:
        return await self.staging.uploads.append(actor.org_id, upload, offset, chunks)

    async def upload_drop(self, actor: Actor, upload: str) -> None:
        await self.staging.uploads.drop(actor.org_id, upload)

    async def uploads_missing(self, actor: Actor, hashes: Sequence[str]) -> list[str]:
        """Those that the actor's organisation has not: whatever others have."""
        return await self.ctx.store.read(lambda c: blobs.missing(c, Scope(actor.org_id), hashes))

    async def _counted_to(self, actor: Actor, project: str) -> int:
        """0 for no project."""
        if not project:
            return 0
        row = await self.ctx.store.read(lambda c: orgs.get_project(c, actor.org_id, project))
        if row is None:
            raise NotFound("project.unknown", f"there is no project {project!r}", hint="`default` is always there")
        return int(row["id"])

    # Data sets ------------------------------------------------------------------------------------------------------------

    async def datasets(self, actor: Actor) -> list[View]:
        rows = await self.ctx.store.read(lambda c: uploads.list_datasets(c, Scope(actor.org_id)))
        return [_dataset(r) for r in rows]

    async def dataset(self, actor: Actor, name: str) -> View:
        return _dataset(await self._dataset(actor, name))

    async def _dataset(self, actor: Actor, name: str) -> Any:
        row = await self.ctx.store.read(lambda c: uploads.dataset(c, Scope(actor.org_id), name))
        if row is None:
            raise NotFound("data.unknown", f"there is no data set {name!r}", hint="see `tide data ls`")
        return row

    async def dataset_put(self, actor: Actor, name: str, sha256: str, regions: Sequence[str] = ()) -> View:
        """Name a directory that was uploaded. regions: that its content must not leave; none: no such rule."""
        scope = Scope(actor.org_id)
        files = await self.staging.tree(scope, sha256)
        row = {
            "id": self.ctx.ids.new(), "org_id": actor.org_id, "name": name, "sha256": sha256, "files": len(files),
            "bytes": sum(f.size for f in files), "regions": "\n".join(dict.fromkeys(regions)), "created_at": self.ctx.now(),
        }  # fmt: skip
        return _dataset(await self.ctx.write(lambda c: uploads.put_dataset(c, row)))

    async def dataset_remove(self, actor: Actor, name: str) -> View:
        """Remove a data set, and what of its content nothing else has: {files, bytes} that are free now.

        Conflict (data.in_use) where a job that has not ended needs it."""
        scope = Scope(actor.org_id)
        row = await self._dataset(actor, name)
        others = [d for d in await self.ctx.store.read(lambda c: uploads.list_datasets(c, scope)) if d["name"] != name]
        mine = await self._contents(scope, [row["sha256"]])
        kept = await self._contents(scope, [d["sha256"] for d in others])

        def commit(conn: Connection) -> dict[str, int]:
            needed = {i["sha256"] for s in jobs.open_specs(conn, actor.org_id) for i in json.loads(s).get("inputs", ())}
            if needed & set(mine):
                raise Conflict("data.in_use", f"a job that has not ended needs {name!r}", hint="wait for it, or cancel it")
            uploads.drop_dataset(conn, scope, name)
            free = {h: size for h, size in mine.items() if h not in kept}
            for h in free:
                blobs.drop(conn, scope, h)
            return {h: size for h, size in free.items() if not blobs.used(conn, h)}

        gone = await self.ctx.write(commit)
        await asyncio.to_thread(self.staging.blobs.remove_old, gone, YOUNG_S)
        return {"name": name, "files": len(gone), "bytes": sum(gone.values())}

    async def _contents(self, scope: Scope, trees: Iterable[str]) -> dict[str, int]:
        """Hash -> bytes of directories and all their files."""
        out: dict[str, int] = {}
        for sha in trees:
            out[sha] = 0
            for f in await self.staging.tree(scope, sha):
                out[f.sha256] = f.size
        return out

    # Quotas ---------------------------------------------------------------------------------------------------------------

    async def quota(self, actor: Actor, org: str | None = None) -> View:
        """What the organisation keeps and may keep, and its projects."""
        org_id, name = await self._org(actor, org)

        def read(conn: Connection) -> View:
            scope = Scope(org_id)
            limits = {r["project_id"]: r for r in uploads.quotas_of(conn, org_id)}
            rows = [("", 0), *((p["name"], p["id"]) for p in orgs.list_projects(conn, org_id))]
            items = [_quota(conn, scope, project, id_, limits.get(id_)) for project, id_ in rows]
            return {"org": name, **{k: v for k, v in items[0].items() if k != "project"}, "projects": items[1:]}

        return await self.ctx.store.read(read)

    async def quota_set(self, actor: Actor, org: str | None, project: str, size: int | None, files: int | None) -> View:
        """An operator sets an organisation's, or a project's; a project admin that of its own projects. None: no limit."""
        org_id, name = await self._org(actor, org)
        if not actor.is_operator and not project:
            raise Forbidden("auth.forbidden", "an organisation's quota is the operator's to set", hint="name one of your projects")
        for number in (size, files):
            if number is not None and not 0 <= number < 1 << 62:
                raise InvalidInput("quota.amount", f"{number} is no amount")
        row = await self.ctx.store.read(lambda c: orgs.get_project(c, org_id, project)) if project else None
        if project and row is None:
            raise NotFound("project.unknown", f"there is no project {project!r}")
        await self.ctx.write(lambda c: uploads.set_quota(c, org_id, row["id"] if row else 0, size, files))
        return await self.quota(actor, name)


def _quota(conn: Connection, scope: Scope, project: str, id_: int, limit: Mapping[Any, Any] | None) -> View:
    used, promised = blobs.taken(conn, scope, id_ or None), uploads.promised(conn, scope, id_ or None)
    return {
        "project": project, "bytes": used[0], "files": used[1], "arriving_bytes": promised[0],
        "limit_bytes": limit["bytes"] if limit else None, "limit_files": limit["files"] if limit else None,
    }  # fmt: skip


def _dataset(row: Mapping[Any, Any]) -> View:
    return {
        "name": row["name"], "sha256": row["sha256"], "files": row["files"], "bytes": row["bytes"],
        "regions": row["regions"].split("\n") if row["regions"] else [], "created_at": views.when(row["created_at"]),
    }  # fmt: skip
