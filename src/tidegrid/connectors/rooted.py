"""Several roots of one cluster, each of another Unix account, as one filesystem.

A path that begins with `~<unix user>/` lies below that account's root, any other below the cluster's own. Lease and spool are
per root: the lease is renewed where the spool was listed, and nowhere else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import structlog

from tidegrid.connectors.contract import Claim, FileInfo, SiteFiles, SiteRefused, SiteUnsure, SpoolEntry
from tidegrid.domain.errors import TideError
from tidegrid.domain.ids import unb32

log = structlog.get_logger(__name__)
LEASE = "lease"
Owners = Callable[[Sequence[int]], Awaitable[Mapping[int, str]]]
"""Attempts -> the Unix user of each, "" for the cluster's own account; unknown attempts are left out."""


def below(user: str, path: str) -> str:
    """The path in the root of this account; "" is the cluster's own."""
    return f"~{user}/{path}" if user else path


def split(path: str) -> tuple[str, str]:
    """(Unix user, path below its root)"""
    if not path.startswith("~"):
        return "", path
    user, _, rest = path[1:].partition("/")
    return user, rest


def located(files: SiteFiles, path: str) -> tuple[str, str]:
    """(absolute root, path below it) as the site sees them."""
    user, rest = split(path)
    if not user:
        return files.root, path
    of = getattr(files, "root_of", None)
    if of is None:
        raise SiteRefused("site.no_account", f"the account {user} is not connected")
    return str(of(user)), rest


class Known:
    """Who owns each attempt, asked once. What the controller or a spool says of an attempt counts only from its owner's account:
    another customer could write the same there."""

    def __init__(self, owners: Owners) -> None:
        self._owners = owners
        self._known: dict[int, str | None] = {}

    def learn(self, attempt: int, user: str) -> None:
        self._known[attempt] = user

    async def ask(self, attempts: Sequence[int]) -> None:
        unknown = [a for a in attempts if a not in self._known]
        if not unknown:
            return
        if len(self._known) > 200_000:
            self._known.clear()
            unknown = list(attempts)
        found = await self._owners(unknown)
        self._known |= {a: found.get(a) for a in unknown}

    def of(self, attempt: int) -> str | None:
        """None: no attempt of this platform."""
        return self._known.get(attempt)


