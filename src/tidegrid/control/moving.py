"""One file on its way: resumed from what has arrived, done only when both ends have the same hash."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tidegrid.connectors.contract import SiteFiles, SiteUnsure
from tidegrid.control import results
from tidegrid.control.blobstore import file_sha256, make_directory, no_space, space, sync_directory
from tidegrid.control.context import Context
from tidegrid.domain.errors import Broken, NoSpace
from tidegrid.domain.ids import b32
from tidegrid.store import transfers

Row = Mapping[Any, Any]
SMALL = 1 << 20  # sent in one write
TRIES = 3
BATCH = 200  # small ones in one message


class Mover:
    """Moves single files; where a row of `transfers` stands behind one, its offset is kept there."""

    def __init__(self, ctx: Context) -> None:
        self.ctx = ctx

    async def send(
        self, files: SiteFiles, local: Path, site_path: str, sha: str, transfer: int, *, whole: bool = False
    ) -> None:
        """whole: never in one write under its name, however small."""
        size = await asyncio.to_thread(_size, local)
        if size <= SMALL and not whole:
            data = await asyncio.to_thread(local.read_bytes)
            if hashlib.sha256(data).hexdigest() != sha:
                raise _corrupt(str(local), "here")
            await files.write(site_path, data)
            return
        for fresh in range(TRIES):
            there = 0 if fresh else await self._size_there(files, site_path, size)
            while there < size:
                now = await files.put(str(local), site_path, offset=there)
                if now <= there:
                    raise SiteUnsure(f"{site_path}: no byte arrives", silent=False)
                there = now
                if transfer and there < size:
                    await self._progress(transfer, there)
            if await files.sha256(site_path) == sha:
                return
            if await asyncio.to_thread(file_sha256, local) != sha:
                raise _corrupt(str(local), "here")
        raise _corrupt(site_path, "at the site")

    async def _size_there(self, files: SiteFiles, site_path: str, size: int) -> int:
        directory, _, name = site_path.rpartition("/")
        found = await files.glob(directory, [name], limit=2)
        there = max((f.size for f in found if f.path.rpartition("/")[2] == name), default=0)
        return there if there <= size else 0

    async def fetch_small(self, files: SiteFiles, rows: Sequence[Row], done: list[tuple[int, str, int]]) -> list[Row]:
        """Bring small files home many at a time; those that are left for `fetch`, which says what is wrong with them."""
        small = [r for r in rows if r["size"] <= SMALL and not r["offset"]]
        left = [r for r in rows if r["size"] > SMALL or r["offset"]]
        while small:
            batch: list[Row] = []
            total = 0
            while small and len(batch) < BATCH and (not batch or total + small[0]["size"] <= 4 * SMALL):
                total += small[0]["size"]
                batch.append(small.pop(0))
            found = await files.read_many([r["site_path"] for r in batch])
            left += [r for r in batch if r["site_path"] not in found]
            arrived = [(r, self.target(r), found[r["site_path"]]) for r in batch if r["site_path"] in found]
            taken = await asyncio.to_thread(_keep_all, [(self._own_temporary(r, t), t, d) for r, t, d in arrived])
            for (row, _, data), sha in zip(arrived, taken, strict=True):
                if sha:
                    done.append((row["id"], sha, len(data)))
                else:
                    left.append(row)
        return left

    def target(self, row: Row) -> Path:
        """Where a job's output lies at home."""
        return results.job_directory(self.ctx.home, row["org_id"], row["job_id"]) / str(row["path"])

    def _own_temporary(self, row: Row, target: Path) -> Path:
        """A file of this server's own: one that was stopped may go on with its part when it wakes up."""
        name = _temporary(row, target)
        return name.with_name(f"{name.name}.{self.ctx.token}") if self.ctx.token else name

    async def fetch(self, files: SiteFiles, row: Row, target: Path) -> tuple[str, int]:
        """Bring one file home under a temporary name, check it, then give it its name; (hash, bytes)."""
        await asyncio.to_thread(make_directory, target.parent)
        before, temporary = _temporary(row, target), self._own_temporary(row, target)
        if before != temporary:
            await asyncio.to_thread(_go_on, before.name, temporary)
        theirs = await files.sha256(row["site_path"])
        if await asyncio.to_thread(_is, target, theirs):
            return theirs, await asyncio.to_thread(_size, target)  # a crash came between its name and its row
        for fresh in range(TRIES):
            if fresh:
                temporary.unlink(missing_ok=True)
            with space(target, row["size"]):
                await self._get(files, row, temporary)
                ours = await asyncio.to_thread(_sync_and_hash, temporary)
            if ours == theirs:
                size = await asyncio.to_thread(_size, temporary)
                await asyncio.to_thread(_name, temporary, target, ours)
                return ours, size
            theirs = await files.sha256(row["site_path"])
        temporary.unlink(missing_ok=True)
        raise _corrupt(row["site_path"], "on its way home")

    async def fetch_prefix(self, files: SiteFiles, row: Row, target: Path, former: Path | None = None) -> tuple[str, int]:
        """The first `size` bytes of a file that still grows. former: a copy taken before, which it may begin with."""
        size = int(row["size"])
        await asyncio.to_thread(make_directory, target.parent)
        temporary = target.parent / f"{results.TEMPORARY}{b32(row['id'])}.{self.ctx.token}"
        theirs = await files.sha256(row["site_path"], length=size)
        for base in (former, None):
            with space(target, size):
                here = await asyncio.to_thread(_begin, temporary, base, size)
                if here < size:
                    await files.get(row["site_path"], str(temporary), offset=here)
                if await asyncio.to_thread(_cut_and_hash, temporary, size) == theirs:
                    await asyncio.to_thread(temporary.replace, target)
                    return theirs, size
        raise Broken(
            "staging.changed", f"{row['site_path']} was written anew while it was copied", hint="it is copied again later"
        )

    async def _get(self, files: SiteFiles, row: Row, temporary: Path) -> None:
        here = await asyncio.to_thread(_arrived, temporary, row["size"])
        while True:
            try:
                now = await files.get(row["site_path"], str(temporary), offset=here)
            except NoSpace:  # reading takes no space there: it is this side that is full
                raise no_space(temporary.parent, row["size"] - here) from None
            if now >= row["size"]:
                return
            if now <= here:
                raise Broken("staging.short", f"{row['site_path']} ends at {here} of {row['size']} bytes")
            here = now
            await self._progress(row["id"], here)

    async def _progress(self, transfer: int, offset: int) -> None:
        await self.ctx.write(lambda c: transfers.progress(c, transfer, offset))


