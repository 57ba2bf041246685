"""Many files in one stream, as tar: what a site unpacks without a process or a round trip a file.

In an organisation's cache at a site a content lies as `<2 hex>/<sha256>`, read-only and with one fixed modification time, which any
write changes: what has another time or mode was touched, and is not used again.
"""

from __future__ import annotations

import asyncio
import io
import tarfile
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

MTIME = 978_307_200  # 2001-01-01, of every content in a cache
MODE = 0o400
BLOCK = 512
CHUNK = 1 << 20
END = b"\0" * (2 * BLOCK)
Content = tuple[str, str, int]  # hash, local file, bytes


def untouched(modified: str) -> bool:
    """Whether a `FileInfo.modified` is that of a content nobody has written to: nanoseconds, or seconds with a fraction."""
    seconds, dot, fraction = modified.partition(".")
    return modified == str(MTIME * 10**9) or (seconds == str(MTIME) and dot == "." and not fraction.strip("0"))


def place(sha256: str) -> str:
    """Where a content lies in a cache."""
    return f"{sha256[:2]}/{sha256}"


def _head(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode = size, MTIME, MODE
    return info


def _bytes(info: tarfile.TarInfo) -> bytes:
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


async def packed(files: Sequence[Content]) -> AsyncIterator[bytes]:
    """A tar of contents under their places, in chunks of some CHUNKs; read in threads, small files together. A file that has become
    shorter is filled up, so that the stream stays one: its hash tells."""
    run: list[Content] = []
    total = 0
    for file in files:
        if file[2] > CHUNK:
            async for chunk in _large(file):
                yield chunk
            continue
        run.append(file)
        total += file[2]
        if total >= 4 * CHUNK or len(run) >= 256:
            yield await asyncio.to_thread(_small, tuple(run))
            run, total = [], 0
    if run:
        yield await asyncio.to_thread(_small, tuple(run))
    yield END


async def _large(file: Content) -> AsyncIterator[bytes]:
    sha, local, size = file
    yield _bytes(_head(place(sha), size))
    at = 0
    while at < size:
        data = await asyncio.to_thread(_read, local, at, min(4 * CHUNK, size - at)) or bytes(min(CHUNK, size - at))
        at += len(data)
        yield data
    yield bytes(-size % BLOCK)


def _small(files: Sequence[Content]) -> bytes:
    out = bytearray()
    for sha, local, size in files:
        data = _read(local, 0, size)
        out += _bytes(_head(place(sha), size)) + data + bytes(size - len(data)) + bytes(-size % BLOCK)
    return bytes(out)


def links(files: Iterable[tuple[str, str]]) -> bytes:
    """A tar of hard links: (name, what it is a link to), both below the directory that it is unpacked in."""
    out = bytearray()
    for name, target in files:
        info = _head(name, 0)
        info.type, info.linkname = tarfile.LNKTYPE, target
        out += _bytes(info)
    return bytes(out + END)


def unpacked(data: bytes, named: Mapping[str, str]) -> dict[str, bytes]:
    """The regular files of a tar, under what their names in it stand for."""
    found: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:", encoding="utf-8", errors="surrogateescape") as tar:
        for info in tar:
            file = tar.extractfile(info) if info.isreg() else None
            if file is not None and info.name in named:
                found[named[info.name]] = file.read()
    return found


def _read(local: str, offset: int, limit: int) -> bytes:
    with open(local, "rb") as f:
        f.seek(offset)
        return f.read(limit)
