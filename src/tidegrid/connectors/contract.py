"""What every cluster must be able to do. `tests/conformance` holds every connector to it.

Errors of a call are of two kinds only: `SiteRefused` (the site said no, definitely and with effect on nothing) and
`SiteUnsure` (anything else: no connection, time-out, garbage; the call may or may not have had its effect).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tidegrid.domain.attempt import Ended, Started


class SiteRefused(Exception):
    """A definite refusal. code: `site.<what>`, stable."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{message} ({code})")
        self.code, self.message = code, message


class SiteUnsure(Exception):
    """No trustworthy answer. silent: the site did not answer at all (counts for the circuit breaker)."""

    def __init__(self, message: str, *, silent: bool = True) -> None:
        super().__init__(message)
        self.message, self.silent = message, silent


@dataclass(frozen=True, slots=True)
class SubmitRequest:
    """One attempt, ready to run. name: the attempt's native name, unique for ever; directory: the attempt's directory on
    the site, already staged; script: file to run with /bin/sh, relative to it; tasks: array task numbers, (0,) for a plain job.
    nodes, all at once, and ranks (processes) on each: cores, memory_mib and gpus are of one node. account, qos, constraint, exclusive: for
    sites that know them. held: wait for a release; warn_s: SIGUSR1 to the batch script so long before the end, 0: none."""

    name: str
    directory: str
    script: str
    partition: str
    cores: int
    memory_mib: int
    wall_s: int
    gpus: int = 0
    gpu_type: str = ""
    tasks: tuple[int, ...] = (0,)
    array: bool = False
    throttle: int = 0
    env: Mapping[str, str] = field(default_factory=dict)
    nodes: int = 1
    ranks: int = 1
    account: str = ""
    qos: str = ""
    constraint: str = ""
    exclusive: bool = False
    held: bool = False
    warn_s: int = 0


@dataclass(frozen=True, slots=True)
class Listed:
    """A job in the controller's queue: tasks waiting and running there now. stuck: a code (`site.<what>`) where the site
    says that the waiting tasks cannot start as they are, now or ever; empty otherwise; says: the site's own word for it.
    again: (task, earlier starts that the controller knows to be over) of those that it started again."""

    name: str
    native_id: str
    waiting: tuple[int, ...]
    running: tuple[int, ...]
    stuck: str = ""
    says: str = ""
    again: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class NodeLoad:
    """Capacity and use of one partition, for the network's picture. cores, memory_mib, gpus: (total, free);
    largest: (cores, memory_mib, gpus) of the largest node. running: (remaining_s, cores, memory_mib, gpus) rows, of all nodes of
    a task; waiting: (wall_s, cores, memory_mib, gpus) rows in queue order. holes: nodes on which something is free, like ones together:
    (how many, cores, memory_mib, gpus free on each). enforced: what the cluster holds jobs to."""

    partition: str
    cores: tuple[int, int]
    memory_mib: tuple[int, int]
    gpus: tuple[int, int]
    largest: tuple[int, int, int]
    running: tuple[tuple[int, int, int, int], ...] = ()
    waiting: tuple[tuple[int, int, int, int], ...] = ()
    holes: tuple[tuple[int, int, int, int], ...] = ()
    enforced: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Record:
    """One line of accounting: of the attempt `name`."""

    name: str
    event: Started | Ended


@dataclass(frozen=True, slots=True)
class Observation:
    """One answer of the controller: complete, or not given at all. cursor: where accounting goes on; site_time_us: the
    site's clock when it answered; boot: changes when the controller lost its memory. all_told: every node has told the controller
    what it runs since that began, so that what it does not list does not run; False where that is not known. loads_age_s: how long
    before the answer the loads were asked for."""

    jobs: tuple[Listed, ...]
    records: tuple[Record, ...]
    cursor: str
    more: bool
    loads: tuple[NodeLoad, ...]
    site_time_us: int
    boot: str
    all_told: bool = False
    loads_age_s: float = 0.0


@dataclass(frozen=True, slots=True)
class SpoolEntry:
    """A transition file of a prologue (`connectors.spool`). kind: mark | gaveup | end; body: its text. file: its name."""

    file: str
    kind: str
    attempt: str
    task: int
    restart: int
    body: str


@dataclass(frozen=True, slots=True)
class Claim:
    """Who holds a fence after the claim. won: the server does; else holder is `<native id>:<nonce>`."""

    won: bool
    holder: str


@dataclass(frozen=True, slots=True)
class FileInfo:
    """path: relative, with forward slashes; size in bytes; modified: the site's word for when it last changed, to compare."""

    path: str
    size: int
    modified: str = ""


