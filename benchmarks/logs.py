"""How long after a job writes a line its followers have it, over ssh from a real Slurm cluster; and what ten of them cost.

    python -m benchmarks.logs

One JSON line: lag p50/p95 in ms over all lines and viewers, and reads of the site a second, shared and as it would be
without (each viewer its own).
"""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.parts.platform import running, shell

from tidegrid.launch import testbed
from tidegrid.launch.testbed.network import describe, install_keys

VIEWERS, SECONDS, PACE_S = 10, 8, 0.2


async def measure(bed: testbed.Testbed, base: Path) -> dict[str, Any]:
    home = base / "home"
    install_keys(bed, home)
    network = describe(bed, roots=base / "roots") + "  rival: {opening_balance: 100}\n"
    async with running(home, network=network, settings={"tick": 0.3, "silent_after": 20.0, "permit_wait": 60}) as net:
        p = net.platform
        script = f"for i in $(seq {SECONDS * 5}); do date +%s%N; sleep 0.2; done"
        job = (await p.submit(net.acme, shell(script, constraints={"any_of": ["alpha"]}), None))["id"]
        while (await p.job(net.acme, job))["state"] != "running":  # noqa: ASYNC110 - there is nothing to wait on
            await asyncio.sleep(0.05)
        files = p.ctx.connectors["alpha"].files
        reads, real = 0, files.read

        async def counted(path: str, *, offset: int = 0, limit: int = 65536) -> bytes:
            nonlocal reads
            reads += "/log/" in path
            return await real(path, offset=offset, limit=limit)

        files.read = counted  # type: ignore[method-assign]
        lags: list[float] = []
        polls = 0

        async def follow() -> None:
            nonlocal polls
            at, rest = 0, b""
            until = time.monotonic() + SECONDS
            while time.monotonic() < until:
                data = await p.logs(net.acme, job, 0, "out", at, 65536)
                now, polls = time.time_ns(), polls + 1
                at += len(data)
                *lines, rest = (rest + data).split(b"\n")
                lags.extend((now - int(line)) / 1e6 for line in lines)
                await asyncio.sleep(PACE_S)

        began = time.monotonic()
        await asyncio.gather(*(follow() for _ in range(VIEWERS)))
        took = time.monotonic() - began
        await p.cancel(net.acme, job)
        await net.wait(job)
    # what was written before a follower began is no lag
    late = sorted(x for x in lags if x < 5000)
    cut = statistics.quantiles(late, n=20)
    return {
        "benchmark": "logs", "viewers": VIEWERS, "lines": len(late), "lag_p50_ms": round(statistics.median(late)),
        "lag_p95_ms": round(cut[18]), "site_reads_per_s": round(reads / took, 1), "unshared_reads_per_s": round(polls / took, 1),
        "ratio": round(polls / max(reads, 1), 1),
    }  # fmt: skip


def main() -> None:
    bed = testbed.up(Path(tempfile.mkdtemp(prefix="tide-slurm-")), 1, bound=True)
    try:
        with tempfile.TemporaryDirectory(prefix="tide-bench-") as base:
            print(json.dumps(asyncio.run(measure(bed, Path(base)))))
    finally:
        bed.down()


if __name__ == "__main__":
    main()
