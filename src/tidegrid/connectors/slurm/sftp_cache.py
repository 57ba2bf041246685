"""An organisation's cache of contents at a site reached over SSH: contents go there as one stream, which `tar` unpacks there; the
site itself says by their hashes which have arrived."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shlex
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tidegrid.connectors.contract import SiteUnsure
from tidegrid.connectors.packs import MODE, MTIME, Content, links, packed, place
from tidegrid.connectors.slurm.shell import Output

if TYPE_CHECKING:
    from tidegrid.connectors.slurm.shell import Shell
    from tidegrid.connectors.slurm.ssh import SshLink

STREAMS = 3  # with the lanes of the shell and SFTP fewer than sshd allows on one connection (MaxSessions, 10)
# What arrived in the directory $1 and is what its name says becomes part of the cache; the rest goes. Data before names.
HARVEST = f"""harvest() {{
cd "$1" 2>/dev/null || return 0
find ?? -type f -printf '%f  %p\\n' 2>/dev/null >.list
sha256sum -c .list 2>/dev/null | sed -n 's/: FAILED.*$//p' | xargs -r -d '\\n' rm -f
find ?? -type f -exec chmod {MODE:o} {{}} + -exec touch -d @{MTIME} {{}} + 2>/dev/null
sync -f . 2>/dev/null || sync
for d in ??; do [ -d "$d" ] || continue; mkdir -p "../$d"; find "$d" -type f -exec mv -f -t "../$d" {{}} +; done
cd .. && rm -rf "$1"
}}
"""


class SftpCache:
    """Part of `sftp_files.SftpFiles`. at: the cache's directory below the root."""

    if TYPE_CHECKING:
        root: str
        _link: SshLink
        _shell: Shell
        _timeout_s: float

        def _whole(self, path: str) -> str: ...
        def _at(self, path: str) -> str: ...
        def _no_space(self, path: str, why: str) -> Exception: ...
        async def _moving(self, step: Any) -> Any: ...

    def __init__(self) -> None:
        self._arriving: set[str] = set()  # directories that a stream of this process goes to now
        self._streams = asyncio.Semaphore(STREAMS)

    async def cached(self, at: str, contents: Mapping[str, int]) -> set[str]:
        """Whole contents of a stream that broke off are taken in first."""
        where = shlex.quote(self._whole(at))
        busy = " ".join(sorted(self._arriving))
        answer = await self._checked(
            at,
            f"{HARVEST}mkdir -p {where} && cd {where} || exit 44\n"
            f'for left in .in-*; do case " {busy} " in *" $left "*) continue ;; esac; [ ! -d "$left" ] || harvest "$left"; done\n'
            f"xargs -r -d '\\n' stat -c '%n %s %Y %a %F' 2>/dev/null; :",
            "".join(f"{place(sha)}\n" for sha in contents),
        )
        found = set()
        for line in answer.stdout.split("\n"):
            sha = line[3:67]
            kind = "regular file" if contents.get(sha) else "regular empty file"
            if sha in contents and line[67:] == f" {contents[sha]} {MTIME} {MODE:o} {kind}":
                found.add(sha)
        return found

    async def cache(self, at: str, files: Sequence[Content]) -> set[str]:
        where, name = self._whole(at), f".in-{secrets.token_hex(8)}"
        target = shlex.quote(f"{where}/{name}")
        self._arriving.add(name)
        try:
            answer = await self._piped(at, f"umask 077; mkdir -p {target} && exec tar -xf - -C {target}", packed(files))
        finally:
            self._arriving.discard(name)
        if answer.rc != 0 and "No space left" not in answer.stderr and "quota exceeded" not in answer.stderr.lower():
            raise SiteUnsure(f"{self._at(at)}: tar: {answer.stderr.strip()[:300]}", silent=False)
        checked = await self._checked(
            at,
            f'{HARVEST}cd {shlex.quote(where)} || exit 44\nharvest {name} || exit 45\n'
            f"xargs -r -d '\\n' stat -c '%n %s' 2>/dev/null; :",
            "".join(f"{place(sha)}\n" for sha, _, _ in files),
        )
        sizes = {sha: size for sha, _, size in files}
        arrived = {line[3:67] for line in checked.stdout.split("\n") if line[67:] == f" {sizes.get(line[3:67])}"}
        if answer.rc != 0:
            raise self._no_space(at, answer.stderr.strip()[:300])
        return arrived

    async def adopt(self, at: str, path: str, sha256: str) -> None:
        where, whole = self._whole(at), shlex.quote(self._whole(path))
        target = shlex.quote(f"{where}/{place(sha256)}")
        await self._checked(
            at, f"mkdir -p {shlex.quote(f'{where}/{sha256[:2]}')} && chmod {MODE:o} {whole} && touch -d @{MTIME} {whole} && mv -f -T {whole} {target}"
        )

    async def link(self, at: str, directory: str, files: Sequence[tuple[str, str]]) -> None:
        names = [(f"{directory}/{path}", f"{at}/{place(sha)}") for path, sha in files]
        for name, _ in names:
            self._whole(name)

        async def stream() -> AsyncIterator[bytes]:
            yield await asyncio.to_thread(links, names)

        answer = await self._piped(at, f"umask 077; exec tar -xPf - -C {shlex.quote(self.root)}", stream())
        if answer.rc == 0:
            return
        # a filesystem without links, or too many of one file: copies
        await self._checked(
            at,
            f'cd {shlex.quote(self.root)} || exit 44\numask 077\nwhile IFS= read -r to && IFS= read -r from; do [ -e "$to" ] || '
            '{ mkdir -p "${to%/*}" && cp -- "$from" "$to.part~" && mv -f -T -- "$to.part~" "$to"; } || exit 45; done',
            "".join(f"{name}\n{target}\n" for name, target in names),
        )

    async def uncache(self, at: str, hashes: Sequence[str]) -> None:
        await self._checked(
            at, f"cd {shlex.quote(self._whole(at))} 2>/dev/null || exit 0\nxargs -r -d '\\n' rm -f", "".join(f"{place(h)}\n" for h in hashes)
        )

    # ------------------------------------------------------------------------------------------------------------------------

    async def _checked(self, at: str, command: str, stdin: str = "") -> Output:
        answer = await self._shell.run(command, stdin, timeout=3600)
        if answer.rc != 0:
            said = answer.stderr.strip()[:300]
            if "No space left" in said or "quota exceeded" in said.lower():
                raise self._no_space(at, said)
            raise SiteUnsure(f"{self._at(at)}: {said or answer.rc}", silent=False)
        return answer

    async def _piped(self, at: str, command: str, chunks: AsyncIterator[bytes]) -> Output:
        """Run a command there that reads the chunks. SiteUnsure where the connection ends."""
        import asyncssh

        try:
            connection = await self._link.connection()
            async with self._streams, await connection.create_process(command, encoding=None) as process:
                with contextlib.suppress(BrokenPipeError):  # it ended before the stream did: its words say why
                    async for chunk in chunks:
                        process.stdin.write(chunk)
                        await self._moving(process.stdin.drain())
                    process.stdin.write_eof()
                done = await process.wait()
        except TimeoutError:
            raise SiteUnsure(f"{self._at(at)}: the stream stands still") from None
        except (asyncssh.Error, ConnectionError) as e:
            raise SiteUnsure(f"{self._at(at)}: {e or type(e).__name__}") from None
        stderr = done.stderr or b""
        rc = done.exit_status
        if rc is None or rc < 0:
            raise SiteUnsure(f"{self._at(at)}: the connection ended before the answer")
        return Output(rc, "", stderr.decode("utf-8", "replace") if isinstance(stderr, bytes) else stderr)
