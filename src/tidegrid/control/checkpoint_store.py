"""Checkpoints at home: one directory each, named by a row that says what must be in it.

`home/checkpoints/<org b32>/<job b32>/<checkpoint b32>/…`; a copy under way is in `.new-…` beside it, by what is copied, so
that a transfer that broke off goes on where it stopped. A copy takes the place of the former one when it is whole, on disk
first, then in the database.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from tidegrid.control import results
from tidegrid.control.blobstore import file_sha256, make_directory, sync_directory
from tidegrid.control.context import Context
from tidegrid.domain.ids import b32
from tidegrid.store import checkpoints, events
from tidegrid.store.scope import Scope

Row = Mapping[Any, Any]
DIRECTORY = "checkpoints"
UNNAMED_S, UNFINISHED_S = 3600, 7 * 86_400


class CheckpointStore:
    """Rows and directories together."""

    def __init__(self, ctx: Context) -> None:
        self.ctx = ctx
        self._swept = False

    def directory(self, org_id: int, job_id: int) -> Path:
        return self.ctx.home / DIRECTORY / b32(org_id) / b32(job_id)

    def files_of(self, row: Mapping[str, Any]) -> dict[str, Path]:
        """Where the files of a checkpoint lie, by their path."""
        top = self.directory(row["org_id"], row["job_id"]) / b32(row["id"])
        return {f["path"]: top / f["path"] for f in row["files"]}

    async def of_tasks(self, org_id: int, job_id: int, tasks: Sequence[int]) -> dict[int, dict[str, Any]]:
        rows = await self.ctx.store.read(lambda c: checkpoints.of_job(c, Scope(org_id), job_id, tasks))
        return {r["task"]: r for r in rows}

    async def sweep(self) -> None:
        """Checkpoints of jobs that are over; at the start, directories that no row names."""
        if not self._swept:
            self._swept = True
            known = {b32(i) for i in await self.ctx.store.read(checkpoints.ids)}
            await asyncio.to_thread(_remove_unknown, self.ctx.home / DIRECTORY, known)
        over = await self.ctx.store.read(checkpoints.of_closed_jobs)
        if not over:
            return
        await self.ctx.write(lambda c: checkpoints.remove(c, [r["id"] for r in over]))
        for row in over:
            await asyncio.to_thread(_remove_job, self.directory(row["org_id"], row["job_id"]))

    async def begin(self, row: Row, task: int, mark: str) -> Path:
        """The directory for a copy of what has this mark; copies of another state of the task's files go."""
        top = self.directory(row["org_id"], row["job_id"])
        new = top / f".new-{task}-{mark}"
        await asyncio.to_thread(_make_room, top, new, task)
        return new

    async def keep(self, row: Row, task: int, new: Path, here: list[dict[str, Any]], step: int | None) -> bool:
        """The copy in `new` becomes the checkpoint of the task; false where it is not wanted any more."""
        ctx, now = self.ctx, self.ctx.now()
        size = sum(f["size"] for f in here)
        made = {
            "id": ctx.ids.new(), "org_id": row["org_id"], "job_id": row["job_id"], "attempt_id": row["id"], "task": task,
            "taken_at": now, "step": step, "size": size, "files": here,
        }  # fmt: skip
        place = new.parent / b32(made["id"])
        await asyncio.to_thread(_settle, new, place)

        def commit(conn: Connection) -> tuple[bool, int | None]:
            kept, old = checkpoints.replace(conn, made)
            if kept:
                body = {"task": task, "bytes": size, "files": len(here)} | ({"step": step} if step is not None else {})
                events.append(conn, kind="checkpoint.kept", at=now, org_id=row["org_id"], job_id=row["job_id"],
                              attempt_id=row["id"], cluster=row["cluster"], body=body)  # fmt: skip
            return kept, old

        kept, old = await ctx.write(commit)
        gone = place if not kept else new.parent / b32(old) if old is not None else None
        if gone is not None:
            await asyncio.to_thread(shutil.rmtree, gone, True)
        return kept

    def damage(self, row: Mapping[str, Any]) -> str:
        """What is wrong with its files; empty where nothing is."""
        here = self.files_of(row)
        for f in row["files"]:
            try:
                if file_sha256(here[f["path"]]) != f["sha256"]:
                    return f"{f['path']} has changed"
            except OSError as e:
                return f"{f['path']}: {e.strerror or e}"
        return ""

    async def drop(self, row: Mapping[str, Any], why: str) -> None:
        """Nobody goes on from a damaged one."""

        def commit(conn: Connection) -> None:
            checkpoints.remove(conn, [row["id"]])
            events.append(conn, kind="checkpoint.damaged", at=self.ctx.now(), org_id=row["org_id"], job_id=row["job_id"],
                          attempt_id=row["attempt_id"], body={"task": row["task"], "why": why[:300]})  # fmt: skip

        await self.ctx.write(commit)


def _make_room(top: Path, new: Path, task: int) -> None:
    """The directory of a copy; what is left of copies of another state of the task's files goes."""
    make_directory(top)
    for other in top.glob(f".new-{task}-*"):
        if other != new:
            shutil.rmtree(other, ignore_errors=True)
    make_directory(new)


def _settle(new: Path, place: Path) -> None:
    """Give a copy its name, durably. Half-fetched files of a broken transfer are not part of it."""
    for left in new.rglob(f"{results.TEMPORARY}*"):
        left.unlink(missing_ok=True)
    for directory in {new, *(p for p in new.rglob("*") if p.is_dir())}:
        sync_directory(directory)
    new.rename(place)
    sync_directory(place.parent)


def _remove_unknown(top: Path, known: set[str]) -> None:
    """What a crash left between disk and database. What is young may be another server's, about to get its row."""
    for directory in top.glob("*/*/*"):
        age = time.time() - directory.stat().st_mtime
        if directory.name not in known and age > (UNFINISHED_S if directory.name.startswith(".new-") else UNNAMED_S):
            shutil.rmtree(directory, ignore_errors=True)


def _remove_job(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    with contextlib.suppress(OSError):
        directory.parent.rmdir()
