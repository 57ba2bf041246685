"""Logs and outputs."""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from tidegrid.client.calls import Calls, quoted
from tidegrid.client.views import Job, Output
from tidegrid.domain.errors import Conflict, InvalidInput, NotFound, Unreachable

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

    def outputs(self, job_id: str) -> list[Output]:
        return [Output.of(o) for o in self._view("GET", f"/jobs/{quoted(job_id)}/outputs")["items"]]

    def fetch(
        self, job_id: str, to: str | os.PathLike[str], *, only: Sequence[str] = (),
        progress: Callable[[Output, int], None] | None = None,
    ) -> list[Path]:
        """Bring outputs to the directory `to`; returns the files written. A file appears whole or not at
        all; one that broke off goes on where it stopped, in a later call too, and one that is there already is not brought again.

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
        whole = output.sha256 or ""
        # named after its content: another call, of this process or a later one, goes on with it
        part = target.with_name(f".{target.name[:150]}.{whole[:16] or secrets.token_hex(8)}.part")
        if target.is_file() and whole and target.stat().st_size == output.size and _sha(target) == whole:
            return
        with part.open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Conflict("fetch.busy", f"another process brings {output.path!r} to {target}", hint="wait for it") from None
            for attempt in (1, 2, 3, 4):
                got = file.seek(0, os.SEEK_END)
                if got > output.size or (got == output.size and whole and _sha(part) != whole):
                    got = file.truncate(0)
                try:
                    if got < output.size or not got:
                        self._receive(job_id, output, file, got, progress)
                    break
                except Unreachable:
                    if attempt == 4:
                        raise  # the part stays: the next call goes on with it
                    self._sleep(0.2 * attempt)
            file.flush()
            os.fsync(file.fileno())
            if whole and _sha(part) != whole:
                part.unlink(missing_ok=True)
                raise Unreachable("fetch.corrupt", f"{output.path!r} arrived with another hash", hint="fetch it again")
            part.replace(target)

    def _receive(
        self, job_id: str, output: Output, file: BinaryIO, got: int, progress: Callable[[Output, int], None] | None
    ) -> None:
        headers = {"Range": f"bytes={got}-"} if got else {}
        path = f"/jobs/{quoted(job_id)}/outputs/{quote(output.path)}"
        with self._t.stream("GET", path, headers=headers) as answer:
            if got and answer.status_code != 206:
                got = file.truncate(0)
            for block in answer.iter_bytes(_BLOCK):
                file.write(block)
                got += len(block)
                if progress is not None:
                    progress(output, got)


def _sha(file: Path) -> str:
    with file.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def _below(path: str) -> Path:
    """A path the server names, kept below the directory it is brought to."""
    parts = path.split("/")
    if any(p in ("", ".", "..") for p in parts) or "\\" in path or "\x00" in path:
        raise InvalidInput("output.path", f"the server named an output {path!r} that would leave the directory")
    return Path(*parts)
