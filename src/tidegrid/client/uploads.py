"""Data brought to the platform: files resumed where they broke off, directories of which only what is missing travels."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidegrid.client.calls import Calls, View, quoted
from tidegrid.domain.errors import Conflict, InvalidInput, NotFound, Unreachable
from tidegrid.domain.tree import TreeFile, encode, unsafe

PIECE = 8 << 20  # bytes of one request; what breaks off loses no more
SMALL = 1 << 20  # bytes of a file that travels in a pack
PACK = 32 << 20
ASK = 20_000  # hashes in one question
TRIES = 6
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Uploaded:
    """A directory that is there: the hash of its list, files and bytes of it, and those that had to travel."""

    sha256: str
    files: int
    bytes: int
    sent_files: int
    sent_bytes: int


Progress = Callable[[int, int], None]  # bytes that are there, of all


class Uploads(Calls):
    """What goes up."""

    def upload(
        self, path: str | os.PathLike[str], *, project: str = "", progress: Progress | None = None
    ) -> View:
        """Store a local file; {sha256, size} for a job's inputs. It goes on where an earlier try broke off, of this process or of
        another, and what the organisation has already does not travel. NoSpace (staging.quota, staging.no_space)."""
        file = Path(path)
        if not file.is_file():
            raise InvalidInput("file.missing", f"there is no file {str(file)!r}")
        sha, size = _digest(file)
        self._send(file, sha, size, project, progress)
        return {"sha256": sha, "size": size}

    def upload_directory(
        self, path: str | os.PathLike[str], *, project: str = "", progress: Progress | None = None
    ) -> Uploaded:
        """Store a directory: its hash is the `tree` of a job's input. Links are followed to files; names that no other system could
        hold are refused before anything travels."""
        top = Path(path)
        if not top.is_dir():
            raise InvalidInput("file.missing", f"there is no directory {str(top)!r}")
        names = sorted(_walk(top))
        for name in names:
            if why := unsafe(name):
                raise InvalidInput("file.name", f"{name!r} {why}", hint="rename it, or leave it out")
        with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
            files = [TreeFile(n, *d) for n, d in zip(names, pool.map(_digest, (top / n for n in names)), strict=True)]
        total = sum(f.size for f in files)
        where = {f.sha256: f for f in files}
        missing = [where[h] for h in self.missing(list(where))]
        there = total - sum(f.size for f in missing)
        sent_files, sent_bytes = len(missing), total - there
        if progress is not None:
            progress(there, total)
        for pack in _packs([f for f in missing if f.size <= SMALL]):
            self._send_pack(top, pack, project)
            there += sum(f.size for f in pack)
            if progress is not None:
                progress(there, total)
        for f in missing:
            if f.size > SMALL:
                base = there
                self._send(top / f.path, f.sha256, f.size, project, (lambda n, _, base=base: progress(base + n, total)) if progress else None)  # type: ignore[misc]
                there += f.size
        text = encode(files)
        sha = hashlib.sha256(text).hexdigest()
        if self.missing([sha]):
            self._bytes(text, sha, project)
        return Uploaded(sha, len(files), total, sent_files, sent_bytes)

    def missing(self, hashes: Sequence[str]) -> list[str]:
        """Those whose content the organisation has not."""
        out: list[str] = []
        for i in range(0, len(hashes), ASK):
            out += self._view("POST", "/contents/missing", json={"hashes": list(hashes[i : i + ASK])})["hashes"]
        return out

    # One file -------------------------------------------------------------------------------------------------------------

    def _send(self, file: Path, sha: str, size: int, project: str, progress: Progress | None) -> None:
        state = self._view("POST", "/contents/pieces", json={"sha256": sha, "size": size, "project": project})
        failures = 0
        with file.open("rb") as source:
            while not state["done"]:
                at = state["offset"]
                if progress is not None:
                    progress(at, size)
                source.seek(at)
                data = source.read(min(PIECE, size - at))
                if not data and at < size:
                    raise InvalidInput("file.changed", f"{str(file)!r} has become shorter", hint="upload it again")
                try:
                    state = self._view(
                        "PATCH", f"/uploads/{quoted(state['id'])}", retry=False, content=data,
                        headers={"Upload-Offset": str(at), "Content-Type": "application/octet-stream"},
                    )  # fmt: skip
                    failures = 0
                except (Unreachable, Conflict) as e:
                    if isinstance(e, Conflict) and e.code not in ("upload.offset", "upload.busy"):
                        raise
                    failures += 1
                    if failures >= TRIES:
                        raise
                    self._sleep(0.1 * 2**failures)
                    state = self._again(state, sha, size, project)
        if progress is not None:
            progress(size, size)

    def _again(self, state: View, sha: str, size: int, project: str) -> View:
        """Where the upload stands; one that is gone has ended, or is begun again."""
        try:
            return self._view("GET", f"/uploads/{quoted(state['id'])}")
        except NotFound:
            return self._view("POST", "/contents/pieces", json={"sha256": sha, "size": size, "project": project})

    # Many ------------------------------------------------------------------------------------------------------------------

    def _send_pack(self, top: Path, pack: Sequence[TreeFile], project: str) -> None:
        """One request; after a broken one only what has not arrived."""
        left = list(pack)
        for attempt in range(TRIES):
            body = b"".join(_framed(top, f) for f in left)
            try:
                self._view("POST", "/contents/packs", retry=False, params={"project": project or None}, content=body,
                           headers={"Content-Type": "application/octet-stream"})  # fmt: skip
                return
            except Unreachable:
                if attempt == TRIES - 1:
                    raise
                self._sleep(0.1 * 2**attempt)
            missing = set(self.missing([f.sha256 for f in left]))
            left = [f for f in left if f.sha256 in missing]
            if not left:
                return

    def _bytes(self, data: bytes, sha: str, project: str) -> None:
        for attempt in range(TRIES):
            try:
                self._view("POST", "/uploads", retry=False, params={"project": project or None}, content=data,
                           headers={"Content-Type": "application/octet-stream"})  # fmt: skip
                return
            except Unreachable:
                if attempt == TRIES - 1:
                    raise
                self._sleep(0.1 * 2**attempt)

    # Data sets, quotas ------------------------------------------------------------------------------------------------------

    def datasets(self) -> list[View]:
        return self._items("/datasets")

    def dataset(self, name: str) -> View:
        return self._view("GET", f"/datasets/{quoted(name)}")

    def name_dataset(self, name: str, sha256: str, *, regions: Sequence[str] = ()) -> View:
        """Name an uploaded directory. regions: that its content must not leave."""
        return self._view("PUT", f"/datasets/{quoted(name)}", json={"sha256": sha256, "regions": list(regions)})

    def remove_dataset(self, name: str) -> View:
        return self._view("DELETE", f"/datasets/{quoted(name)}")

    def quota(self, org: str | None = None) -> View:
        return self._view("GET", "/quota", params={"org": org})

    def set_quota(
        self, *, org: str | None = None, project: str = "", bytes: int | None = None, files: int | None = None
    ) -> View:
        """None: no limit."""
        body: dict[str, Any] = {"org": org, "project": project, "bytes": bytes, "files": files}
        return self._view("PUT", "/quota", json=body)


def _walk(top: Path) -> Iterator[str]:
    for at, _, names in os.walk(top):
        for name in names:
            path = Path(at, name)
            if path.is_file():
                yield path.relative_to(top).as_posix()


def _digest(file: Path) -> tuple[str, int]:
    with file.open("rb") as f:
        sha = hashlib.file_digest(f, "sha256").hexdigest()
        return sha, f.tell()


def _packs(files: Sequence[TreeFile]) -> Iterator[list[TreeFile]]:
    batch: list[TreeFile] = []
    total = 0
    for f in files:
        if batch and total + f.size > PACK:
            yield batch
            batch, total = [], 0
        batch.append(f)
        total += f.size
    if batch:
        yield batch


def _framed(top: Path, f: TreeFile) -> bytes:
    data = (top / f.path).read_bytes()
    if len(data) != f.size or hashlib.sha256(data).hexdigest() != f.sha256:
        raise InvalidInput("file.changed", f"{f.path!r} is being written to", hint="upload the directory when nothing writes to it")
    return f"{f.sha256} {f.size}\n".encode() + data
