"""A data set of many files to a site: interrupted, resumed, verified; sent a second time; and its rate beside rsync's and scp's.

    python -m benchmarks.data [FILES] [MB]

By default 10,000 files of together 10,000 MB (10 GB), from a few bytes to some tens of MB, over a real sshd on loopback. One JSON line.
Everything in one run on one disk: give it three times the size in free space. A way is done when the site's disk has it (`sync -f`).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.parts.slurm_site import SlurmSite
from tests.parts.stores import Ticks, make_ids

from tidegrid.connectors.contract import SiteUnsure
from tidegrid.connectors.slurm.sftp_files import SftpFiles
from tidegrid.connectors.slurm.ssh import SshLink, SshShell
from tidegrid.control.bringing import Bringer, Source
from tidegrid.control.context import Context, Settings
from tidegrid.control.moving import Mover
from tidegrid.launch import testbed

AT = "cache/org"


def make(base: Path, number: int, size: int) -> list[Source]:
    """Files whose sizes spread over five powers of ten, no two of one content, as they lie in the server's store."""
    rng = random.Random(7)
    weights = [min(rng.lognormvariate(0, 1.6), 40.0) for _ in range(number)]
    pool = os.urandom(32 << 20)
    out = []
    for i, weight in enumerate(weights):
        want = max(16, int(weight / sum(weights) * size))
        path = base / f"{i % 100:02}" / f"part-{i:05}.dat"
        path.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with path.open("wb") as f:
            piece = i.to_bytes(16, "big")
            while want > 0:
                piece = piece[:want]
                f.write(piece)
                digest.update(piece)
                want -= len(piece)
                at = rng.randrange(16 << 20)
                piece = pool[at : at + (16 << 20)]
        out.append(Source(str(path.relative_to(base)), path, digest.hexdigest(), path.stat().st_size))
    return out


@dataclass
class Way:
    """A connection of its own to the site, with or without a counter between."""

    site: SlurmSite
    root: Path
    port: int = 0

    async def __aenter__(self) -> SftpFiles:
        target = self.site.target()
        if self.port:
            lines = Path(target.known_hosts).read_text()  # noqa: ASYNC240 - once, before the clock runs
            lines = lines.replace(f"]:{target.port}", f"]:{self.port}")
            target = replace(target, port=self.port, known_hosts=lines)
        self.link = SshLink(target)
        self.shell = SshShell(self.link)
        self.files = SftpFiles(self.link, self.shell, str(self.root))
        await self.files.prepare()
        return self.files

    async def __aexit__(self, *_: object) -> None:
        await self.files.close()
        await self.shell.close()
        self.link.drop()


class Counter:
    """Forwards to sshd and counts what passes, both ways."""

    def __init__(self, port: int) -> None:
        self.to, self.bytes = port, 0

    async def start(self) -> int:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return int(server.sockets[0].getsockname()[1])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner, outer = await asyncio.open_connection("127.0.0.1", self.to)
        await asyncio.gather(self._pump(reader, outer), self._pump(inner, writer), return_exceptions=True)

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(1 << 16):
            self.bytes += len(data)
            target.write(data)
            await target.drain()
        target.close()


def bringer(base: Path) -> Bringer:
    ctx: Any = Context(None, Ticks(), make_ids(), base, Settings())  # type: ignore[arg-type]
    mover = Mover(ctx)

    async def progress(transfer: int, offset: int) -> None: ...

    mover._progress = progress  # type: ignore[method-assign]
    return Bringer(mover)


def arrived(root: Path) -> int:
    """Bytes that lie in the cache of a site that is this machine."""
    total = 0
    for at, _, names in os.walk(root / AT):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += os.stat(os.path.join(at, name)).st_size
    return total


def check(directory: Path, sources: list[Source]) -> int:
    """Files there that are not what they should be."""
    text = "".join(f"{s.sha256}  {s.path}\n" for s in sources)
    done = subprocess.run(["sha256sum", "-c", "--quiet"], input=text, text=True, cwd=directory, capture_output=True, check=False)
    return len(done.stdout.splitlines())


