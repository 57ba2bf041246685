"""Logs, uploads and outputs."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tidegrid.client.calls import Calls, View, quoted
from tidegrid.client.views import Job, Output
from tidegrid.domain.errors import InvalidInput, NotFound, Unreachable

_BLOCK = 1 << 20


class Files(Calls):
    """What goes to jobs and comes from them."""

    def job(self, job_id: str) -> Job:
        return Job.of(self._view("GET", f"/jobs/{quoted(job_id)}"))

    def logs(
        self, job_id: str, *, task: int = 0, stream: str = "out", offset: int = 0, limit: int = _BLOCK
    ) -> tuple[bytes, int]:
        """(bytes, offset of the next byte); no bytes: nothing more yet."""
        params = {"task": task, "stream": stream, "offset": offset, "limit": limit}
        answer = self._t.request("GET", f"/jobs/{quoted(job_id)}/logs", params=params)
        return answer.content, offset + len(answer.content)

    def follow_logs(
        self, job_id: str, *, task: int = 0, stream: str = "out", offset: int = 0, every: float = 0.2
    ) -> Iterator[bytes]:
        """What the task writes, until the job has ended."""
        while True:
            final = self.job(job_id).final  # asked first: what is written before the end is read after it
            while True:
                data, offset = self.logs(job_id, task=task, stream=stream, offset=offset)
                if not data:
                    break
                yield data
            if final:
                return
            self._sleep(every)

    def upload(self, path: str | os.PathLike[str]) -> View:
        """Store a local file; returns {sha256, size} for a job's inputs. Sent again after a lost connection: content is
        named by its hash, so nothing is stored twice."""
        file = Path(path)
        if not file.is_file():
            raise InvalidInput("file.missing", f"there is no file {str(file)!r}")
        for attempt in (1, 2, 3):
            digest = hashlib.sha256()
            try:
                found: View = self._t.json("POST", "/uploads", retry=False, content=_blocks(file, digest),
                                           headers={"Content-Type": "application/octet-stream"})  # fmt: skip
            except Unreachable:
                if attempt == 3:
                    raise
                self._sleep(0.2 * attempt)
                continue
            if found["sha256"] == digest.hexdigest():
                return found
        raise Unreachable("upload.corrupt", f"{str(file)!r} arrived with another hash", hint="does something write to it?")

    def outputs(self, job_id: str) -> list[Output]:
        return [Output.of(o) for o in self._view("GET", f"/jobs/{quoted(job_id)}/outputs")["items"]]

    def fetch(
        self, job_id: str, to: str | os.PathLike[str], *, only: Sequence[str] = (),
        progress: Callable[[Output, int], None] | None = None,
    ) -> list[Path]:
        """Bring outputs to the directory `to`; returns the files written. A file appears whole or not at all.

        only: paths, all where empty; progress: called with an output and the bytes of it so far.
        """  # fmt: skip
        wanted = [o for o in self.outputs(job_id) if (not only or o.path in only) and o.state in (None, "done")]
        if missing := sorted(set(only) - {o.path for o in wanted}):
            raise NotFound("output.unknown", f"{job_id} has no output {missing[0]!r}")
        root = Path(to)
        written = []
        for output in wanted:
            target = root / _below(output.path)
            target.parent.mkdir(parents=True, exist_ok=True)
            self._fetch_one(job_id, output, target, progress)
            written.append(target)
        return written

    def _fetch_one(
        self, job_id: str, output: Output, target: Path, progress: Callable[[Output, int], None] | None
    ) -> None:
        part = target.with_name(f".{target.name[:200]}.{secrets.token_hex(4)}.part")
        digest, got = hashlib.sha256(), 0
        try:
            with part.open("wb") as file:
                for attempt in (1, 2, 3, 4):
                    headers = {"Range": f"bytes={got}-"} if got else {}
                    try:
                        with self._t.stream("GET", f"/jobs/{quoted(job_id)}/outputs/{quote(output.path)}",
                                            headers=headers) as answer:  # fmt: skip
                            if got and answer.status_code != 206:
                                file.seek(0), file.truncate()
                                digest, got = hashlib.sha256(), 0
                            for block in answer.iter_bytes(_BLOCK):
                                file.write(block)
                                digest.update(block)
                                got += len(block)
                                if progress is not None:
                                    progress(output, got)
                        break
                    except Unreachable:
                        if attempt == 4:
                            raise
                        self._sleep(0.2 * attempt)
            if output.sha256 and digest.hexdigest() != output.sha256:
                raise Unreachable("fetch.corrupt", f"{output.path!r} arrived with another hash", hint="fetch it again")
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)


def _blocks(file: Path, digest: Any) -> Iterator[bytes]:
    with file.open("rb") as handle:
        while block := handle.read(_BLOCK):
            digest.update(block)
            yield block


def _below(path: str) -> Path:
    """A path the server names, kept below the directory it is brought to."""
    parts = path.split("/")
    if any(p in ("", ".", "..") for p in parts) or "\\" in path or "\x00" in path:
        raise InvalidInput("output.path", f"the server named an output {path!r} that would leave the directory")
    return Path(*parts)
