"""A site's filesystem that is mounted here.

Every path is walked component by component from the root with descriptors, and no symbolic link is followed: what a job puts into
its directory can never lead the server out of the root.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from tidegrid.connectors.contract import Claim, FileInfo, SiteRefused, SiteUnsure, SpoolEntry
from tidegrid.connectors.globbing import matcher
from tidegrid.connectors.local_cache import LocalCache
from tidegrid.connectors.spool import BODY_LIMIT, entry, require_names
from tidegrid.domain.errors import InvalidInput, NoSpace, NotFound

T = TypeVar("T")
CHUNK = 1 << 20
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class LocalFiles(LocalCache):
    """SiteFiles below `root`, in threads. timeout_s: of one small operation; a file system that hangs is `SiteUnsure`.

    Errors: NoSpace (staging.no_space), NotFound (staging.missing), InvalidInput (staging.path), SiteUnsure for all else.
    """

    def __init__(self, root: str, *, timeout_s: float = 30.0) -> None:
        self.root = os.path.realpath(root)
        self._timeout_s = timeout_s

    async def prepare(self) -> None:
        await self._run(self.make_root)

    def make_root(self) -> None:
        """Make the root and its spool (0700)."""
        os.makedirs(self.root, mode=0o700, exist_ok=True)
        os.makedirs(os.path.join(self.root, "spool"), mode=0o700, exist_ok=True)

    async def write(self, path: str, data: bytes, *, mode: int = 0o600) -> None:
        await self._run(self._write, path, data, mode)

    async def write_many(
        self, directory: str, files: Mapping[str, bytes], *, mode: int = 0o600, directories: Sequence[str] = ()
    ) -> None:
        await self._run(self._write_many, directory, dict(files), mode, tuple(directories))

    async def read_many(self, paths: Sequence[str]) -> dict[str, bytes]:
        return await self._run(self._read_many, tuple(paths))

    async def put(self, local: str, path: str, *, offset: int = 0) -> int:
        return await self._run(self._put, local, path, offset, limited=False)

    async def get(self, path: str, local: str, *, offset: int = 0) -> int:
        return await self._run(self._get, path, local, offset, limited=False)

    async def read(self, path: str, *, offset: int = 0, limit: int = 65536) -> bytes:
        return await self._run(self._read, path, offset, limit)

    async def glob(self, directory: str, patterns: Sequence[str], *, limit: int = 10_000) -> list[FileInfo]:
        """Paths are relative to `directory`, sorted. SiteRefused (site.too_many_files) above the limit."""
        return await self._run(self._glob, directory, tuple(patterns), limit)

    async def glob_many(self, wanted: Sequence[tuple[str, Sequence[str]]], *, limit: int = 10_000) -> list[list[FileInfo]]:
        return await self._run(lambda: [self._glob(directory, tuple(patterns), limit) for directory, patterns in wanted])

    async def sha256(self, path: str, *, length: int | None = None) -> str:
        return await self._run(self._sha256, path, length, limited=False)

    async def claim(self, directory: str, task: int, restart: int, holder: str) -> Claim:
        return await self._run(self._claim, directory, f"fence-{task}.{restart}", holder)

    async def spool(self) -> list[SpoolEntry]:
        return await self._run(self._spool)

    async def unspool(self, files: Sequence[str]) -> list[str]:
        return await self._run(self._unspool, tuple(files))

    async def remove(self, directory: str) -> None:
        await self._run(self._remove, directory, limited=False)

    # In a thread -------------------------------------------------------------------------------------------------------

    async def _run(self, do: Callable[..., T], *args: object, limited: bool = True) -> T:
        try:
            # not wait_for: of Python 3.11 it swallows a cancellation that comes together with the answer
            async with asyncio.timeout(self._timeout_s if limited else None):
                return await asyncio.to_thread(do, *args)
        except TimeoutError:
            raise SiteUnsure(f"{self.root}: the file system did not answer within {self._timeout_s:g} s") from None
        except OSError as e:
            raise self._translated(e) from None

    def _translated(self, e: OSError) -> Exception:
        where = f"{self.root}: {e.filename or ''}: {e.strerror or e}"
        if e.errno in (errno.ENOSPC, errno.EDQUOT):
            return NoSpace("staging.no_space", where, hint="free space at the site, or raise its quota, and try again")
        if e.errno == errno.ENOENT:
            return NotFound("staging.missing", where)
        if e.errno in (errno.ELOOP, errno.ENOTDIR):
            return InvalidInput("staging.path", f"{where}: links are not followed")
        return SiteUnsure(where, silent=False)

    @contextlib.contextmanager
    def _directory(self, parts: Sequence[str], *, create: bool = False) -> Iterator[int]:
        """A descriptor of the directory below the root, no link on the way followed."""
        fd = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for part in parts:
                if create:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(part, 0o700, dir_fd=fd)
                deeper = os.open(part, _DIRECTORY, dir_fd=fd)
                os.close(fd)
                fd = deeper
            yield fd
        finally:
            os.close(fd)

    def _write(self, path: str, data: bytes, mode: int) -> None:
        *parents, name = _parts(path)
        temporary = f".{secrets.token_hex(8)}"
        with self._directory(parents, create=True) as at:
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode, dir_fd=at)
            try:
                try:
                    view = memoryview(data)
                    while view:
                        view = view[os.write(fd, view) :]
                    os.fsync(fd)
                finally:
                    os.close(fd)
                os.rename(temporary, name, src_dir_fd=at, dst_dir_fd=at)
            except OSError:
                with contextlib.suppress(OSError):
                    os.unlink(temporary, dir_fd=at)
                raise

    def _write_many(self, directory: str, files: dict[str, bytes], mode: int, directories: tuple[str, ...]) -> None:
        for name in directories:
            with self._directory(_parts(f"{directory}/{name}"), create=True):
                pass
        for name, data in files.items():
            self._write(f"{directory}/{name}", data, mode)

    def _read_many(self, paths: tuple[str, ...]) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for path in paths:
            with contextlib.suppress(FileNotFoundError, InvalidInput), os.fdopen(self._open(path), "rb") as f:
                found[path] = f.read()
        return found

    def _put(self, local: str, path: str, offset: int) -> int:
        *parents, name = _parts(path)
        with self._directory(parents, create=True) as at:
            flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | (0 if offset else os.O_TRUNC)
            target = os.open(name, flags, 0o600, dir_fd=at)
        source = os.open(local, os.O_RDONLY | os.O_CLOEXEC)
        return _copy(source, target, offset)

    def _get(self, path: str, local: str, offset: int) -> int:
        source = self._open(path)
        target = os.open(local, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | (0 if offset else os.O_TRUNC), 0o600)
        return _copy(source, target, offset)

    def _open(self, path: str) -> int:
        *parents, name = _parts(path)
        with self._directory(parents) as at:
            # a job could put a FIFO there, which would block the reader for ever
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=at)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise InvalidInput("staging.path", f"{path} is no regular file")
        return fd

    def _read(self, path: str, offset: int, limit: int) -> bytes:
        try:
            fd = self._open(path)
        except FileNotFoundError:
            return b""
        try:
            return os.pread(fd, limit, offset)
        finally:
            os.close(fd)

    def _glob(self, directory: str, patterns: tuple[str, ...], limit: int) -> list[FileInfo]:
        matches = matcher(patterns)
        found: list[FileInfo] = []
        try:
            with self._directory(_parts(directory)) as top:
                for at, _, names, fd in os.fwalk(".", dir_fd=top, follow_symlinks=False):
                    for name in names:
                        path = os.path.normpath(os.path.join(at, name))
                        if not matches(path):
                            continue
                        with contextlib.suppress(FileNotFoundError, UnicodeEncodeError):
                            path.encode()  # a name that is no UTF-8 cannot be shown or stored
                            info = os.stat(name, dir_fd=fd, follow_symlinks=False)
                            if stat.S_ISREG(info.st_mode):
                                found.append(FileInfo(path, info.st_size, str(info.st_mtime_ns)))
                        if len(found) > limit:
                            raise SiteRefused("site.too_many_files", f"more than {limit} files below {directory} match")
        except FileNotFoundError:
            return []
        return sorted(found, key=lambda f: f.path)

    def _sha256(self, path: str, length: int | None) -> str:
        with os.fdopen(self._open(path), "rb") as f:
            if length is None:
                return hashlib.file_digest(f, "sha256").hexdigest()
            digest = hashlib.sha256()
            while length > 0 and (data := f.read(min(CHUNK, length))):
                digest.update(data)
                length -= len(data)
            return digest.hexdigest()

    def _claim(self, directory: str, name: str, holder: str) -> Claim:
        # made where it is missing: a staging that lands late must find the fence already taken
        with self._directory(_parts(directory), create=True) as at:
            try:
                os.symlink(holder, name, dir_fd=at)
            except FileExistsError:
                held = os.readlink(name, dir_fd=at)
            else:
                held = holder
            os.fsync(at)
        return Claim(held == holder, held)

    def _spool(self) -> list[SpoolEntry]:
        entries = []
        with self._directory(["spool"]) as at:
            for name in sorted(os.listdir(at)):
                with contextlib.suppress(OSError, UnicodeDecodeError):
                    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=at)
                    try:
                        left = entry(name, os.pread(fd, BODY_LIMIT, 0).decode())
                    finally:
                        os.close(fd)
                    if left is not None:
                        entries.append(left)
        return entries

    def _unspool(self, files: tuple[str, ...]) -> list[str]:
        require_names(files)
        there = []
        with self._directory(["spool"]) as at:
            for name in files:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=at)
                    there.append(name)
        return there

    def _remove(self, directory: str) -> None:
        *parents, name = _parts(directory)
        if not parents:
            raise InvalidInput("staging.path", f"{directory!r} is not an attempt's directory")
        with contextlib.suppress(FileNotFoundError), self._directory(parents) as at:
            shutil.rmtree(name, dir_fd=at)


def _parts(path: str) -> list[str]:
    """Components of a relative path. InvalidInput (staging.path) where it could leave the root."""
    parts = [p for p in path.split("/") if p not in ("", ".")]
    if not parts or path.startswith("/") or ".." in parts or "\0" in path:
        raise InvalidInput("staging.path", f"{path!r} is not a path below the site's root")
    return parts


def _copy(source: int, target: int, offset: int) -> int:
    """From `offset` to the end, then to the disk; closes both. Bytes in the target."""
    try:
        os.lseek(source, offset, os.SEEK_SET)
        os.lseek(target, offset, os.SEEK_SET)
        while data := os.read(source, CHUNK):
            view = memoryview(data)
            while view:
                view = view[os.write(target, view) :]
        os.fsync(target)
        return os.fstat(target).st_size
    finally:
        os.close(source)
        os.close(target)