class SiteFiles(Protocol):
    """The site's filesystem below one root, which belongs to one Unix account. Paths are relative to it."""

    root: str

    async def prepare(self) -> None:
        """Make the root and its spool (0700) where they are not there yet."""
        ...

    async def write(self, path: str, data: bytes, *, mode: int = 0o600) -> None:
        """Temporary name, fsync, rename; parents are made (0700). NoSpace where the disk is full."""
        ...

    async def write_many(
        self, directory: str, files: Mapping[str, bytes], *, mode: int = 0o600, directories: Sequence[str] = ()
    ) -> None:
        """Small files into one directory (made, 0700), in as few round trips as the site allows. Whole and on the disk when this
        returns; not before, so that they are for readers who come later. directories: names of such that are made in it.
        NoSpace where the disk is full."""
        ...

    async def read_many(self, paths: Sequence[str]) -> dict[str, bytes]:
        """Small regular files whole, by path, in as few round trips; those that are not there are left out."""
        ...

    async def put(self, local: str, path: str, *, offset: int = 0) -> int:
        """Copy a local file there from `offset` on; bytes now there. NoSpace where the disk is full."""
        ...

    async def get(self, path: str, local: str, *, offset: int = 0) -> int:
        """Copy a site's file here from `offset` on; bytes now here."""
        ...

    async def read(self, path: str, *, offset: int = 0, limit: int = 65536) -> bytes:
        """Bytes of a file; empty where it does not exist yet."""
        ...

    async def glob(self, directory: str, patterns: Sequence[str], *, limit: int = 10_000) -> list[FileInfo]:
        """Regular files below `directory` that match; links are not followed out of it."""
        ...

    async def glob_many(self, wanted: Sequence[tuple[str, Sequence[str]]], *, limit: int = 10_000) -> list[list[FileInfo]]:
        """`glob` for several directories (directory, patterns), in their order, in as few round trips; limit: of each."""
        ...

    async def sha256(self, path: str, *, length: int | None = None) -> str:
        """Of a file, or of its first `length` bytes."""
        ...

    async def claim(self, directory: str, task: int, restart: int, holder: str) -> Claim:
        """Try to make the fence link `fence-<task>.<restart>` -> holder; atomic; says who holds it."""
        ...

    async def spool(self) -> list[SpoolEntry]:
        """One listing of `spool/`, complete; unreadable entries are skipped, temporary names too."""
        ...

    async def unspool(self, files: Sequence[str]) -> list[str]:
        """Remove spool files; returns those that were still there (removing a mark is the permit to start)."""
        ...

    async def remove(self, directory: str) -> None: ...

    async def cached(self, at: str, contents: Mapping[str, int]) -> set[str]:
        """Which of these contents (hash -> bytes) lie whole and untouched in the cache `at`, a directory of one organisation."""
        ...

    async def cache(self, at: str, files: Sequence[tuple[str, str, int]]) -> set[str]:
        """Bring contents (hash, local file, bytes) into a cache in one stream; those that are there now and have their hash. Each
        is whole there or not there; of a stream that breaks off, what arrived whole counts. NoSpace where the disk is full."""
        ...

    async def adopt(self, at: str, path: str, sha256: str) -> None:
        """Move a file there, whose hash was checked there, into a cache."""
        ...

    async def link(self, at: str, directory: str, files: Sequence[tuple[str, str]]) -> None:
        """Give contents of a cache names below `directory`: (path, hash). Read-only hard links, copies where links cannot be."""
        ...

    async def uncache(self, at: str, hashes: Sequence[str]) -> None:
        """Take contents out of a cache. What is linked elsewhere stays there."""
        ...


class Connector(Protocol):
    """One cluster."""

    cluster: str
    files: SiteFiles

    async def observe(self, cursor: str) -> Observation:
        """One controller query: queue, accounting after `cursor` (bounded; `more` says that there is more), load."""
        ...

    async def submit(self, request: SubmitRequest) -> str:
        """Native id. Idempotent in `name` where the site can be. SiteRefused or SiteUnsure otherwise."""
        ...

    async def find(self, name: str) -> Listed | None:
        """Ask by name in the queue and accounting; None only when both answered without it."""
        ...

    async def cancel(self, name: str, native_id: str, tasks: Sequence[int] = ()) -> None:
        """A wish: all tasks where `tasks` is empty. Unknown or ended jobs are no error."""
        ...

    async def close(self) -> None: ...