def _corrupt(path: str, where: str) -> Broken:
    return Broken(
        "staging.corrupt",
        f"{path}: its content {where} is not what its hash says",
        hint="the disk or the file changed under way; send or fetch it again",
        details={"path": path},
    )


def _size(path: Path) -> int:
    return path.stat().st_size


def _arrived(temporary: Path, size: int) -> int:
    """Bytes that are here of `size`; what is longer is of another time, and begun anew."""
    here = temporary.stat().st_size if temporary.exists() else 0
    if here > size:
        temporary.unlink()
        here = 0
    return here


def _go_on(before: str, temporary: Path) -> None:
    """Begin with a copy of what another holder of the cluster has brought so far."""
    others = [p for p in temporary.parent.glob(f"{before}*") if p != temporary]
    if others and not temporary.exists():
        shutil.copyfile(max(others, key=_size), temporary)
    for path in others:
        path.unlink(missing_ok=True)


def _is(path: Path, sha: str) -> bool:
    return path.is_file() and not path.is_symlink() and file_sha256(path) == sha


def _begin(target: Path, base: Path | None, size: int) -> int:
    """Make the target begin with a copy of `base`, where that is no longer than `size`; bytes there now."""
    target.unlink(missing_ok=True)
    if base is None or not base.is_file() or base.is_symlink() or base.stat().st_size > size:
        return 0
    shutil.copyfile(base, target)
    return target.stat().st_size


def _cut_and_hash(path: Path, size: int) -> str:
    """What arrived beyond `size` grew meanwhile."""
    os.truncate(path, min(size, path.stat().st_size)) if path.exists() else path.touch()
    return _sync_and_hash(path)


def _sync_and_hash(path: Path) -> str:
    with path.open("rb") as f:
        os.fsync(f.fileno())
        return hashlib.file_digest(f, "sha256").hexdigest()


def _temporary(row: Row, target: Path) -> Path:
    return target.parent / f"{results.TEMPORARY}{b32(row['id'])}"


def _keep_all(files: Sequence[tuple[Path, Path, bytes]]) -> list[str]:
    """Write whole small files under their temporary names, durably, and name them; the hash of each, empty where something
    is in its way."""
    out: list[str] = []
    for temporary, target, data in files:
        sha = hashlib.sha256(data).hexdigest()
        try:
            make_directory(target.parent)
            if not _is(target, sha):
                _keep(temporary, target, data)
        except OSError:  # as in `fetch`, which says what it is
            sha = ""
        out.append(sha)
    for parent in {target.parent for (_, target, _), sha in zip(files, out, strict=True) if sha}:
        mine = {t.name.split(".")[1] for t, _, _ in files}  # what an earlier holder of the cluster left goes too
        for left in parent.glob(f"{results.TEMPORARY}*"):
            if left.name.split(".")[1] in mine:
                left.unlink(missing_ok=True)
        sync_directory(parent)
    return out


def _keep(temporary: Path, target: Path, data: bytes) -> None:
    with space(target, len(data)):
        with temporary.open("wb") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        os.link(temporary, target)


def _name(temporary: Path, target: Path, sha: str) -> None:
    """Give a verified file its name; never over another content."""
    try:
        os.link(temporary, target)
    except FileExistsError:
        if not _is(target, sha):
            raise Broken(
                "staging.taken", f"{target} is there already, with another content", hint="move it away and fetch again"
            ) from None
    except OSError as e:
        if e.errno in (28, 122):
            raise no_space(target, 0) from None
        if target.exists():
            raise
        temporary.rename(target)  # a filesystem without hard links
    temporary.unlink(missing_ok=True)
    sync_directory(target.parent)
