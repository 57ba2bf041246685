"""Contents on their way from users: whole in one request, many small ones in one, or piece by piece, resumed where it broke off.

Nothing is seen before it is whole, has its hash and is on the disk. What has arrived of a piecemeal upload lies in
`blobs/.upload-<id>`, and its length is the offset: there is no second record that could say otherwise.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from tidegrid.control.blobstore import SHA, BlobStore, file_sha256, make_directory, require_space, space, sync_directory
from tidegrid.control.context import Context
from tidegrid.control.quotas import Limit, limits
from tidegrid.domain.errors import Conflict, InvalidInput, NoSpace, NotFound
from tidegrid.domain.ids import b32, parse, show
from tidegrid.store import blobs, uploads
from tidegrid.store.scope import Scope

PACKED = 16 << 20  # bytes of the largest file that travels in a pack
GROUP = 256  # files of a pack that reach the disk, and the table, together
GROUP_BYTES = 64 << 20
_HEAD = 64 + 1 + 20 + 1


class Uploads:
    """store: the contents."""

    def __init__(self, ctx: Context, store: BlobStore) -> None:
        self.ctx, self.store = ctx, store

    # Limits ---------------------------------------------------------------------------------------------------------------

    async def limits(self, org_id: int, project_id: int = 0, *, promised: bool = True) -> list[Limit]:
        """Those that bind content of this project: the organisation's, and its own."""
        return await self.ctx.store.read(lambda c: limits(c, org_id, project_id, promised=promised))

    # In one request -------------------------------------------------------------------------------------------------------

    async def put(self, org_id: int, chunks: AsyncIterator[bytes], project_id: int = 0) -> dict[str, Any]:
        """Store a content: {sha256, size}. NoSpace (staging.no_space, staging.quota)."""
        bounds = await self.limits(org_id, project_id)

        def check(size: int) -> None:
            for bound in bounds:
                bound.check(size)

        sha, size = await self.store.put(chunks, check=check)
        await self.ctx.write(lambda c: blobs.put(c, Scope(org_id), sha, size, self.ctx.now(), project_id))
        return {"sha256": sha, "size": size}

    async def pack(self, org_id: int, chunks: AsyncIterator[bytes], project_id: int = 0) -> dict[str, Any]:
        """Store many contents of one stream: for each a line `<sha256> <bytes>`, then the bytes. What came whole before a stream
        breaks off stays. {stored, bytes}. InvalidInput (pack.malformed, blob.corrupt); NoSpace."""
        bounds = await self.limits(org_id, project_id)
        buffer = bytearray()
        group: list[tuple[str, bytes]] = []
        stored = total = held = 0

        async def keep() -> None:
            nonlocal stored, total, held
            sizes = {sha: len(data) for sha, data in group}
            for bound in bounds:
                bound.check(total + sum(sizes.values()), stored + len(sizes))
            await asyncio.to_thread(self._keep_all, list(group))
            await self.ctx.write(lambda c: blobs.put_many(c, Scope(org_id), sizes, self.ctx.now(), project_id))
            stored, total, held = stored + len(sizes), total + sum(sizes.values()), 0
            group.clear()

        try:
            async for chunk in chunks:
                buffer += chunk
                at = 0
                while (found := _framed(buffer, at)) is not None:
                    sha, data, at = found
                    group.append((sha, data))
                    held += len(data)
                    if len(group) >= GROUP or held >= GROUP_BYTES:
                        await keep()
                del buffer[:at]
        except Exception:
            if group:
                with contextlib.suppress(NoSpace):
                    await keep()
            raise
        if group:
            await keep()
        if buffer:
            raise InvalidInput("pack.malformed", f"the pack ends in the middle of a file, after {stored} whole ones",
                               hint="ask what is missing, and send that", details={"stored": stored})  # fmt: skip
        return {"stored": stored, "bytes": total}

    def _keep_all(self, group: list[tuple[str, bytes]]) -> None:
        """Write, then to the disk, then give names: one of them after the other for all."""
        make_directory(self.store.root)
        fresh: list[tuple[Path, str]] = []
        needed = sum(len(d) for _, d in group)
        try:
            with space(self.store.root, needed):
                for sha, data in group:
                    if hashlib.sha256(data).hexdigest() != sha:
                        raise InvalidInput("blob.corrupt", f"a content is not what its hash {sha[:16]}… says", hint="send it again")
                    if self.store.has(sha):
                        os.utime(self.store.path(sha))  # young again: whoever removes what nobody has leaves it
                        continue
                    temporary = self.store.root / f".put-{os.getpid()}-{secrets.token_hex(8)}"
                    fresh.append((temporary, sha))
                    temporary.write_bytes(data)
                for temporary, _ in fresh:
                    _sync(temporary)
                for temporary, sha in fresh:
                    make_directory(self.store.path(sha).parent)
                    temporary.replace(self.store.path(sha))
                for parent in {self.store.path(sha).parent for _, sha in fresh}:
                    sync_directory(parent)
        finally:
            for temporary, _ in fresh:
                temporary.unlink(missing_ok=True)

    # Piece by piece -------------------------------------------------------------------------------------------------------

    async def begin(self, org_id: int, user_id: int, sha: str, size: int, project_id: int = 0) -> dict[str, Any]:
        """An upload of this content: a new one, or the one that its user has under way. `done` where the organisation has the content
        already; another's content must be sent like any other, which proves that one has it."""
        if not SHA.match(sha):
            raise InvalidInput("blob.hash", f"{sha[:80]!r} is no SHA-256 in lower-case hex")
        scope = Scope(org_id)
        row = {"id": self.ctx.ids.new(), "org_id": org_id, "user_id": user_id, "project_id": project_id, "sha256": sha,
               "size": size, "created_at": self.ctx.now()}  # fmt: skip

        def commit(conn: Connection) -> Any:
            if blobs.get(conn, scope, sha) is not None:
                return None
            bounds = limits(conn, org_id, project_id)
            known = uploads.begin(conn, row)
            if known["id"] == row["id"]:
                for bound in bounds:
                    bound.check(size)
            elif known["size"] != size:
                raise Conflict("upload.size", f"the upload under way has {known['size']} bytes, not {size}",
                               hint="drop it, or send what it was begun with")  # fmt: skip
            return known

        found = await self.ctx.write(commit)
        if found is None:
            return {"id": None, "sha256": sha, "size": size, "offset": size, "done": True}
        if found["id"] == row["id"]:
            try:
                await asyncio.to_thread(self._room, size)
            except NoSpace:
                await self.ctx.write(lambda c: uploads.end(c, found["id"]))
                raise
        return self._view(found)

    def _room(self, size: int) -> None:
        make_directory(self.store.root)
        require_space(self.store.root, self.store.root, size)

    async def state(self, org_id: int, upload: str) -> dict[str, Any]:
        return self._view(await self._row(org_id, upload))

    async def append(self, org_id: int, upload: str, offset: int, chunks: AsyncIterator[bytes]) -> dict[str, Any]:
        """Add what comes at `offset`, which must be where the upload stands; the last byte completes it.

        Conflict (upload.offset, upload.busy); InvalidInput (upload.too_long, blob.corrupt); NoSpace: what has arrived stays.
        """
        row = await self._row(org_id, upload)
        part = self._part(row["id"])
        with _opened(part) as file:
            here = os.fstat(file).st_size
            if offset != here:
                raise Conflict("upload.offset", f"{upload} stands at {here}, not at {offset}", hint="go on from there",
                               details={"offset": here})  # fmt: skip
            async for chunk in chunks:
                if here + len(chunk) > row["size"]:
                    raise InvalidInput("upload.too_long", f"{upload} has {row['size']} bytes, and more are sent")
                with space(part, row["size"] - here):
                    await asyncio.to_thread(_write, file, chunk, here)
                here += len(chunk)
            if here < row["size"]:
                return self._view(row)
            with space(part, 0):
                await asyncio.to_thread(os.fsync, file)
            if await asyncio.to_thread(file_sha256, part) != row["sha256"]:
                await self.ctx.write(lambda c: uploads.end(c, row["id"]))
                part.unlink(missing_ok=True)
                raise InvalidInput("blob.corrupt", f"what arrived does not have the hash {row['sha256'][:16]}…",
                                   hint="does something write to the file? send it again")  # fmt: skip
            await asyncio.to_thread(self._name, part, row["sha256"])

            def commit(conn: Connection) -> None:
                blobs.put(conn, Scope(org_id), row["sha256"], row["size"], self.ctx.now(), row["project_id"])
                uploads.end(conn, row["id"])

            await self.ctx.write(commit)
            part.unlink(missing_ok=True)
        return {"id": None, "sha256": row["sha256"], "size": row["size"], "offset": row["size"], "done": True}

    async def drop(self, org_id: int, upload: str) -> None:
        row = await self._row(org_id, upload)
        await self.ctx.write(lambda c: uploads.end(c, row["id"]))
        self._part(row["id"]).unlink(missing_ok=True)

    async def sweep(self, older_s: float) -> int:
        """Give up uploads begun so long ago; how many."""
        rows = await self.ctx.store.read(lambda c: uploads.older(c, self.ctx.now() - self.ctx.micro(older_s)))
        def commit(conn: Connection) -> None:
            for old in rows:
                uploads.end(conn, old["id"])

        await self.ctx.write(commit)
        for row in rows:
            self._part(row["id"]).unlink(missing_ok=True)
        return len(rows)

    def _name(self, part: Path, sha: str) -> None:
        """A second name, so that a crash before the commit leaves an upload that only has to be completed once more."""
        target = self.store.path(sha)
        make_directory(target.parent)
        temporary = self.store.root / f".put-{os.getpid()}-{secrets.token_hex(8)}"
        os.link(part, temporary)
        temporary.replace(target)
        temporary.unlink(missing_ok=True)  # a rename between two names of one file does nothing
        sync_directory(target.parent)

    def _part(self, id: int) -> Path:
        return self.store.root / f".upload-{b32(id)}"

    async def _row(self, org_id: int, upload: str) -> Any:
        id_ = parse("upl", upload)
        row = await self.ctx.store.read(lambda c: uploads.get(c, Scope(org_id), id_))
        if row is None:
            raise NotFound("upload.unknown", f"there is no upload {upload}", hint="it has ended, or was begun too long ago: begin it again")
        return row

    def _view(self, row: Any) -> dict[str, Any]:
        part = self._part(row["id"])
        offset = part.stat().st_size if part.exists() else 0
        return {"id": show("upl", row["id"]), "sha256": row["sha256"], "size": row["size"], "offset": offset, "done": False}


