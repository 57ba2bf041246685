"""Scripts written for sbatch run where there is no Slurm, with what they expect of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.parts.batch_scripts import ARRAY, PLAIN, WARNED, WARNED_BELOW
from tests.parts.platform import Running, running


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
            assert "data/in.txt" not in paths and set(paths) == {name, "upper.txt", "log/0.out", "log/0.err"}
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
            began, made = (datetime.fromisoformat(t) for t in (view["attempts"][0]["created_at"], view["created_at"]))
            assert (began - made).total_seconds() >= 2  # `now` is told in whole seconds
            await net.platform.cancel(net.acme, late)
            assert (await net.wait(late, actor=net.acme))[0]["state"] == "cancelled"

    asyncio.run(main())
