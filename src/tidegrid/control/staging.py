"""Files on their way: inputs to a site before an attempt is sent, outputs and logs home when it has ended.

Every file is one row of `transfers`, resumable from what has arrived, and done only when both ends have the same hash.
Each method can be called again after a crash at any point, and does what is left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import Connection, RowMapping

from tidegrid.catalog.document import Application
from tidegrid.connectors.contract import Connector, FileInfo, SiteFiles, SiteRefused
from tidegrid.connectors.packs import untouched
from tidegrid.connectors.rooted import split
from tidegrid.control import bringing, caches, results
from tidegrid.control.blobstore import (
    BlobStore,
    require_space,
)
from tidegrid.control.bringing import Bringer, Source
from tidegrid.control.context import Context
from tidegrid.control.moving import SMALL, Mover
from tidegrid.control.uploads import Uploads
from tidegrid.domain.errors import InvalidInput, NoSpace, NotFound, TideError
from tidegrid.domain.ids import show
from tidegrid.domain.job import InputFile, JobSpec
from tidegrid.domain.ranges import expand
from tidegrid.domain.tree import MAX_BYTES, TreeFile, decode
from tidegrid.store import blobs, site_data, transfers
from tidegrid.store.scope import Scope

log = structlog.get_logger(__name__)
Row = Mapping[Any, Any]
BATCH = 200  # transfers closed in one transaction
LITTLE = 32  # files of an attempt that are brought home together with those of others


@dataclass(frozen=True, slots=True)
class Fetched:
    """What `fetch_outputs` brought home: files and bytes now there, and those that could not be: (path, why)."""

    files: int
    bytes: int
    failed: tuple[tuple[str, str], ...] = ()


class Staging:
    """blobs: contents at home; uploads: how they come there."""

    def __init__(self, ctx: Context) -> None:
        self.ctx = ctx
        self.blobs = BlobStore(ctx.home / "blobs")
        self.uploads = Uploads(ctx, self.blobs)
        self.mover = Mover(ctx)
        self.bringer = Bringer(self.mover)
        self.gate = asyncio.Semaphore(ctx.settings.transfers_at_once)

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
        scope = Scope(attempt["org_id"])
        async with self.gate:
            found = [await self._sources(scope, attempt, i) for i in await self._known(scope, spec.inputs)]
            sources = [s for group in found for s in group]
            _distinct(sources)
            rows = [
                self.row(attempt, "in", connector.cluster, f"{base}/{i.path}", i.path, sum(s.size for s in group))
                | {"sha256": i.sha256 or group[0].sha256}
                for i, group in zip(spec.inputs, found, strict=True)
            ]
            stored = await self.ctx.write(lambda c: transfers.add(c, rows))
            if all(r["state"] == "done" for r in stored):
                return
            at = bringing.cache_of(attempt["directory"], attempt["org_id"])
            one = stored[0]["id"] if len(stored) == 1 and len(sources) == 1 else 0
            brought = await self.bringer.bring(files, at, base, sources, one)
            log.info("data.brought", attempt=show("att", attempt["id"]), cluster=connector.cluster, **asdict(brought))
            done = [(r["id"], r["sha256"], r["size"]) for r in stored if r["state"] != "done"]
            trees = {i.sha256 for i in spec.inputs if i.tree}
            keys = [(r["sha256"], r["size"], r["sha256"] in trees) for r in stored]

            def close(conn: Connection) -> None:
                transfers.finish_many(conn, done, self.ctx.now())
                site_data.used(conn, scope, connector.cluster, split(attempt["directory"])[0], keys, self.ctx.now())

            await self.ctx.write(close)
            await caches.evict(self, connector, attempt, at)

    async def _known(self, scope: Scope, inputs: Sequence[InputFile]) -> list[tuple[InputFile, RowMapping]]:
        """Each input with its row, of the scope's organisation only."""
        if len({i.path for i in inputs}) != len(inputs):
            raise InvalidInput("input.path", "two inputs have the same path", hint="give each its own")

        def find(conn: Connection) -> list[tuple[InputFile, RowMapping | None]]:
            return [
                (i, transfers.fetched(conn, scope, i.job, i.source) if i.job else blobs.get(conn, scope, i.sha256))
                for i in inputs
            ]

        out: list[tuple[InputFile, RowMapping]] = []
        for i, row in await self.ctx.store.read(find):
            if why := results.unsafe(i.path):
                raise InvalidInput("input.path", f"input {i.path!r} {why}")
            if row is None:
                whence = f"{show('job', i.job)} left no output {i.source!r}" if i.job else f"no upload {i.sha256[:16]}…"
                raise NotFound("input.missing", f"input {i.path!r}: {whence}", hint="see `tide fetch --list`")
            out.append((i, row))
        return out

    async def _sources(self, scope: Scope, attempt: Row, known: tuple[InputFile, RowMapping]) -> list[Source]:
        """The files of an input: one, or all of a directory."""
        i, row = known
        if i.tree:
            files = await self.tree(scope, i.sha256)
            return [Source(f"{i.path}/{f.path}", self.blobs.path(f.sha256), f.sha256, f.size) for f in files]
        local = self._result(attempt["org_id"], i.job, i.source) if i.job else self.blobs.existing(i.sha256)
        return [Source(i.path, local, row["sha256"], int(row["size"]))]

    async def tree(self, scope: Scope, sha256: str) -> tuple[TreeFile, ...]:
        """The files of a directory that was uploaded, each of which the scope's organisation has.

        NotFound (upload.unknown); InvalidInput (tree.malformed)."""
        row = await self.ctx.store.read(lambda c: blobs.get(c, scope, sha256))
        if row is None:
            raise NotFound("upload.unknown", f"no upload with hash {sha256[:16]}…", hint="upload the directory first")
        if row["size"] > MAX_BYTES:
            raise InvalidInput("tree.malformed", f"the upload {sha256[:16]}… is no directory", hint="name it as a file")
        files = await asyncio.to_thread(lambda: decode(self.blobs.existing(sha256).read_bytes()))
        missing = await self.ctx.store.read(lambda c: blobs.missing(c, scope, (f.sha256 for f in files)))
        if missing:
            lost = next(f.path for f in files if f.sha256 == missing[0])
            raise NotFound(
                "upload.unknown", f"{len(missing)} of the directory's {len(files)} files are not uploaded, {lost!r} first",
                hint="upload the directory again: only what is missing travels",
            )  # fmt: skip
        return files

    # Out ------------------------------------------------------------------------------------------------------------

    async def fetch_outputs(self, connector: Connector, attempt: Row, spec: JobSpec) -> Fetched:
        """Bring the logs, and what the job's output patterns name, into its results. Done files are not fetched again.

        A file that cannot be brought home is failed, with its reason; NoSpace and errors of the site as a whole are
        raised: then call again later.
        """
        async with self.gate:
            wanted = await self._wanted(connector.files, attempt, spec)
            todo = await self._todo(connector.cluster, [(attempt, wanted)])
            done: list[tuple[int, str, int]] = []
            failed: list[tuple[int, str, str]] = []
            try:
                todo = await self.mover.fetch_small(connector.files, todo, done)
                for row in todo:
                    try:
                        sha, size = await self.mover.fetch(connector.files, row, self.mover.target(row))
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

    async def fetch_together(self, connector: Connector, ended: Sequence[tuple[Row, JobSpec]]) -> set[int]:
        """The outputs of many attempts that left little: in one question and one stream. Those of which nothing is left to bring;
        the others, and all of them where this raises anything, are for `fetch_outputs`."""
        async with self.gate:
            looks = [_looks(attempt, spec) for attempt, spec in ended]
            found = iter(await connector.files.glob_many([look for its in looks for look in its], limit=results.MAX_FILES))
            wanted = [
                (attempt, _chosen(attempt, spec, [next(found) for _ in its]))
                for (attempt, spec), its in zip(ended, looks, strict=True)
            ]
            todo = await self._todo(connector.cluster, wanted)
            by_attempt: dict[int, list[Row]] = {attempt["id"]: [] for attempt, _ in ended}
            for row in todo:
                by_attempt[row["attempt_id"]].append(row)
            little = {
                i for i, rows in by_attempt.items()
                if len(rows) <= LITTLE and sum(r["size"] for r in rows) <= SMALL and not any(r["offset"] for r in rows)
            }  # fmt: skip
            done: list[tuple[int, str, int]] = []
            try:
                left = await self.mover.fetch_small(connector.files, [r for r in todo if r["attempt_id"] in little], done)
            finally:
                await self._close(done, [])
            return little - {r["attempt_id"] for r in left}

    async def _wanted(self, files: SiteFiles, attempt: Row, spec: JobSpec) -> list[results.Wanted]:
        limit = results.MAX_FILES_OF_ARRAY if spec.array else results.MAX_FILES
        logs, *work = _looks(attempt, spec)
        found = [await files.glob(*logs, limit=limit)]
        try:
            found += [await files.glob(*look, limit=limit) for look in work]
        except SiteRefused as e:
            why = f"{e.message}; they stay at the site"
            return [*_chosen(attempt, spec, found), results.Wanted(f"{attempt['directory']}/work", "outputs", 0, why)]
        return _chosen(attempt, spec, found)

    async def _todo(self, cluster: str, wanted: Sequence[tuple[Row, Sequence[results.Wanted]]]) -> list[Row]:
        """Rows of what is still to come, where there is room for it."""
        rows = await self._plan(cluster, wanted)
        todo = [r for r in rows if r["state"] == "pending"]
        if todo:
            home = results.job_directory(self.ctx.home, todo[0]["org_id"], todo[0]["job_id"])
            needed = sum(max(0, r["size"] - r["offset"]) for r in todo)
            await asyncio.to_thread(require_space, self.ctx.home, home, needed)
        return todo

    async def _plan(self, cluster: str, wanted: Sequence[tuple[Row, Sequence[results.Wanted]]]) -> list[Row]:
        """The rows of these attempts, with names of their own where another attempt has taken one."""

        def commit(conn: Connection) -> list[Row]:
            return [row for attempt, its in wanted if its for row in self._plan_one(conn, cluster, attempt, its)]

        return await self.ctx.write(commit) if any(its for _, its in wanted) else []

    def _plan_one(self, conn: Connection, cluster: str, attempt: Row, wanted: Sequence[results.Wanted]) -> list[Row]:
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


