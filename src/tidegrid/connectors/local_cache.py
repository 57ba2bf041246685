"""An organisation's cache of contents at a site that is mounted here."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from tidegrid.connectors.packs import CHUNK, MODE, MTIME, Content, place
from tidegrid.domain.errors import InvalidInput


class LocalCache:
    """Part of `files.LocalFiles`. at: the cache's directory below the root."""

    if TYPE_CHECKING:

        async def _run(self, do: Any, *args: object, limited: bool = True) -> Any: ...

        def _directory(self, parts: Sequence[str], *, create: bool = False) -> AbstractContextManager[int]: ...

    async def cached(self, at: str, contents: Mapping[str, int]) -> set[str]:
        found: set[str] = await self._run(self._cached, at, dict(contents), limited=False)
        return found

    async def cache(self, at: str, files: Sequence[Content]) -> set[str]:
        found: set[str] = await self._run(self._cache, at, tuple(files), limited=False)
        return found

    async def adopt(self, at: str, path: str, sha256: str) -> None:
        await self._run(self._adopt, at, path, sha256)

    async def link(self, at: str, directory: str, files: Sequence[tuple[str, str]]) -> None:
        await self._run(self._link, at, directory, tuple(files), limited=False)

    async def uncache(self, at: str, hashes: Sequence[str]) -> None:
        await self._run(self._uncache, at, tuple(hashes), limited=False)

    # In a thread ----------------------------------------------------------------------------------------------------------

    def _cached(self, at: str, contents: dict[str, int]) -> set[str]:
        found = set()
        with self._opened(at) as top:
            for sha, size in contents.items():
                with contextlib.suppress(FileNotFoundError):
                    info = os.stat(place(sha), dir_fd=top, follow_symlinks=False)
                    if stat.S_ISREG(info.st_mode) and (info.st_size, int(info.st_mtime), info.st_mode & 0o777) == (size, MTIME, MODE):
                        found.add(sha)
        return found

    def _cache(self, at: str, files: tuple[Content, ...]) -> set[str]:
        arrived = set()
        with self._opened(at) as top:
            for sha, local, _ in files:
                temporary = f".in-{secrets.token_hex(8)}"
                try:
                    if self._copy(top, temporary, local) == sha:
                        self._keep(top, temporary, sha)
                        arrived.add(sha)
                finally:
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(temporary, dir_fd=top)
        return arrived

    def _copy(self, top: int, name: str, local: str) -> str:
        """The hash of what was written."""
        digest = hashlib.sha256()
        target = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=top)
        with open(local, "rb") as source, os.fdopen(target, "wb") as f:
            while data := source.read(CHUNK):
                f.write(data)
                digest.update(data)
        return digest.hexdigest()

    def _keep(self, top: int, name: str, sha: str) -> None:
        with contextlib.suppress(FileExistsError):
            os.mkdir(sha[:2], 0o700, dir_fd=top)
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=top)
        try:
            os.fchmod(fd, MODE)
            os.utime(fd, (MTIME, MTIME))
            os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(name, place(sha), src_dir_fd=top, dst_dir_fd=top)

    def _adopt(self, at: str, path: str, sha: str) -> None:
        parts = _steps(path)
        with self._directory(parts[:-1]) as here, self._opened(at) as top:
            temporary = f".in-{secrets.token_hex(8)}"
            os.rename(parts[-1], temporary, src_dir_fd=here, dst_dir_fd=top)
            self._keep(top, temporary, sha)

    def _link(self, at: str, directory: str, files: tuple[tuple[str, str], ...]) -> None:
        base = _steps(directory)
        with self._opened(at) as top:
            for path, sha in files:
                *parents, name = [*base, *_steps(path)]
                with self._directory(parents, create=True) as here:
                    temporary = f".{secrets.token_hex(8)}"
                    try:
                        os.link(place(sha), temporary, src_dir_fd=top, dst_dir_fd=here, follow_symlinks=False)
                    except OSError as e:
                        if e.errno not in (errno.EMLINK, errno.EPERM, errno.EOPNOTSUPP, errno.EXDEV):
                            raise
                        self._duplicate(top, place(sha), here, temporary)
                    os.rename(temporary, name, src_dir_fd=here, dst_dir_fd=here)
                    with contextlib.suppress(FileNotFoundError):  # rename does nothing between two links of one file
                        os.unlink(temporary, dir_fd=here)

    def _duplicate(self, top: int, name: str, here: int, target: str) -> None:
        source = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=top)
        copy = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=here)
        with os.fdopen(source, "rb") as a, os.fdopen(copy, "wb") as b:
            while data := a.read(CHUNK):
                b.write(data)
            b.flush()
            os.fsync(b.fileno())

    def _uncache(self, at: str, hashes: tuple[str, ...]) -> None:
        with self._opened(at) as top:
            for sha in hashes:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(place(sha), dir_fd=top)

    @contextlib.contextmanager
    def _opened(self, at: str) -> Iterator[int]:
        with self._directory(_steps(at), create=True) as top:
            yield top


def _steps(path: str) -> list[str]:
    parts = [p for p in path.split("/") if p not in ("", ".")]
    if not parts or path.startswith("/") or ".." in parts or "\0" in path:
        raise InvalidInput("staging.path", f"{path!r} is not a path below the site's root")
    return parts
