"""Checkpoints: copied out of the sites while jobs run, and brought to where a job goes on.

A copy is taken beside the former one and takes its place, on disk and in the database, only when it is whole: files that did
not change while they were copied, each with the hash that the site gave. What is at home survives the cluster it came from.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from tidegrid.catalog.document import Application
from tidegrid.catalog.restart import Restart
from tidegrid.connectors.contract import Connector, FileInfo, SiteFiles, SiteRefused, SiteUnsure
from tidegrid.control import intake, results, views
from tidegrid.control.acting import acting
from tidegrid.control.blobstore import require_space
from tidegrid.control.checkpoint_store import CheckpointStore
from tidegrid.control.contact import Contact
from tidegrid.control.context import Context
from tidegrid.control.staging import Staging
from tidegrid.domain.attempt import Reason
from tidegrid.domain.errors import Broken, TideError
from tidegrid.domain.ids import show
from tidegrid.domain.lease import SUBMIT, cluster_role
from tidegrid.domain.ranges import expand
from tidegrid.store import attempts, events, transfers
from tidegrid.store.scope import Scope

log = structlog.get_logger(__name__)
Row = Mapping[Any, Any]
DIRECTORY = "checkpoints"
MOST_FILES = 1000  # of one checkpoint
TAIL = 1 << 18  # bytes of `step_in` that are looked at


@dataclass(frozen=True, slots=True)
class Found:
    """A whole checkpoint at a site: its files, those that go along, all as they were listed."""

    step: int | None
    files: tuple[FileInfo, ...]
    along: tuple[FileInfo, ...]
    told: FileInfo | None = None  # the file whose text tells the step, as it was then

    @property
    def size(self) -> int:
        return sum(f.size for f in (*self.files, *self.along))

    @property
    def mark(self) -> str:
        """The same for the same content, as far as a listing tells."""
        text = "\0".join(f"{f.path} {f.size} {f.modified}" for f in self.files)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def newest(recipe: Restart, now: Sequence[FileInfo], before: Sequence[FileInfo] | None, *, ended: bool = False) -> Found | None:
    """The newest whole checkpoint in a listing of the working directory.

    before: an earlier listing, since which a whole file has not changed; None where the application gives a checkpoint its
    name when it is whole. ended: the run broke off, and what it wrote last may be cut.
    """
    by_path = {f.path: f for f in now}
    known = {f.path: f for f in before} if before is not None else by_path
    mine = [f.path for f in now if any(results.matches(f.path, p) for p in recipe.checkpoint)]
    along = tuple(f for f in now if f.path not in set(mine) and any(results.matches(f.path, p) for p in recipe.with_))
    generations = recipe.generations(mine)
    fullest = max((len(files) for _, files in generations), default=0)
    for i, (step, files) in enumerate(generations):
        if ended and i == 0 and not recipe.atomic:
            continue
        whole = all(by_path[p].size and by_path[p] == known.get(p) and not results.unsafe(p) for p in files)
        if whole and len(files) == fullest <= MOST_FILES:
            return Found(step, tuple(by_path[p] for p in files), along, by_path.get(recipe.step_in))
    return None


class Checkpoints:
    """contacts: what the loops know of the clusters; only theirs are copied here."""

    def __init__(self, ctx: Context, staging: Staging, application: Callable[[str, str], Awaitable[Application]]) -> None:
        self.ctx, self.staging, self.application = ctx, staging, application
        self.store = CheckpointStore(ctx)
        self.contacts: Mapping[str, Contact] = {}
        self._tried: dict[int, int] = {}  # attempt -> when it was last begun
        self._busy: dict[int, asyncio.Task[None]] = {}
        self._kept: dict[tuple[int, int], str] = {}  # (attempt, task) -> mark of what is at home

    # Out, while jobs run ----------------------------------------------------------------------------------------------

    async def step(self) -> int:
        """Begin the copies that are due, each beside the others; remove what nobody goes on from."""
        ctx = self.ctx
        if SUBMIT in ctx.held:
            await self.store.sweep()
        rows = await ctx.store.read(attempts.running_restartable)
        now = ctx.now()
        for row in rows:
            contact = self.contacts.get(row["cluster"])
            held = ctx.held.get(cluster_role(row["cluster"]))
            if row["id"] in self._busy or contact is None or contact.silent or held is None:
                continue
            app = await self.application(row["app"], row["app_version"])
            if app.restart is None:
                continue
            wanted = intake.spec_from(row).checkpoint_every_s or app.restart.every_s
            every = ctx.micro(max(float(wanted), ctx.settings.checkpoint_least))
            if now >= self._tried.setdefault(row["id"], row["started_at"] or now) + every:
                self._tried[row["id"]] = now
                with acting(held):
                    self._busy[row["id"]] = asyncio.create_task(self._copy_all(row, app.restart))
        gone = self._tried.keys() - {r["id"] for r in rows}
        for id_ in gone:
            del self._tried[id_]
        self._kept = {k: v for k, v in self._kept.items() if k[0] not in gone}
        return 0

    async def stop(self) -> None:
        tasks = list(self._busy.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _copy_all(self, row: Row, recipe: Restart) -> None:
        try:
            if (connector := self.ctx.connector(row["cluster"])) is not None:
                await self._copy_each(connector, row, recipe)
        finally:
            self._busy.pop(row["id"], None)

    async def _copy_each(self, connector: Connector, row: Row, recipe: Restart) -> None:
        stored = await self.ctx.store.read(lambda c: attempts.by_ids(c, [row["id"]]))
        tasks = sorted({e.task for s in stored for e in s.attempt.executions if not e.ended})
        for task in tasks:
            try:
                await self.copy(connector, row, task, recipe)
            except (SiteUnsure, SiteRefused, TimeoutError, OSError, TideError) as e:
                why = e.message if isinstance(e, SiteUnsure | SiteRefused | TideError) else str(e) or type(e).__name__
                log.info("checkpoint.later", attempt=show("att", row["id"]), task=task, why=why)
                if isinstance(e, SiteUnsure) and e.silent:
                    return

    async def copy(self, connector: Connector, row: Row, task: int, recipe: Restart, *, ended: bool = False) -> bool:
        """Bring the newest whole checkpoint of a task home, where it is newer than what is here; whether it was."""
        directory = f"{row['directory']}/work" + (f"/{task}" if intake.spec_from(row).array else "")
        patterns = [p for p in (*recipe.checkpoint, *recipe.with_, recipe.step_in) if p]
        before = None
        if not recipe.atomic and not ended:
            before = await connector.files.glob(directory, patterns)
            if newest(recipe, before, None) is None:
                return False
            await asyncio.sleep(recipe.settle_s)
        found = newest(recipe, await connector.files.glob(directory, patterns), before, ended=ended)
        if found is None or self._kept.get((row["id"], task)) == found.mark:
            return False
        if found.size > self.ctx.settings.checkpoint_limit:
            await self._said(row, task, found)
            return False
        async with self.staging.gate:
            kept = await self._bring(connector, row, task, directory, recipe, found)
        if kept:
            self._kept[row["id"], task] = found.mark
        return kept

    async def _bring(
        self, connector: Connector, row: Row, task: int, directory: str, recipe: Restart, found: Found
    ) -> bool:
        ctx, files, mover = self.ctx, connector.files, self.staging.mover
        new = await self.store.begin(row, task, found.mark)
        await asyncio.to_thread(require_space, ctx.home, new, found.size)
        rows = await self._rows(row, connector.cluster, task, directory, found.files)
        here = [await self._one(mover.fetch(files, r, new / f.path), r, f) for r, f in zip(rows, found.files, strict=True)]
        now = await files.glob(directory, [*recipe.checkpoint, *recipe.with_])
        same = {f.path: f for f in now}
        unchanged = all(same.get(f.path) == f for f in found.files)
        # A single file that always is whole was copied whole, whichever of its contents that was.
        if not unchanged and not (recipe.atomic and len(found.files) == 1):
            raise Broken("staging.changed", f"{directory}: the checkpoint was written anew while it was copied",
                         hint="it is copied again later")  # fmt: skip
        along = tuple(same[f.path] for f in found.along if f.path in same and not results.unsafe(f.path))
        former = await self.store.of_tasks(row["org_id"], row["job_id"], [task])
        old = self.store.files_of(former[task]) if task in former else {}
        rows = await self._rows(row, connector.cluster, task, directory, along)
        for r, f in zip(rows, along, strict=True):
            here.append(await self._one(mover.fetch_prefix(files, r, new / f.path, old.get(f.path)), r, f))
        step = found.step
        if found.told is not None and unchanged:
            step = recipe.step_told(await self._tail(files, directory, found.told))
        return await self.store.keep(row, task, new, here, step)

    async def _one(self, moving: Awaitable[tuple[str, int]], r: Row, f: FileInfo) -> dict[str, Any]:
        try:
            sha, size = await moving
        except (TideError, OSError) as e:
            why = e.message if isinstance(e, TideError) else str(e)
            await self.ctx.write(lambda c: transfers.fail(c, r["id"], why, self.ctx.now()))
            raise
        await self.ctx.write(lambda c: transfers.finish_many(c, [(r["id"], sha, size)], self.ctx.now()))
        return {"path": f.path, "size": size, "sha256": sha}

    async def _rows(
        self, row: Row, cluster: str, task: int, directory: str, files: Sequence[FileInfo]
    ) -> list[transfers.Row]:
        made = [
            self.staging.row(row, "checkpoint", cluster, f"{directory}/{f.path}", f"{task}/{f.path}", f.size) for f in files
        ]
        stored = await self.ctx.write(lambda c: transfers.renew(c, made))
        by_path = {r["path"]: r for r in stored}
        return [by_path[f"{task}/{f.path}"] for f in files]

    async def _tail(self, files: SiteFiles, directory: str, told: FileInfo) -> str:
        """The end of the text as far as it was when the checkpoint was found: what came later may be of the next one."""
        begin = max(0, told.size - TAIL)
        data = await files.read(f"{directory}/{told.path}", offset=begin, limit=told.size - begin)
        return data.decode("utf-8", "replace")

    async def _said(self, row: Row, task: int, found: Found) -> None:
        """Once for each attempt: its checkpoints stay at their site."""
        if (row["id"], "checkpoint") in self.ctx.said:
            return
        self.ctx.said.add((row["id"], "checkpoint"))
        limit = self.ctx.settings.checkpoint_limit
        body = {"task": task, "bytes": found.size, "why": f"a checkpoint may have {limit} bytes at most"}
        await self.ctx.write(
            lambda c: events.append(c, kind="checkpoint.too_large", at=self.ctx.now(), org_id=row["org_id"],
                                    job_id=row["job_id"], attempt_id=row["id"], cluster=row["cluster"], body=body)
        )  # fmt: skip

    # In, where a job goes on ------------------------------------------------------------------------------------------

    async def stage(self, connector: Connector, attempt: Row, app: Application) -> dict[int, dict[str, Any]]:
        """Put the newest checkpoint of each of the attempt's tasks into `ckpt/<task>/` of its directory: those there now, by
        task. What is damaged here is dropped: the task starts from its beginning."""
        if app.restart is None:
            return {}
        tasks = expand(attempt["tasks"])
        await self._last(attempt, tasks, app.restart)
        found = await self.store.of_tasks(attempt["org_id"], attempt["job_id"], tasks)
        done: dict[int, dict[str, Any]] = {}
        for task, row in found.items():
            base = f"{attempt['directory']}/ckpt/{task}"
            if why := await asyncio.to_thread(self.store.damage, row):
                log.error("checkpoint.damaged", job=show("job", row["job_id"]), task=task, why=why)
                await self.store.drop(row, why)
                continue
            made = [
                self.staging.row(attempt, "in", connector.cluster, f"{base}/{f['path']}", f"ckpt/{task}/{f['path']}", f["size"])
                | {"sha256": f["sha256"]}
                for f in row["files"]
            ]
            async with self.staging.gate:
                stored = {r["path"]: r for r in await self.ctx.write(lambda c, m=made: transfers.add(c, m))}  # type: ignore[misc]
                here = self.store.files_of(row)
                ended = []
                for f in row["files"]:
                    r = stored[f"ckpt/{task}/{f['path']}"]
                    await self.staging.mover.send(
                        connector.files, here[f["path"]], r["site_path"], f["sha256"], r["id"]
                    )
                    ended.append((r["id"], f["sha256"], f["size"]))
                await self.ctx.write(lambda c, e=ended: transfers.finish_many(c, e, self.ctx.now()))  # type: ignore[misc]
            done[task] = row
        return done

    async def _last(self, attempt: Row, tasks: Sequence[int], recipe: Restart) -> None:
        """What a run that was seen to end left at a site that answers is newer than what was copied while it ran."""
        before = await self.ctx.store.read(
            lambda c: attempts.page_of_job(c, Scope(attempt["org_id"]), attempt["job_id"])
        )
        witnessed = [a for a in before if a["id"] < attempt["id"] and a["reason"] in (Reason.NODE_FAIL, Reason.PREEMPTED)]
        for old in reversed(witnessed):
            contact, connector = self.contacts.get(old["cluster"]), self.ctx.connectors.get(old["cluster"])
            if contact is None or contact.silent or connector is None:
                continue
            job = await self.ctx.store.read(lambda c: attempts.with_spec(c, attempt["job_id"]))
            mine = sorted(set(tasks) & set(expand(old["tasks"])))
            with contextlib.suppress(SiteUnsure, SiteRefused, TimeoutError, OSError, TideError):
                async with asyncio.timeout(self.ctx.settings.checkpoint_last):
                    for task in mine:
                        await self.copy(connector, {**old, "spec": job}, task, recipe, ended=True)
            return

    async def continues(self, attempt: Row, rows: Mapping[int, Mapping[str, Any]]) -> None:
        """Write down what the attempt goes on from."""
        if not rows:
            return
        oldest = min(rows.values(), key=lambda r: int(r["taken_at"]))
        step = f", step {oldest['step']}" if oldest["step"] is not None else ""
        of = f"{len(rows)} of {len(expand(attempt['tasks']))} tasks: " if attempt["tasks"] != "0" else ""
        taken = views.when(oldest["taken_at"])
        body = {
            "text": f"{of}continues from checkpoint of {taken}{step}", "taken_at": taken, "step": oldest["step"],
            "of": show("att", oldest["attempt_id"]), "bytes": sum(int(r["size"]) for r in rows.values()),
        }  # fmt: skip
        await self.ctx.write(
            lambda c: events.append(c, kind="attempt.continues", at=self.ctx.now(), org_id=attempt["org_id"],
                                    job_id=attempt["job_id"], attempt_id=attempt["id"], cluster=attempt["cluster"], body=body)
        )  # fmt: skip
