"""A site's filesystem over SFTP, on the connection that its shells use too. Many files at once go through the shell.

Jobs run under the account that reads here, so a link that a job plants leads nowhere that the job could not read itself; the last
component of a path is not followed all the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
import shlex
import stat
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tidegrid.connectors.contract import Claim, FileInfo, SiteRefused, SiteUnsure, SpoolEntry
from tidegrid.connectors.globbing import matcher
from tidegrid.connectors.packs import unpacked
from tidegrid.connectors.slurm.sftp_cache import SftpCache
from tidegrid.connectors.slurm.shell import Shell
from tidegrid.connectors.slurm.ssh import SshLink
from tidegrid.connectors.spool import entry, require_names
from tidegrid.connectors.together import Together
from tidegrid.domain.errors import InvalidInput, NoSpace, NotFound

if TYPE_CHECKING:
    import asyncssh

CHUNK = 4 << 20  # asyncssh cuts it into blocks of the size that servers accept, many under way at once
AT_ONCE = 32
SEVERAL = 4  # spool files: by the shell
_LEFT_OUT = ("No such file", "Permission denied", "Exiting with failure status due to previous errors")  # what tar says
_Small = tuple[str, dict[str, bytes], int, list[str]]  # a directory, files to write there, their mode, directories to make


class SftpFiles(SftpCache):
    """SiteFiles below `root`, an absolute path there. timeout_s: of one small operation.

    Errors: NoSpace (staging.no_space), NotFound (staging.missing), InvalidInput (staging.path), SiteUnsure for all else.
    """

    def __init__(self, link: SshLink, shell: Shell, root: str, *, timeout_s: float = 30.0) -> None:
        if not root.startswith("/"):
            raise InvalidInput("staging.path", f"the site's root {root!r} is not absolute")
        super().__init__()
        self.root = root.rstrip("/")
        self._link, self._shell, self._timeout_s = link, shell, timeout_s
        self._client: asyncssh.SFTPClient | None = None
        self._client_of: Any = None  # the connection that it lives on
        self._opening = asyncio.Lock()
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._together: Together[_Small, None] = Together(self._write_together, most=AT_ONCE)

    async def prepare(self) -> None:
        """Make the root and its spool (0700)."""
        async with self._sftp(self.root) as sftp:
            await self._makedirs(sftp, f"{self.root}/spool")

    async def write(self, path: str, data: bytes, *, mode: int = 0o600) -> None:
        whole = self._whole(path)
        parent, _, _ = whole.rpartition("/")
        temporary = f"{parent}/.{secrets.token_hex(8)}"
        async with self._sftp(path) as sftp:
            import asyncssh

            attributes = asyncssh.SFTPAttrs(permissions=mode)
            try:
                file = await sftp.open(temporary, "xb", attributes)
            except asyncssh.SFTPNoSuchFile:
                await self._makedirs(sftp, parent)
                file = await sftp.open(temporary, "xb", attributes)
            try:
                async with file:
                    await file.write(data)
                    await _fsync(file)
                await sftp.posix_rename(temporary, whole)
            except BaseException:
                with contextlib.suppress(asyncssh.Error, OSError):
                    await sftp.remove(temporary)
                raise

    async def write_many(
        self, directory: str, files: Mapping[str, bytes], *, mode: int = 0o600, directories: Sequence[str] = ()
    ) -> None:
        whole = self._whole(directory)
        texts = {} if any(b"\0" in data for data in files.values()) else dict(files)  # a word of the shell holds none
        await self._together((whole, texts, mode, [f"{whole}/{name}" for name in directories] or [whole]))
        if texts != files:
            await asyncio.gather(*(self.write(f"{directory}/{n}", d, mode=mode) for n, d in files.items()))

    async def _write_together(self, asked: Sequence[_Small]) -> Sequence[Exception | None]:
        """One command of the shell, and two processes there, for what many jobs have to stage at the same moment."""
        made: list[str] = []
        names: list[str] = []
        steps: list[str] = []
        for directory, files, mode, directories in asked:
            made += map(shlex.quote, directories)
            its = [shlex.quote(f"{directory}/{name}") for name in files]
            texts = (shlex.quote(data.decode("utf-8", "surrogateescape")) for data in files.values())
            steps += [f"printf %s {text} >{name}" for text, name in zip(texts, its, strict=True)]
            if its and mode != 0o600:  # what the shell's umask gives
                steps.append(f"chmod {mode:o} {' '.join(its)}")
            names += its
        steps = [f"mkdir -p {' '.join(made)}", *steps, *([f"sync {' '.join(names)}"] if names else [])]
        answer = await self._shell.run(" && ".join(steps), timeout=self._timeout_s)
        if answer.rc == 0:
            return [None] * len(asked)
        if len(asked) > 1:  # whose fault it is, each finds out alone
            return [x for one in asked for x in await self._write_together([one])]
        said = answer.stderr.strip()[:300]
        where = asked[0][0].removeprefix(f"{self.root}/")
        # a shell's own printf may say "I/O error" for any
        if "No space left" in said or "quota exceeded" in said.lower() or ("I/O error" in said and await self._full()):
            return [self._no_space(where, said)]
        return [SiteUnsure(f"{self._at(where)}: {said}", silent=False)]

    async def read_many(self, paths: Sequence[str]) -> dict[str, bytes]:
        """One process. A file that changes while it is read is SiteUnsure: ask again."""
        named = {f"./{'/'.join(p for p in path.split('/') if p not in ('', '.'))}": path for path in paths if self._whole(path)}
        words = " ".join(map(shlex.quote, named))
        command = f"tar -c -f - --format=gnu --no-recursion --hard-dereference -C {shlex.quote(self.root)} -- {words}"
        answer = await self._shell.run(command, timeout=self._timeout_s)
        told = [x for x in answer.stderr.splitlines() if not any(known in x for known in _LEFT_OUT)]
        if answer.rc == 1 or told:
            raise SiteUnsure(f"{self._at('')}: {' '.join(told)[:300] or 'a file changed while it was read'}", silent=False)
        return unpacked(answer.stdout.encode("utf-8", "surrogateescape"), named)

    async def put(self, local: str, path: str, *, offset: int = 0) -> int:
        whole, size = self._whole(path), offset
        async with self._sftp(path, limited=False) as sftp:
            import asyncssh

            mode = "r+b" if offset else "wb"
            attributes = asyncssh.SFTPAttrs(permissions=0o600)
            try:
                file = await sftp.open(whole, mode, attributes)
            except asyncssh.SFTPNoSuchFile:
                if offset:
                    raise
                await self._makedirs(sftp, whole.rpartition("/")[0])
                file = await sftp.open(whole, mode, attributes)
            async with file:
                source = await asyncio.to_thread(open, local, "rb")
                try:
                    await asyncio.to_thread(source.seek, offset)
                    while data := await asyncio.to_thread(source.read, CHUNK):
                        await self._moving(file.write(data, offset))
                        offset += len(data)
                finally:
                    source.close()
                await _fsync(file)
                size = int((await file.stat()).size or 0)
        return size

    async def get(self, path: str, local: str, *, offset: int = 0) -> int:
        size = offset
        async with self._sftp(path, limited=False) as sftp:
            await self._regular(sftp, path)
            flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | (0 if offset else os.O_TRUNC)
            target = await asyncio.to_thread(os.open, local, flags, 0o600)
            try:
                async with await sftp.open(self._whole(path), "rb") as file:
                    while data := await self._moving(file.read(CHUNK, offset)):
                        await asyncio.to_thread(_write_all, target, data, offset)
                        offset += len(data)
                await asyncio.to_thread(os.fsync, target)
                size = os.fstat(target).st_size
            finally:
                os.close(target)
        return size

    async def read(self, path: str, *, offset: int = 0, limit: int = 65536) -> bytes:
        data: Any = b""
        async with self._sftp(path) as sftp:
            import asyncssh

            with contextlib.suppress(asyncssh.SFTPNoSuchFile):
                await self._regular(sftp, path)
                async with await sftp.open(self._whole(path), "rb") as file:
                    data = await file.read(limit, offset)
        return bytes(data)

    async def glob(self, directory: str, patterns: Sequence[str], *, limit: int = 10_000) -> list[FileInfo]:
        """Paths are relative to `directory`, sorted. SiteRefused (site.too_many_files) above the limit."""
        return (await self.glob_many([(directory, patterns)], limit=limit))[0]

    async def glob_many(self, wanted: Sequence[tuple[str, Sequence[str]]], *, limit: int = 10_000) -> list[list[FileInfo]]:
        """One process."""
        found: list[list[FileInfo]] = [[] for _ in wanted]
        by_directory: dict[str, list[int]] = {}
        for i, (directory, _) in enumerate(wanted):
            by_directory.setdefault(self._whole(directory), []).append(i)
        matches = [matcher(tuple(patterns)) for _, patterns in wanted]
        words = " ".join(map(shlex.quote, by_directory))
        answer = await self._shell.run(f"find -P {words} -type f -printf '%H\\0%s %T@ %P\\0'", timeout=self._timeout_s)
        if answer.rc != 0 and any("No such file" not in x for x in answer.stderr.splitlines()):
            raise SiteUnsure(f"{self._at('')}: {answer.stderr.strip()[:300]}", silent=False)
        cells = iter(answer.stdout.split("\0"))
        for whole, line in zip(cells, cells, strict=False):
            size, _, rest = line.partition(" ")
            modified, _, path = rest.partition(" ")
            for i in by_directory[whole]:
                if not path or not matches[i](path):
                    continue
                with contextlib.suppress(UnicodeEncodeError):
                    path.encode()  # a name that is no UTF-8 cannot be shown or stored
                    found[i].append(FileInfo(path, int(size), modified))
                if len(found[i]) > limit:
                    raise SiteRefused("site.too_many_files", f"more than {limit} files below {wanted[i][0]} match")
        return [sorted(files, key=lambda f: f.path) for files in found]

    async def sha256(self, path: str, *, length: int | None = None) -> str:
        """By the site itself, so that nothing travels."""
        whole = shlex.quote(self._whole(path))
        what = "sha256sum -b" if length is None else f"head -c {int(length)} | sha256sum -b"
        answer = await self._shell.run(f"[ -f {whole} ] || exit 44; <{whole} {what}", timeout=3600)
        if answer.rc == 44:
            raise NotFound("staging.missing", f"{self._at(path)}: no such file")
        digest = answer.stdout.split(" ")[0]
        if answer.rc != 0 or not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise SiteUnsure(f"{self._at(path)}: sha256sum: {answer.stderr.strip()[:200]}", silent=False)
        return digest

    async def claim(self, directory: str, task: int, restart: int, holder: str) -> Claim:
        at = self._whole(directory)
        fence = f"{at}/fence-{task}.{restart}"
        async with self._sftp(directory) as sftp:
            import asyncssh

            for first in (True, False):
                try:
                    await sftp.symlink(holder, fence)
                    break
                except asyncssh.SFTPNoSuchFile:
                    if not first:
                        raise
                    # made where it is missing: a staging that lands late must find the fence already taken
                    await self._makedirs(sftp, at)
                except asyncssh.SFTPFailure:
                    break  # it exists (SFTP 3 has no word for that), or the readlink says what is wrong
            held = await sftp.readlink(fence)
            text = held.decode() if isinstance(held, bytes) else str(held)
        return Claim(text == holder, text)

    async def spool(self) -> list[SpoolEntry]:
        where = shlex.quote(f"{self.root}/spool")
        answer = await self._shell.run(
            # an empty one, as most are, takes no process
            f"cd {where} || exit 44; set -- *; [ -e \"$1\" ] || exit 0; find . -maxdepth 1 -type f -size -9 ! -name '.*' -exec grep -aHm1 '' {{}} +; :",
            timeout=self._timeout_s,
        )
        if answer.rc != 0 or any("No such file" not in x for x in answer.stderr.splitlines()):
            raise SiteUnsure(f"{self._at('spool')}: {answer.stderr.strip()[:300]}", silent=False)
        lines = (line.removeprefix("./").partition(":") for line in answer.stdout.split("\n"))
        entries = [e for name, _, text in lines if (e := entry(name, text)) is not None]
        return sorted(entries, key=lambda e: e.file)

    async def unspool(self, files: Sequence[str]) -> list[str]:
        require_names(files)
        if len(files) >= SEVERAL:
            return await self._unlink_together(files)
        there = await asyncio.gather(*(self._unlink(f"{self.root}/spool/{name}") for name in files))
        return [name for name, was in zip(files, there, strict=True) if was]

    async def _unlink_together(self, files: Sequence[str]) -> list[str]:
        """One process; it says which it removed."""
        answer = await self._shell.run(
            f"cd {shlex.quote(f'{self.root}/spool')} || exit 44; rm -v -- {' '.join(files)} </dev/null", timeout=self._timeout_s
        )
        told = [x for x in answer.stderr.splitlines() if "No such file" not in x]
        if answer.rc not in (0, 1) or told:
            raise SiteUnsure(f"{self._at('spool')}: {' '.join(told)[:300] or f'exit status {answer.rc}'}", silent=False)
        removed = set(answer.stdout.split("\n"))
        return [name for name in files if f"removed '{name}'" in removed]

    async def remove(self, directory: str) -> None:
        whole = self._whole(directory)
        if whole.rpartition("/")[0] == self.root:
            raise InvalidInput("staging.path", f"{directory!r} is not an attempt's directory")
        answer = await self._shell.run(f"rm -rf -- {shlex.quote(whole)}", timeout=600)
        if answer.rc != 0:
            raise SiteUnsure(f"{self._at(directory)}: {answer.stderr.strip()[:300]}", silent=False)

    async def close(self) -> None:
        if self._client is not None:
            self._client.exit()
            self._client = None

    # ------------------------------------------------------------------------------------------------------------------

    def _whole(self, path: str) -> str:
        parts = [p for p in path.split("/") if p not in ("", ".")]
        if not parts or path.startswith("/") or ".." in parts or "\0" in path:
            raise InvalidInput("staging.path", f"{path!r} is not a path below the site's root")
        return "/".join((self.root, *parts))

    def _at(self, path: str) -> str:
        return f"{self._link.target}: {self.root}/{path}"

    def _no_space(self, path: str, why: str) -> NoSpace:
        hint = "free space at the site, or raise its quota, and try again"
        return NoSpace("staging.no_space", f"{self._at(path)}: {why}", hint=hint)

    @contextlib.asynccontextmanager
    async def _sftp(self, path: str, *, limited: bool = True) -> AsyncIterator[asyncssh.SFTPClient]:
        """The client, with a limit on time where wanted, and its errors in the contract's words."""
        import asyncssh

        try:
            async with self._gate, asyncio.timeout(self._timeout_s if limited else None):
                yield await self._open()
        except TimeoutError:
            self._client = None
            raise SiteUnsure(f"{self._at(path)}: no answer within {self._timeout_s:g} s") from None
        except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath):
            raise NotFound("staging.missing", f"{self._at(path)}: no such file") from None
        except (asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection) as e:
            self._client = None
            raise SiteUnsure(f"{self._at(path)}: {e.reason}") from None
        except asyncssh.SFTPError as e:
            if isinstance(e, (asyncssh.SFTPNoSpaceOnFilesystem, asyncssh.SFTPQuotaExceeded)) or await self._full():
                raise self._no_space(path, e.reason) from None
            raise SiteUnsure(f"{self._at(path)}: {e.reason}", silent=False) from None
        except asyncssh.Error as e:
            self._client = None
            raise SiteUnsure(f"{self._at(path)}: {e.reason}") from None

    async def _open(self) -> asyncssh.SFTPClient:
        async with self._opening:
            connection = await self._link.connection()
            if self._client is None or self._client_of is not connection:
                self._client, self._client_of = await connection.start_sftp_client(), connection
            return self._client

    async def _full(self) -> bool:
        """SFTP 3 says `Failure` for a full disk: ask the site whether it is one."""
        root = shlex.quote(self.root)
        try:
            probe = f"{root}/.{secrets.token_hex(8)}"
            answer = await self._shell.run(
                f"dd if=/dev/zero of={probe} bs=65536 count=1 conv=fsync; rm -f {probe}", timeout=10
            )
        except SiteUnsure:
            return False
        return "No space left" in answer.stderr or "quota exceeded" in answer.stderr.lower()

    async def _moving(self, step: Any) -> Any:
        """One chunk of a long transfer: the whole may take hours, a chunk not."""
        async with asyncio.timeout(self._timeout_s * 4):
            return await step

    async def _makedirs(self, sftp: asyncssh.SFTPClient, path: str) -> None:
        import asyncssh

        await sftp.makedirs(path, asyncssh.SFTPAttrs(permissions=0o700), exist_ok=True)

    async def _regular(self, sftp: asyncssh.SFTPClient, path: str) -> None:
        mode = (await sftp.lstat(self._whole(path))).permissions or 0
        if not stat.S_ISREG(mode):
            raise InvalidInput("staging.path", f"{path} is no regular file: links are not followed")

    async def _unlink(self, whole: str) -> bool:
        import asyncssh

        there = False
        async with self._sftp(whole) as sftp:
            with contextlib.suppress(asyncssh.SFTPNoSuchFile):
                await sftp.remove(whole)
                there = True
        return there


async def _fsync(file: Any) -> None:
    import asyncssh

    with contextlib.suppress(asyncssh.SFTPOpUnsupported):
        await file.fsync()


def _write_all(target: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        n = os.pwrite(target, view, offset)
        view, offset = view[n:], offset + n
