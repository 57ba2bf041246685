"""Content by its hash, below `home/blobs/<2>/<sha256>`: whole or not there at all.

A content is written under a temporary name, synced, then renamed: a crash leaves nothing but a temporary file, which
`sweep` removes.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import re
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tidegrid.domain.errors import Broken, InvalidInput, NoSpace

SHA = re.compile(r"^[0-9a-f]{64}\Z")
_CHUNK = 1 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def space(path: Path | str, needed: int) -> Iterator[None]:
    """Turns a full disk into NoSpace (staging.no_space) that names the path and the bytes needed there."""
    try:
        yield
    except OSError as e:
        if e.errno not in _FULL:
            raise
        raise no_space(path, needed) from None


def no_space(path: Path | str, needed: int) -> NoSpace:
    return NoSpace(
        "staging.no_space",
        f"no space left at {path}: {needed} bytes are needed there",
        hint="make room on that disk; the transfer then goes on where it stopped",
        details={"path": str(path), "needed": needed},
    )


def require_space(directory: Path, path: Path, needed: int) -> None:
    """NoSpace before the first byte where the disk of `directory` cannot take `needed` more."""
    if shutil.disk_usage(directory).free < needed:
        raise no_space(path, needed)


def sync_directory(path: Path) -> None:
    """Make a rename in `path` durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_directory(path: Path) -> None:
    """With its parents, for this user alone."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)


def file_sha256(path: Path) -> str:
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


class BlobStore:
    """root: `home/blobs`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, sha256: str) -> Path:
        """Where the content is, or would be; InvalidInput (blob.hash) for what is no SHA-256."""
        if not SHA.match(sha256):
            raise InvalidInput("blob.hash", f"{sha256[:80]!r} is no SHA-256 in lower-case hex")
        return self.root / sha256[:2] / sha256

    def has(self, sha256: str) -> bool:
        return self.path(sha256).is_file()

    def existing(self, sha256: str) -> Path:
        """Its file; Broken (blob.missing) where the store lost it."""
        path = self.path(sha256)
        if not path.is_file():
            raise Broken(
                "blob.missing", f"the content {sha256[:16]}… is known but not in {self.root}", hint="upload it again"
            )
        return path

    def put_bytes(self, data: bytes) -> str:
        """Store a content that is in memory; its hash."""
        sha = hashlib.sha256(data).hexdigest()
        if not self.has(sha):
            temporary = self._temporary()
            with space(temporary, len(data)):
                try:
                    with temporary.open("xb") as f:
                        f.write(data)
                        f.flush()
                        os.fsync(f.fileno())
                    self._keep(temporary, sha)
                finally:
                    temporary.unlink(missing_ok=True)
        return sha

    async def put(
        self, chunks: AsyncIterator[bytes], *, check: Callable[[int], None] = lambda size: None, expect: str = ""
    ) -> tuple[str, int]:
        """Store a stream; (hash, bytes). check: called with the bytes so far, raises where they are too many.

        NoSpace where the disk is full; InvalidInput (blob.corrupt) where `expect` is another hash. Nothing stays of what fails.
        """
        temporary = await asyncio.to_thread(self._temporary)
        digest, size = hashlib.sha256(), 0
        try:
            with temporary.open("xb") as f:
                async for chunk in chunks:
                    size += len(chunk)
                    check(size)
                    digest.update(chunk)
                    with space(temporary, len(chunk)):
                        await asyncio.to_thread(f.write, chunk)
                sha = digest.hexdigest()
                if expect and sha != expect:
                    raise InvalidInput("blob.corrupt", f"the content has hash {sha[:16]}…, not {expect[:16]}…",
                                       hint="send it again")  # fmt: skip
                with space(temporary, size):
                    await asyncio.to_thread(f.flush)
                    await asyncio.to_thread(os.fsync, f.fileno())
            await asyncio.to_thread(self._keep, temporary, sha)
            return sha, size
        finally:
            temporary.unlink(missing_ok=True)

    def sweep(self, older_s: float = 0.0) -> int:
        """Remove what a crash left half-written; how many. older_s: not written to for so long, where another server may be
        writing."""
        left = list(self.root.glob(".put-*")) if self.root.is_dir() else []
        if older_s:
            left = [p for p in left if _age(p) > older_s]
        for path in left:
            path.unlink(missing_ok=True)
        return len(left)

    def remove_old(self, hashes: Iterable[str], older_s: float) -> None:
        """Remove contents that nobody has any more, but for those that were written, or offered again, a moment ago."""
        for sha in hashes:
            path = self.path(sha)
            if _age(path) > older_s:
                path.unlink(missing_ok=True)

    def _temporary(self) -> Path:
        make_directory(self.root)
        return self.root / f".put-{os.getpid()}-{secrets.token_hex(8)}"

    def _keep(self, temporary: Path, sha: str) -> None:
        target = self.path(sha)
        make_directory(target.parent)
        temporary.replace(target)
        sync_directory(target.parent)


def _age(path: Path) -> float:
    """Seconds since it was written to, by this machine's clock; 0 where it is gone."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
