"""Transfers over a real sshd that break off go on where they stopped, and count only when both ends have the same hash."""
# ruff: noqa: ASYNC240 — what the files really are is looked at directly

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from tests.parts.slurm_site import SlurmSite
from tests.parts.stores import Ticks, make_ids

from tidegrid.connectors.slurm.sftp_files import SftpFiles
from tidegrid.connectors.slurm.ssh import SshShell
from tidegrid.control.blobstore import file_sha256
from tidegrid.control.context import Context, Settings
from tidegrid.control.moving import Mover
from tidegrid.launch.testbed import Testbed

SIZE = 96 << 20


class Noted(SftpFiles):
    """Remembers where each transfer began."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.began: list[int] = []

    async def put(self, local: str, path: str, *, offset: int = 0) -> int:
        self.began.append(offset)
        return await super().put(local, path, offset=offset)

    async def get(self, path: str, local: str, *, offset: int = 0) -> int:
        self.began.append(offset)
        return await super().get(path, local, offset=offset)


async def broken_off(work: Any, grown: Path) -> None:
    """Cancel the transfer when part of it has arrived; the connection stays."""
    task = asyncio.ensure_future(work)
    while not (grown.exists() and grown.stat().st_size >= 8 << 20):
        assert not task.done(), "too quick to be broken off"
        await asyncio.sleep(0.002)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_a_transfer_that_broke_off_goes_on_there_and_is_checked(slurm: Testbed, tmp_path: Path) -> None:
    site = SlurmSite(tmp_path, slurm.clusters[0], ssh=True)
    local = tmp_path / "local"
    local.write_bytes(os.urandom(1 << 20) * (SIZE >> 20))
    sha = file_sha256(local)

    async def main() -> None:
        link = site.link()
        shell = SshShell(link)
        files = Noted(link, shell, str(site.root))
        ctx: Any = Context(None, Ticks(), make_ids(), tmp_path, Settings())  # type: ignore[arg-type]
        mover = Mover(ctx)

        async def progress(transfer: int, offset: int) -> None: ...

        mover._progress = progress  # type: ignore[method-assign]
        there = Path(site.root, "a/in/data")
        await broken_off(mover.send(files, local, "a/in/data", sha, 1), there)
        part = there.stat().st_size
        assert 0 < part < SIZE
        await mover.send(files, local, "a/in/data", sha, 1)
        assert files.began[0] == 0 and 0 < files.began[1] <= SIZE
        assert file_sha256(there) == sha
        # a part that is not of this file is found out by its hash, and sent anew
        there.write_bytes(b"x" * part)
        files.began.clear()
        await mover.send(files, local, "a/in/data", sha, 1)
        assert files.began == [part, 0] and file_sha256(there) == sha

        files.began.clear()
        row = {"id": 7, "size": SIZE, "site_path": "a/in/data"}
        home = tmp_path / "home" / "data"
        home.parent.mkdir()
        await broken_off(mover.fetch(files, row, home), home.parent / ".part-0000000000007")
        assert not home.exists(), "what is not whole does not bear its name"
        assert await mover.fetch(files, row, home) == (sha, SIZE)
        assert files.began[0] == 0 and files.began[1] >= 8 << 20
        assert os.listdir(home.parent) == ["data"]
        await files.close()
        await shell.close()

    asyncio.run(main())
