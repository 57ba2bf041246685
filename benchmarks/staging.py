"""Staging over SFTP against plain scp: the same file, the same sshd, the same key, in one run.

    python -m benchmarks.staging [MIB]

One JSON line: MB/s of each, there and back, and their ratio (ours / scp's; best of three).
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.parts.slurm_site import SlurmSite

from tidegrid.connectors.slurm.sftp_files import SftpFiles
from tidegrid.connectors.slurm.ssh import SshShell
from tidegrid.launch import testbed

TRIES = 3


def scp(site: SlurmSite, base: Path, there: str, *, back: bool) -> None:
    """With the cipher that scp chooses by itself."""
    argv = site.cluster.ssh.argv
    options = [a.replace("-p", "-P") if a == "-p" else a for a in argv[1:-1]]
    remote = f"{argv[-1]}:{there}"
    ends = [remote, str(base / "back")] if back else [str(base / "local"), remote]
    subprocess.run(["scp", "-q", *options, *ends], check=True)


def rate(size: int, work: Callable[[], Any]) -> float:
    best = 1e9
    for _ in range(TRIES):
        began = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - began)
    return round(size / best / 1e6, 1)


def measure(bed: testbed.Testbed, base: Path, size: int) -> dict[str, Any]:
    site = SlurmSite(base, bed.clusters[0], ssh=True)
    (base / "local").write_bytes(os.urandom(1 << 20) * (size >> 20))
    loop = asyncio.new_event_loop()
    link = site.link()
    shell = SshShell(link)
    files = SftpFiles(link, shell, str(site.root))
    run = loop.run_until_complete
    run(files.prepare())
    found = {
        "put": rate(size, lambda: run(files.put(str(base / "local"), "a/data"))),
        "scp_put": rate(size, lambda: scp(site, base, f"{site.root}/scp", back=False)),
        "get": rate(size, lambda: run(files.get("a/data", str(base / "back")))),
        "scp_get": rate(size, lambda: scp(site, base, f"{site.root}/scp", back=True)),
    }
    run(files.close())
    run(shell.close())
    loop.close()
    ratios = {f"{way}_ratio": round(found[way] / found[f"scp_{way}"], 2) for way in ("put", "get")}
    return {"benchmark": "staging", "mib": size >> 20, **{f"{k}_mb_s": v for k, v in found.items()}, **ratios}


def main() -> None:
    size = int(sys.argv[1] if len(sys.argv) > 1 else 128) << 20
    bed = testbed.up(Path(tempfile.mkdtemp(prefix="tide-slurm-")), 1, bound=True)
    try:
        with tempfile.TemporaryDirectory(prefix="tide-bench-") as base:
            print(json.dumps(measure(bed, Path(base), size)))
    finally:
        bed.down()


if __name__ == "__main__":
    main()
