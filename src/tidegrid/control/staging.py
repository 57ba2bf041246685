"""Files on their way: inputs to a site before an attempt is sent, outputs and logs home when it has ended.

Every file is one row of `transfers`, resumable from what has arrived, and done only when both ends have the same hash.
Each method can be called again after a crash at any point, and does what is left.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, RowMapping

from tidegrid.catalog.document import Application
from tidegrid.connectors.contract import Connector, SiteFiles, SiteRefused
from tidegrid.control import results
from tidegrid.control.blobstore import (
    BlobStore,
    make_directory,
    require_space,
)
from tidegrid.control.context import Context
from tidegrid.control.moving import Mover
from tidegrid.domain.errors import InvalidInput, NoSpace, NotFound, TideError
from tidegrid.domain.ids import show
from tidegrid.domain.job import InputFile, JobSpec
from tidegrid.domain.ranges import expand
from tidegrid.store import blobs, transfers
from tidegrid.store.scope import Scope

Row = Mapping[Any, Any]
BATCH = 200  # transfers closed in one transaction


@dataclass(frozen=True, slots=True)
class Fetched:
    """What `fetch_outputs` brought home: files and bytes now there, and those that could not be: (path, why)."""

    files: int
    bytes: int
    failed: tuple[tuple[str, str], ...] = ()


def _no_quota(org_id: int) -> int | None:
    return None


class Staging:
    """quota: bytes an organisation may keep in uploads, by its id; None: no limit."""

    def __init__(self, ctx: Context, *, quota: Callable[[int], int | None] = _no_quota) -> None:
        self.ctx, self.quota = ctx, quota
        self.blobs = BlobStore(ctx.home / "blobs")
        self.mover = Mover(ctx)
        self.gate = asyncio.Semaphore(ctx.settings.transfers_at_once)

    # Uploads --------------------------------------------------------------------------------------------------------

    async def upload(self, org_id: int, chunks: AsyncIterator[bytes]) -> dict[str, Any]:
        """Store a content for an organisation: {sha256, size}. NoSpace (staging.no_space, staging.quota)."""
        scope, limit = Scope(org_id), self.quota(org_id)
        used = await self.ctx.store.read(lambda c: blobs.total(c, scope)) if limit is not None else 0

        def check(size: int) -> None:
            if limit is not None and used + size > limit:
                raise NoSpace(
                    "staging.quota",
                    f"uploads are limited to {limit} bytes; {used} are in use and this one has at least {size}",
                    hint="remove uploads, or ask the operator for more",
                    details={"limit": limit, "used": used, "needed": size},
                )

        sha, size = await self.blobs.put(chunks, check=check)
        await self.ctx.write(lambda c: blobs.put(c, scope, sha, size, self.ctx.now()))
        return {"sha256": sha, "size": size}

    # In -------------------------------------------------------------------------------------------------------------

    async def stage_in(self, connector: Connector, attempt: Row, spec: JobSpec, app: Application) -> None:
        """Put the application's files and the job's inputs into `in/` of the attempt's directory.

        NotFound (input.missing) where another job left no such file; NoSpace; Broken (staging.corrupt, blob.missing);
        errors of the site as the contract has them.
        """
        files, base = connector.files, f"{attempt['directory']}/in"
        for f in app.files:
            await self.mover.send(files, self.blobs.existing(f.sha256), f"{base}/{f.path}", f.sha256, 0)
        if not spec.inputs:
            return
        async with self.gate:
            sources = await self._sources(Scope(attempt["org_id"]), attempt, spec.inputs)
            rows = [
                self.row(attempt, "in", connector.cluster, f"{base}/{i.path}", i.path, size) | {"sha256": sha}
                for i, (_, sha, size) in zip(spec.inputs, sources, strict=True)
            ]
            stored = await self.ctx.write(lambda c: transfers.add(c, rows))
            by_path = {i.path: source for i, source in zip(spec.inputs, sources, strict=True)}
            done: list[tuple[int, str, int]] = []
            for row in stored:
                if row["state"] == "done":
                    continue
                local, sha, size = by_path[row["path"]]
                await self.mover.send(files, local, row["site_path"], sha, row["id"])
                done.append((row["id"], sha, size))
            await self.ctx.write(lambda c: transfers.finish_many(c, done, self.ctx.now()))

    async def _sources(self, scope: Scope, attempt: Row, inputs: Sequence[InputFile]) -> list[tuple[Path, str, int]]:
        """Local file, hash and size of each input, of the scope's organisation only."""
        if len({i.path for i in inputs}) != len(inputs):
            raise InvalidInput("input.path", "two inputs have the same path", hint="give each its own")

        def find(conn: Connection) -> list[tuple[InputFile, RowMapping | None]]:
            return [
                (i, transfers.fetched(conn, scope, i.job, i.source) if i.job else blobs.get(conn, scope, i.sha256))
                for i in inputs
            ]

        out: list[tuple[Path, str, int]] = []
        for i, row in await self.ctx.store.read(find):
            if why := results.unsafe(i.path):
                raise InvalidInput("input.path", f"input {i.path!r} {why}")
            if row is None:
                whence = f"{show('job', i.job)} left no output {i.source!r}" if i.job else f"no upload {i.sha256[:16]}…"
                raise NotFound("input.missing", f"input {i.path!r}: {whence}", hint="see `tide fetch --list`")
            local = self._result(attempt["org_id"], i.job, i.source) if i.job else self.blobs.existing(i.sha256)
            out.append((local, row["sha256"], int(row["size"])))
        return out

    # Out ------------------------------------------------------------------------------------------------------------

    async def fetch_outputs(self, connector: Connector, attempt: Row, spec: JobSpec) -> Fetched:
        """Bring the logs, and what the job's output patterns name, into its results. Done files are not fetched again.

        A file that cannot be brought home is failed, with its reason; NoSpace and errors of the site as a whole are
        raised: then call again later.
        """
        async with self.gate:
            wanted = await self._wanted(connector.files, attempt, spec)
            rows = await self._plan(connector.cluster, attempt, wanted)
            todo = [r for r in rows if r["state"] == "pending"]
            needed = sum(max(0, r["size"] - r["offset"]) for r in todo)
            home = results.job_directory(self.ctx.home, attempt["org_id"], attempt["job_id"])
            if todo:
                await asyncio.to_thread(make_directory, home)
                await asyncio.to_thread(require_space, self.ctx.home, home, needed)
            done: list[tuple[int, str, int]] = []
            failed: list[tuple[int, str, str]] = []
            try:
                todo = await self.mover.fetch_small(connector.files, todo, home, done)
                for row in todo:
                    try:
                        sha, size = await self.mover.fetch(connector.files, row, home / row["path"])
                        done.append((row["id"], sha, size))
                    except NoSpace:
                        raise
                    except (TideError, FileNotFoundError, NotADirectoryError, IsADirectoryError, FileExistsError) as e:
                        failed.append((row["id"], row["path"], e.message if isinstance(e, TideError) else str(e)))
                    if len(done) + len(failed) >= BATCH:
                        await self._close(done, failed)
            finally:
                await self._close(done, failed)
        scope = Scope(attempt["org_id"])
        after = await self.ctx.store.read(lambda c: transfers.of_attempt(c, scope, attempt["id"], "out"))
        home_now = [r for r in after if r["state"] == "done"]
        return Fetched(
            len(home_now),
            sum(r["size"] for r in home_now),
            tuple((r["path"], r["error"]) for r in after if r["state"] == "failed"),
        )

    async def _wanted(self, files: SiteFiles, attempt: Row, spec: JobSpec) -> list[results.Wanted]:
        directory, array = attempt["directory"], bool(spec.array)
        tasks = expand(attempt["tasks"])
        limit = results.MAX_FILES_OF_ARRAY if array else results.MAX_FILES
        wanted = results.select_logs(directory, await files.glob(f"{directory}/log", ["*"], limit=limit))
        if spec.outputs:
            patterns = [f"*/{p}" for p in spec.outputs] if array else list(spec.outputs)
            try:
                found = await files.glob(f"{directory}/work", patterns, limit=limit)
            except SiteRefused as e:
                wanted.append(results.Wanted(f"{directory}/work", "outputs", 0, f"{e.message}; they stay at the site"))
                return wanted
            wanted += results.select_outputs(directory, found, spec.outputs, tasks, array=array)
        return wanted

    async def _plan(self, cluster: str, attempt: Row, wanted: Sequence[results.Wanted]) -> list[Row]:
        """The rows of this attempt, with names of their own where another attempt has taken one."""

        def commit(conn: Connection) -> list[Row]:
            scope = Scope(attempt["org_id"])
            taken = transfers.paths_of_others(conn, scope, attempt["job_id"], attempt["id"])
            rows: dict[str, dict[str, Any]] = {}
            for w in wanted:
                path = results.apart(w.path, attempt["id"]) if w.path in taken else w.path
                rows[path] = self.row(attempt, "out", cluster, w.site_path, path, w.size)
                if w.problem:
                    rows[path] |= {"state": "failed", "error": w.problem, "ended_at": self.ctx.now()}
                else:
                    rows[path] |= {"state": "pending", "error": "", "ended_at": None}
            return [*transfers.add(conn, list(rows.values()))]

        return await self.ctx.write(commit) if wanted else []

    def row(self, attempt: Row, direction: str, cluster: str, site_path: str, path: str, size: int) -> dict[str, Any]:
        return {
            "id": self.ctx.ids.new(),
            "org_id": attempt["org_id"],
            "job_id": attempt["job_id"],
            "attempt_id": attempt["id"],
            "direction": direction,
            "cluster": cluster,
            "site_path": site_path,
            "path": path,
            "size": size,
            "created_at": self.ctx.now(),
        }

    async def _close(self, done: list[tuple[int, str, int]], failed: list[tuple[int, str, str]]) -> None:
        if not done and not failed:
            return
        now, ended, lost = self.ctx.now(), list(done), list(failed)

        def commit(conn: Connection) -> None:
            transfers.finish_many(conn, ended, now)
            for id, _, why in lost:
                transfers.fail(conn, id, why, now)

        await self.ctx.write(commit)
        done.clear()
        failed.clear()

    # Results --------------------------------------------------------------------------------------------------------

    def _result(self, org_id: int, job_id: int, path: str) -> Path:
        return results.job_directory(self.ctx.home, org_id, job_id) / path

    async def list_outputs(self, scope: Scope, job: Row) -> list[dict[str, Any]]:
        """{path, size, sha256, state, error} of every file of the job, by path."""
        rows = await self.ctx.store.read(lambda c: transfers.of_job(c, scope, job["id"], "out"))
        return [
            {k: r[k] for k in ("path", "size", "state", "error")}
            | {"sha256": r["sha256"] or None, "site": r["cluster"]}
            for r in rows
        ]

    async def output_path(self, scope: Scope, job: Row, path: str) -> Path:
        """The local file of an output; NotFound (output.unknown)."""
        row = await self.ctx.store.read(lambda c: transfers.fetched(c, scope, job["id"], path))
        if row is None or results.unsafe(path):
            name = show("job", job["id"])
            raise NotFound("output.unknown", f"{name} has no output {path!r}", hint=f"see `tide fetch --list {name}`")
        return self._result(row["org_id"], row["job_id"], row["path"])

    async def read_log(self, attempt: Row, name: str, *, offset: int = 0, limit: int = 65536) -> bytes:
        """Bytes of an attempt's log (`0.out`) that is at home; empty where there is none."""
        scope, own = Scope(attempt["org_id"]), f"log/{name}"
        names = (own, results.apart(own, attempt["id"]))
        rows = await self.ctx.store.read(lambda c: transfers.of_attempt(c, scope, attempt["id"], "out"))
        found = next((r for r in rows if r["path"] in names and r["state"] == "done"), None)
        if found is None:
            return b""
        return await asyncio.to_thread(
            _read, self._result(found["org_id"], found["job_id"], found["path"]), offset, limit
        )


def _read(path: Path, offset: int, limit: int) -> bytes:
    try:
        with path.open("rb") as f:
            f.seek(offset)
            return f.read(limit)
    except FileNotFoundError:
        return b""