class RootedFiles:
    """`main` and the files of the other accounts. An account that does not answer keeps nobody else from working: `trouble`
    says why, its spool is not listed and its lease not renewed."""

    def __init__(self, main: SiteFiles, others: Mapping[str, SiteFiles], known: Known) -> None:
        self.main, self.others, self.known, self.root = main, dict(others), known, main.root
        self.trouble: dict[str, str] = {}
        self._prepared: set[str] = set()
        self._listed: set[str] = set()

    def root_of(self, user: str) -> str:
        return self._at(below(user, ""))[0].root

    def _at(self, path: str) -> tuple[SiteFiles, str]:
        user, rest = split(path)
        if not user:
            return self.main, path
        files = self.others.get(user)
        if files is None:
            raise SiteRefused("site.no_account", f"the account {user} is not connected")
        return files, rest

    async def prepare(self) -> None:
        await self.main.prepare()

    async def write(self, path: str, data: bytes, *, mode: int = 0o600) -> None:
        if path == LEASE:
            await self._renew(data)
            return
        files, rest = self._at(path)
        await files.write(rest, data, mode=mode)

    async def write_many(
        self, directory: str, files: Mapping[str, bytes], *, mode: int = 0o600, directories: Sequence[str] = ()
    ) -> None:
        at, rest = self._at(directory)
        await at.write_many(rest, files, mode=mode, directories=directories)

    async def read_many(self, paths: Sequence[str]) -> dict[str, bytes]:
        by_user: dict[str, list[str]] = {}
        for path in paths:
            user, rest = split(path)
            by_user.setdefault(user, []).append(rest)
        found = await asyncio.gather(*(self._at(below(u, ""))[0].read_many(rest) for u, rest in by_user.items()))
        return {below(u, path): data for u, of in zip(by_user, found, strict=True) for path, data in of.items()}

    async def put(self, local: str, path: str, *, offset: int = 0) -> int:
        files, rest = self._at(path)
        return await files.put(local, rest, offset=offset)

    async def get(self, path: str, local: str, *, offset: int = 0) -> int:
        files, rest = self._at(path)
        return await files.get(rest, local, offset=offset)

    async def read(self, path: str, *, offset: int = 0, limit: int = 65536) -> bytes:
        files, rest = self._at(path)
        return await files.read(rest, offset=offset, limit=limit)

    async def glob(self, directory: str, patterns: Sequence[str], *, limit: int = 10_000) -> list[FileInfo]:
        files, rest = self._at(directory)
        return await files.glob(rest, patterns, limit=limit)

    async def glob_many(self, wanted: Sequence[tuple[str, Sequence[str]]], *, limit: int = 10_000) -> list[list[FileInfo]]:
        by_user: dict[str, list[tuple[int, str, Sequence[str]]]] = {}
        for i, (directory, patterns) in enumerate(wanted):
            user, rest = split(directory)
            by_user.setdefault(user, []).append((i, rest, patterns))
        found = await asyncio.gather(
            *(self._at(below(u, ""))[0].glob_many([(d, p) for _, d, p in its], limit=limit) for u, its in by_user.items())
        )
        in_order = {i: files for its, of in zip(by_user.values(), found, strict=True) for (i, _, _), files in zip(its, of, strict=True)}
        return [in_order[i] for i in range(len(wanted))]

    async def sha256(self, path: str, *, length: int | None = None) -> str:
        files, rest = self._at(path)
        return await files.sha256(rest, length=length)

    async def claim(self, directory: str, task: int, restart: int, holder: str) -> Claim:
        files, rest = self._at(directory)
        return await files.claim(rest, task, restart, holder)

    async def remove(self, directory: str) -> None:
        files, rest = self._at(directory)
        await files.remove(rest)

    async def cached(self, at: str, contents: Mapping[str, int]) -> set[str]:
        files, rest = self._at(at)
        return await files.cached(rest, contents)

    async def cache(self, at: str, contents: Sequence[tuple[str, str, int]]) -> set[str]:
        files, rest = self._at(at)
        return await files.cache(rest, contents)

    async def adopt(self, at: str, path: str, sha256: str) -> None:
        files, rest = self._at(at)
        await files.adopt(rest, split(path)[1], sha256)

    async def link(self, at: str, directory: str, names: Sequence[tuple[str, str]]) -> None:
        files, rest = self._at(at)
        await files.link(rest, split(directory)[1], names)

    async def uncache(self, at: str, hashes: Sequence[str]) -> None:
        files, rest = self._at(at)
        await files.uncache(rest, hashes)

    async def spool(self) -> list[SpoolEntry]:
        """Of every root that answers; the cluster's own must."""
        users = ["", *self.others]
        found = await asyncio.gather(*(self._spool(u) for u in users), return_exceptions=True)
        self._listed = set()
        out: list[SpoolEntry] = []
        for user, entries in zip(users, found, strict=True):
            if isinstance(entries, BaseException):
                if not user or not isinstance(entries, (SiteUnsure, SiteRefused, TideError, OSError)):
                    raise entries
                self._troubled(user, entries)
                continue
            self._listed.add(user)
            if self.trouble.pop(user, None):
                log.info("account.back", user=user)
            out += [replace(e, file=below(user, e.file)) for e in entries]
        owner = {e.file: a for e in out if (a := _attempt(e)) is not None}
        await self.known.ask(sorted(set(owner.values())))
        return [e for e in out if e.file not in owner or self.known.of(owner[e.file]) in (None, split(e.file)[0])]

    async def _spool(self, user: str) -> list[SpoolEntry]:
        files = self.others[user] if user else self.main
        if user and user not in self._prepared:
            await files.prepare()
            self._prepared.add(user)
        return await files.spool()

    async def unspool(self, files: Sequence[str]) -> list[str]:
        by_user: dict[str, list[str]] = {}
        for file in files:
            user, rest = split(file)
            by_user.setdefault(user, []).append(rest)
        there = await asyncio.gather(*(self._at(below(u, ""))[0].unspool(names) for u, names in by_user.items()))
        return [below(u, name) for u, names in zip(by_user, there, strict=True) for name in names]

    async def _renew(self, data: bytes) -> None:
        users = [u for u in ["", *self.others] if u in self._listed or not u]
        done = await asyncio.gather(
            *(self._at(below(u, ""))[0].write(LEASE, data) for u in users), return_exceptions=True
        )
        for user, error in zip(users, done, strict=True):
            if error is None:
                continue
            if not user or not isinstance(error, (SiteUnsure, SiteRefused, TideError, OSError)):
                raise error
            self._troubled(user, error)

    def _troubled(self, user: str, error: BaseException) -> None:
        why = str(error) or type(error).__name__
        if user not in self.trouble:
            log.warning("account.trouble", user=user, why=why)
        self.trouble[user] = why

    async def close(self) -> None:
        for files in (self.main, *self.others.values()):
            close: Any = getattr(files, "close", None)
            if close is not None:
                await close()


def _attempt(entry: SpoolEntry) -> int | None:
    try:
        return unb32(entry.attempt)
    except ValueError:
        return None