async def interrupted(site: SlurmSite, root: Path, sources: list[Source], total: int) -> dict[str, Any]:
    work = bringer(root)
    async with Way(site, root) as files:
        way = asyncio.create_task(work.bring(files, AT, "a/in", sources))
        while await asyncio.to_thread(arrived, root) < total * 0.4 and not way.done():  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        files._link.drop()
        try:
            await way
            raise SystemExit("it was done before it was cut off")
        except SiteUnsure:
            pass
    there = await asyncio.to_thread(arrived, root)
    async with Way(site, root) as files:
        again = await work.bring(files, AT, "a/in", sources)
    wrong = await asyncio.to_thread(check, root / "a/in", sources)
    counter = Counter(site.target().port)
    async with Way(site, root, await counter.start()) as files:
        began = time.perf_counter()
        second = await work.bring(files, AT, "b/in", sources)
        took = time.perf_counter() - began
    wrong_second = await asyncio.to_thread(check, root / "b/in", sources)
    return {
        "cut_at_bytes": there, "resumed_bytes": again.sent_bytes, "resent_share": round((again.sent_bytes + there - total) / total, 4),
        "wrong_files": wrong, "second_sent_files": second.sent_files, "second_bytes_on_wire": counter.bytes,
        "second_s": round(took, 2), "second_wrong_files": wrong_second,
    }  # fmt: skip


async def plain(site: SlurmSite, root: Path, sources: list[Source]) -> float:
    async with Way(site, root) as files:
        began = time.perf_counter()
        await bringer(root).bring(files, AT, "a/in", sources)
        return time.perf_counter() - began


def peer(argv: list[str], target: Path) -> float:
    target.mkdir(parents=True)
    began = time.perf_counter()
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["sync", "-f", str(target)], check=True)
    return time.perf_counter() - began


def peers(site: SlurmSite, source: Path, base: Path) -> dict[str, float]:
    argv = site.cluster.ssh.argv
    remote = argv[-1]
    scp = ["scp", "-q", "-r", *(a.replace("-p", "-P") if a == "-p" else a for a in argv[1:-1])]
    found = {}
    for name, command in (
        ("rsync", ["rsync", "-a", "-e", " ".join(argv[:-1]), f"{source}/", f"{remote}:{base}/rsync/"]),
        ("scp", [*scp, str(source), f"{remote}:{base}/scp/"]),
    ):
        found[name] = peer(command, base / name)
        shutil.rmtree(base / name)
    return found


def measure(site: SlurmSite, base: Path, number: int, size: int) -> dict[str, Any]:
    source = base / "source"
    sources = make(source, number, size)
    os.sync()
    total = sum(s.size for s in sources)
    told = {"benchmark": "data", "files": number, "bytes": total, **asyncio.run(interrupted(site, base / "first", sources, total))}
    shutil.rmtree(base / "first")
    seconds = {"ours": asyncio.run(plain(site, base / "second", sources))}
    shutil.rmtree(base / "second")
    seconds |= peers(site, source, base)
    told |= {f"{k}_mb_s": round(total / s / 1e6, 1) for k, s in seconds.items()}
    told |= {f"{k}_ratio": round(seconds[k] / seconds["ours"], 2) for k in ("rsync", "scp")}
    return told


def main() -> None:
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    size = (int(sys.argv[2]) if len(sys.argv) > 2 else 10_000) * 10**6
    with tempfile.TemporaryDirectory(prefix="tide-bench-") as name:
        base = Path(name)
        if shutil.disk_usage(base).free < 3 * size + (2 << 30):
            raise SystemExit(f"{base} has not three times {size:,} bytes free")
        bed = testbed.up(Path(tempfile.mkdtemp(prefix="tide-slurm-")), 1, bound=True)
        try:
            print(json.dumps(measure(SlurmSite(base / "site", bed.clusters[0], ssh=True), base, number, size)))
        finally:
            bed.down()


if __name__ == "__main__":
    main()