def _framed(buffer: bytearray, at: int) -> tuple[str, bytes, int] | None:
    """The next whole file of a pack: (hash, content, where it ends); None where more must come first."""
    end = buffer.find(b"\n", at, at + _HEAD)
    if end < 0:
        if len(buffer) - at >= _HEAD:
            raise InvalidInput("pack.malformed", "a file of the pack does not begin with its hash and size")
        return None
    sha, _, size = bytes(buffer[at:end]).decode("ascii", "replace").partition(" ")
    if not SHA.match(sha) or not size.isdigit() or int(size) > PACKED:
        raise InvalidInput("pack.malformed", f"{bytes(buffer[at:end])[:80]!r} is no hash and size of at most {PACKED} bytes")
    last = end + 1 + int(size)
    return (sha, bytes(buffer[end + 1 : last]), last) if len(buffer) >= last else None


@contextlib.contextmanager
def _opened(part: Path) -> Iterator[int]:
    """Its descriptor, for one writer at a time, whichever server serves it."""
    make_directory(part.parent)
    file = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict("upload.busy", "another request writes to this upload", hint="wait until it has ended, and go on") from None
        yield file
    finally:
        os.close(file)


def _write(file: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        n = os.pwrite(file, view, offset)
        view, offset = view[n:], offset + n


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
