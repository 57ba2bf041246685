"""Scripts written for sbatch run where there is no Slurm, with what they expect of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from tests.parts.platform import Running, running

PLAIN = """#!/bin/bash
#SBATCH -J hello
#SBATCH --ntasks=2 --cpus-per-task=2
#SBATCH --time=1 --mem=64M
#SBATCH -o logs/%x-%j.out
[ "$SLURM_SUBMIT_DIR" = "$PWD" ] && [ "$SLURM_JOB_ID" -gt 0 ] || exit 9
echo "$SLURM_JOB_NAME $SLURM_NTASKS $SLURM_CPUS_PER_TASK $SLURM_CPUS_ON_NODE $SLURM_NNODES $1"
echo to stderr >&2
srun sh -c 'echo rank' | wc -l
tr a-z A-Z <data/in.txt >upper.txt
"""
ARRAY = """#!/bin/bash
#SBATCH --array=3-7:2
#SBATCH --time=1 --mem=64M
#SBATCH -o o_%3a.txt
echo $SLURM_ARRAY_TASK_ID $SLURM_ARRAY_TASK_COUNT $SLURM_ARRAY_TASK_MAX
"""
WARNED = """#!/bin/bash
#SBATCH --time=1 --mem=64M --signal=B:TERM@58
trap 'echo saved; exit 5' TERM
sleep 30 & wait
"""
WARNED_BELOW = """#!/bin/bash
#SBATCH --time=1 --mem=64M --signal=USR2@58
bash -c "trap 'exit 6' USR2; sleep 30 & wait"
echo went on after $?
"""


async def submitted(net: Running, script: str, inputs: list[dict[str, Any]] | None = None, **more: Any) -> str:
    found = await net.platform.batch_script(net.acme, {"script": script, "name": "run.sh", **more})
    view = await net.platform.submit(net.acme, found["submission"] | ({"inputs": inputs} if inputs else {}), None)
    return str(view["id"])


async def content(net: Running, job: str, path: str) -> str:
    return (await net.platform.output_path(net.acme, job, path)).read_text()


def test_scripts_run_with_the_variables_they_expect(tmp_path: Path) -> None:
    async def upload(net: Running, data: bytes) -> str:
        async def once() -> AsyncIterator[bytes]:
            yield data

        return str((await net.platform.upload(net.acme, once()))["sha256"])

    async def main() -> None:
        async with running(tmp_path / "home") as net:
            sha = await upload(net, b"abc\n")
            plain = await submitted(net, PLAIN, [{"path": "data/in.txt", "sha256": sha}], args=["a b"])
            array = await submitted(net, ARRAY)
            warned = await submitted(net, WARNED)
            below = await submitted(net, WARNED_BELOW)
            views = await net.wait(plain, array, warned, below, actor=net.acme)
            assert [v["state"] for v in views] == ["succeeded", "succeeded", "failed", "succeeded"], views
            assert "exit status 5" in views[2]["reason"]
            paths = {o["path"]: o["state"] for o in await net.platform.outputs(net.acme, plain)}
            name = next(p for p in paths if p.startswith("logs/hello-"))
            assert (await content(net, plain, name)).split("\n")[:3] == ["hello 2 2 4 1 a b", "to stderr", "2"]
            assert await content(net, plain, "upper.txt") == "ABC\n"
            assert await content(net, plain, "log/0.out") == await content(net, plain, name)
            assert [await content(net, array, f"{t}/o_00{t}.txt") for t in (3, 5, 7)] == ["3 3 7\n", "5 3 7\n", "7 3 7\n"]
            assert await content(net, warned, "log/0.out") == "saved\n"
            assert await content(net, below, "log/0.out") == "went on after 6\n"

    asyncio.run(main())


def test_what_begins_later_waits(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path / "home") as net:
            now = await submitted(net, "#!/bin/sh\n#SBATCH -t 1 --mem=64M --begin=now+4\ntrue\n")
            late = await submitted(net, "#!/bin/sh\n#SBATCH -t 1 --mem=64M --begin=now+1week\ntrue\n")
            await net.wait(now, actor=net.acme)
            view = await net.platform.job(net.acme, now)
            waiting = await net.platform.job(net.acme, late)
            assert (view["state"], waiting["state"], waiting["attempts"]) == ("succeeded", "pending", [])
            assert waiting["reason"].startswith("begins at 20")
            began, made = view["attempts"][0]["created_at"], view["created_at"]
            assert began > made and view["started_at"] >= began
            await net.platform.cancel(net.acme, late)
            assert (await net.wait(late, actor=net.acme))[0]["state"] == "cancelled"

    asyncio.run(main())
