"""Jobs staged with the real batch script, whatever the site's filesystem is."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import resources
from typing import Any

from tidegrid.connectors.contract import SubmitRequest
from tidegrid.connectors.script import BATCH_FILE, render_job
from tidegrid.domain.ids import b32

JOB_TEMPLATE = resources.files("tidegrid.payload").joinpath("job.sh.in").read_text()


class StagedSite:
    """What the conformance tests need of a site. files: its SiteFiles; root: its path, as the nodes see it too.

    single: the partition that runs one job of `single_cores` at a time. clock_us: how finely its accounting tells time;
    whole: how many nodes `partition` has, and cores each;
    wall_us: the shortest wall time it can hold a job to, and how late it may be. too_much: requests that it can never run, with the code of each.
    kills_memory: whether it holds jobs to their memory; catches_daemons: whether it ends what
    left the job's session; exact_load: whether its
    load has nobody else in it; patience_s: how long the tests wait for an end.
    """

    name: str
    root: Any
    files: Any
    single, single_cores = "one", 1
    partition, whole = "cpu", (2, 2)
    clock_us = 1
    wall_us, wall_slack_us = 1_000_000, 3_000_000
    kills_memory = True
    exact_load = True
    catches_daemons = True
    patience_s = 20.0
    too_much: tuple[tuple[dict[str, Any], str], ...] = (
        ({"partition": "gone"}, "site.no_partition"),
        ({"cores": 3}, "site.impossible"),
        ({"memory_mib": 4096}, "site.impossible"),
        ({"nodes": 3}, "site.impossible"),
    )
    numbers: Iterator[int]

    def __init__(self) -> None:
        self.numbers = itertools.count(1)

    def connector(self) -> Any:
        raise NotImplementedError

    async def stage(
        self,
        script: str,
        *,
        movable: bool = False,
        restartable: bool = False,
        wait_s: int = 30,
        partition: str = "cpu",
        cores: int = 1,
        nodes: int = 1,
        memory_mib: int = 128,
        wall_s: int = 60,
        tasks: Sequence[int] = (0,),
        throttle: int = 0,
        env: Mapping[str, str] | None = None,
        inputs: Mapping[str, bytes] | None = None,
        transform: Callable[[str], str] = lambda text: text,
    ) -> SubmitRequest:
        """An attempt's directory with the real batch script around `script`; what to submit."""
        attempt = b32(next(self.numbers))
        directory = f"org/00/job/{attempt}"
        array = tuple(tasks) != (0,)
        batch = render_job(
            JOB_TEMPLATE,
            attempt=attempt,
            root=str(self.root),
            directory=directory,
            movable=movable,
            restartable=restartable,
            wait_s=wait_s,
            array=array,
        )
        await self.files.write(f"{directory}/script", script.encode())
        await self.files.write(f"{directory}/{BATCH_FILE}", transform(batch).encode())
        for name, data in (inputs or {}).items():
            await self.files.write(f"{directory}/in/{name}", data)
        return SubmitRequest(
            name=f"tg-{attempt}",
            directory=directory,
            script=BATCH_FILE,
            partition={"cpu": self.partition, "one": self.single}.get(partition, partition),
            cores=self.single_cores if partition == "one" else cores,
            nodes=nodes,
            memory_mib=memory_mib,
            wall_s=wall_s,
            tasks=tuple(tasks),
            array=array,
            throttle=throttle,
            env=dict(env or {}),
        )

    async def renew_lease(self, seconds: float = 60) -> None:
        await self.files.write("lease", f"1 {int(time.time() + seconds)} token\n".encode())