def _looks(attempt: Row, spec: JobSpec) -> list[tuple[str, list[str]]]:
    """Where an attempt's outputs lie at its site: directories and patterns, the logs first."""
    looks = [(f"{attempt['directory']}/log", ["*"])]
    if spec.outputs:
        patterns = [f"*/{p}" for p in spec.outputs] if spec.array else list(spec.outputs)
        looks.append((f"{attempt['directory']}/work", patterns))
    return looks


def _chosen(attempt: Row, spec: JobSpec, found: Sequence[Sequence[FileInfo]]) -> list[results.Wanted]:
    """What is brought home of what lies there."""
    directory, array = attempt["directory"], bool(spec.array)
    wanted = results.select_logs(directory, found[0])
    for left in found[1:]:
        if "**" in spec.outputs:  # all that is new: what it was given, and has not changed, is not
            given = {i.path for i in spec.inputs}
            left = [f for f in left if not (untouched(f.modified) and _given(f.path, given, array))]
        wanted += results.select_outputs(directory, left, spec.outputs, expand(attempt["tasks"]), array=array)
    return wanted


def _given(path: str, inputs: set[str], array: bool) -> bool:
    """Whether a file of the working directory has the name of an input, or lies in one that is a directory."""
    steps = path.split("/")[1 if array else 0 :]
    return any("/".join(steps[:n]) in inputs for n in range(1, len(steps) + 1))


def _distinct(sources: Sequence[Source]) -> None:
    seen: set[str] = set()
    for s in sources:
        if s.path in seen:
            raise InvalidInput("input.path", f"two inputs have the path {s.path!r}", hint="give each its own")
        seen.add(s.path)


def _read(path: Path, offset: int, limit: int) -> bytes:
    try:
        with path.open("rb") as f:
            f.seek(offset)
            return f.read(limit)
    except FileNotFoundError:
        return b""
