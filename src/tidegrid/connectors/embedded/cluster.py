"""The running cluster: journal, queue, shims. Everything here happens on one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tidegrid.connectors.embedded.checks import Refused, specification
from tidegrid.connectors.embedded.config import ClusterConfig
from tidegrid.connectors.embedded.journal import Journal
from tidegrid.connectors.embedded.nodes import Partition, Place, Seat, Wanted
from tidegrid.connectors.embedded.passes import Passes
from tidegrid.connectors.embedded.runs import Run
from tidegrid.connectors.embedded.state import JobState, Phase, State, TaskState
from tidegrid.domain.errors import TideError
from tidegrid.domain.ranges import compress, expand

RECORDS = 2000  # accounting records in one answer
QUEUE_ROWS = 2000  # waiting tasks looked at in one pass
SPAWN_RETRY_S = 1
SPAWN_TRIES = 5
Key = tuple[str, int]


class Cluster:
    def __init__(self, home: Path, config: ClusterConfig) -> None:
        self.home, self.config = home, config
        self.runs_dir = home / "run"
        self.state = State()
        self.journal = Journal(home / "journal", self.state.apply)
        self.partitions = {p.name: Partition(p, config.queue) for p in config.partitions}
        self.passes = {n: Passes(home / f"passes.{n}.jsonl", p.policy, p.total()) for n, p in self.partitions.items()}
        self.runs: dict[Key, Run] = {}
        self.promised: dict[str, asyncio.Task[str]] = {}
        self.next_id = 1
        self._pass: asyncio.Handle | None = None

    # Recovery ----------------------------------------------------------------------------------------------------------

    async def recover(self) -> None:
        """Read the journal, adopt shims that live, read the ends of those that ended, requeue what never started."""
        self.runs_dir.mkdir(mode=0o700, exist_ok=True)
        for record in self.journal.read():
            self.state.apply(record)
        if not self.state.boot:
            await self.journal.append(
                {"k": "journal", "v": 1, "boot": secrets.token_hex(8), "cluster": self.config.name}
            )
        self.next_id = self.state.last_id + 1
        by_id = {job.native_id: job for job in self.state.live.values()}
        for path in sorted(self.runs_dir.iterdir()):
            if path.name.startswith("."):
                shutil.rmtree(path, ignore_errors=True)  # its removal was cut short
                continue
            native_id, number, _ = (*path.name.split("."), "", "")[:3]
            job = by_id.get(native_id)
            task = job.tasks.get(int(number)) if job and number.isdigit() else None
            if task is None or task.phase is Phase.ENDED:
                Run(path).discard()
            else:
                self._recover_run(task, Run(path))
        for job in by_id.values():
            for task in job.tasks.values():
                if task.phase is Phase.RUNNING and (job.name, task.task) not in self.runs:
                    self._vanished(task, None)  # its directory is gone: only its start is known
                elif task.cancelled:
                    self._carry_out_cancel(task)
        self.state.on_change = self._changed
        self.wake()

    def _recover_run(self, task: TaskState, run: Run) -> None:
        if run.never():
            run.discard()
            return
        key = (task.job.name, task.task)
        if key in self.runs:  # impossible: a try is made only after the one before it is known never to start
            print(f"{run.directory}: a second claimed run of {key}", file=sys.stderr)
            return
        self.runs[key] = run
        alive = run.adopt()
        if task.phase is Phase.QUEUED:
            task.phase = Phase.STARTING  # not to be started again while its line is on its way to the disk
            if run.claimed is not None:
                self._started(task, run)
        self._hold(task, run)
        if alive:
            run.watch(asyncio.get_running_loop(), lambda: None, lambda: self._ended(task, run))
        else:
            self._ended(task, run)

    def _hold(self, task: TaskState, run: Run) -> None:
        """Count what an adopted task uses, on the nodes it was given; on the first ones where nobody can say which they were."""
        seats = [Seat(i) for i in range(task.job.spec["nodes"])]
        with contextlib.suppress(OSError, ValueError, TideError):
            seats = [Seat.read(line) for line in (run.directory / "place").read_text().splitlines()] or seats
        partition = self.partitions.get(task.job.spec["partition"])
        if partition is not None:
            ran_s = (_now_us() - run.claimed.started_us) // 1_000_000 if run.claimed else 0
            ends_s = _scheduling_s() + max(0, task.job.spec["wall_s"] - max(0, ran_s))
            partition.adopt(task.key, seats, task.job.each, ends_s)
            self.passes[partition.config.name].held(_name(task), task.job.need, ends_s)
        task.job.active += 1

    # Requests ----------------------------------------------------------------------------------------------------------

    async def submit(self, raw: Mapping[str, Any]) -> str:
        """Native id, durable. The same name again: the same id, whatever else it says. Refused where it cannot run here."""
        name = raw.get("name")
        known = self.state.jobs.get(name) if isinstance(name, str) else None
        if known is not None:
            return known.native_id
        if isinstance(name, str) and name in self.promised:
            return await asyncio.shield(self.promised[name])
        spec = specification(self.config, raw)
        name = spec.pop("name")
        promise = asyncio.get_running_loop().create_task(self._promise(name, spec))
        self.promised[name] = promise
        promise.add_done_callback(lambda _: self.promised.pop(name, None))
        return await asyncio.shield(promise)

    async def _promise(self, name: str, spec: dict[str, Any]) -> str:
        native_id, self.next_id = str(self.next_id), self.next_id + 1
        try:
            await self.journal.append({"k": "submit", "n": name, "i": native_id, "at": _now_us(), "spec": spec})
        except TideError as e:
            raise Refused("site.no_space", e.message) from None
        return native_id

    async def cancel(self, name: str, tasks: str) -> None:
        """Durable before it is answered. Unknown or ended: nothing to do."""
        if name in self.promised:
            with contextlib.suppress(Refused):
                await asyncio.shield(self.promised[name])
        job = self.state.live.get(name)
        if job is None:
            return
        wanted = [t for t in (expand(tasks) or job.tasks) if t in job.tasks and job.tasks[t].phase is not Phase.ENDED]
        if not wanted:
            return
        await self.journal.append({"k": "cancel", "n": name, "tasks": compress(wanted), "at": _now_us()}, keep=True)
        await asyncio.gather(*(f for t in wanted if (f := self._carry_out_cancel(job.tasks[t])) is not None))

    def _carry_out_cancel(self, task: TaskState) -> asyncio.Future[None] | None:
        run = self.runs.get((task.job.name, task.task))
        if run is not None:
            run.cancel()
        elif task.phase is Phase.QUEUED:
            return self._record_end(task, reason="cancelled", started=None, ended=_now_us(), code=None, peak=None)
        return None

    def find(self, name: str) -> list[str] | None:
        """As in a listing, both task sets empty where all has ended; None where the name was never accepted."""
        job = self.state.jobs.get(name)
        return job.listed() if job else None

    def observe(self, cursor: str) -> dict[str, Any]:
        boot, _, at = cursor.partition(".")
        first = int(at) if boot == self.state.boot and at.isdigit() else 0
        records = self.state.records[first : first + RECORDS]
        last = min(first, len(self.state.records)) + len(records)
        return {
            "jobs": [job.listed() for job in self.state.live.values()],
            "records": records,
            "cursor": f"{self.state.boot}.{last}",
            "more": last < len(self.state.records),
            "loads": [self._load(p) for p in self.partitions.values()],
            "time": _now_us(),
            "boot": self.state.boot,
        }

    def _load(self, partition: Partition) -> dict[str, Any]:
        now_s = _scheduling_s()
        total, free = partition.total(), partition.free()
        waiting = [
            [job.spec["wall_s"], *job.need]
            for job in self.state.live.values()
            if job.spec["partition"] == partition.config.name
            for t in job.tasks.values()
            if t.phase is Phase.QUEUED
        ]
        return {
            "partition": partition.config.name,
            "total": total,
            "free": [max(0, f) for f in free],
            "largest": partition.largest,
            "running": [[max(0, p.ends_s - now_s), *p.need] for p in partition.held.values()],
            "waiting": waiting,
            "holes": partition.holes(),
            "enforced": {
                "cores": "affinity" if partition.config.cpus else "shared",
                "memory": "killed" if self.config.enforce_memory else "shared",
                "wall_time": "killed",
            },
        }

    # The queue ---------------------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Look at the queue soon; many wishes make one pass."""
        if self._pass is None:
            self._pass = asyncio.get_running_loop().call_later(0.001, self._start_what_may)

    def _changed(self, changed: TaskState | JobState) -> None:
        if isinstance(changed, TaskState) and changed.phase is Phase.ENDED:
            run = self.runs.pop((changed.job.name, changed.task), None)
            if run is not None:
                run.discard()
        self.wake()

    def _start_what_may(self) -> None:
        self._pass = None
        now_s = _scheduling_s()
        for name, partition in self.partitions.items():
            if partition.free()[0] <= 0:
                continue
            queue = self.state.queue(name)[:QUEUE_ROWS]
            by_key = {t.key: t for t in queue}
            wanted = [Wanted(t.key, t.job.each, int(t.job.spec["wall_s"]), t.job.spec["nodes"]) for t in queue]
            chosen = partition.choose(now_s, wanted)
            self.passes[name].note(now_s, ((_name(t), t.job.need, int(t.job.spec["wall_s"])) for t in queue),
                                   [_name(by_key[key]) for key, _ in chosen])  # type: ignore[index]
            for key, place in chosen:
                self._start(by_key[key], partition, place)  # type: ignore[index]

    def _start(self, task: TaskState, partition: Partition, place: Place) -> None:
        job = task.job
        try:
            run = Run.fresh(self.runs_dir, job.native_id, task.task)
            (run.directory / "place").write_text("".join(f"{seat.line()}\n" for seat in place.seats))
            run.spawn(self._shim_spec(task, place, run))
        except OSError as e:
            print(f"cannot start {job.name}.{task.task}: {e}", file=sys.stderr)
            partition.release(task.key)
            self.passes[partition.config.name].freed(_name(task))
            self._retry(task)
            return
        task.phase = Phase.STARTING
        job.active += 1
        self.runs[job.name, task.task] = run
        run.watch(asyncio.get_running_loop(), lambda: self._started(task, run), lambda: self._ended(task, run))

    def _shim_spec(self, task: TaskState, place: Place, run: Run) -> dict[str, Any]:
        """Its script runs once, with what its nodes have together: they are all on this host."""
        spec = task.job.spec
        partition = self.partitions[spec["partition"]]
        env = {k: v for k in ("PATH", "HOME", "LANG", "LC_ALL", "USER", "LOGNAME", "TZ") if (v := os.environ.get(k))}
        env |= spec["env"]
        env |= {
            "TIDE_NATIVE_ID": task.job.native_id,
            "TIDE_TASK": str(task.task),
            "TIDE_RUN": run.directory.name,
            "TIDE_NODES": str(spec["nodes"]),
            "TIDE_CORES": str(spec["cores"]),
            "TIDE_MEMORY_MIB": str(spec["memory_mib"]),
        }
        if partition.config.gpus:
            env["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, partition.devices(place)))
        return {
            "directory": spec["directory"],
            "script": spec["script"],
            "log": f"{spec['directory']}/log/{task.task}.batch",
            "env": env,
            "wall_s": spec["wall_s"],
            "memory_mib": spec["memory_mib"] * spec["nodes"] if self.config.enforce_memory else 0,
            "grace_s": self.config.kill_grace_s,
            "cpus": list(place.cpus),
        }

    # What shims say ----------------------------------------------------------------------------------------------------

    def _started(self, task: TaskState, run: Run) -> None:
        assert run.claimed is not None
        self.journal.append(
            {
                "k": "started",
                "n": task.job.name,
                "i": task.job.native_id,
                "task": task.task,
                "at": run.claimed.started_us,
            },
            keep=True,
        )

    def _ended(self, task: TaskState, run: Run) -> None:
        end = run.exit()
        self._free(task)
        if end is not None:
            self._record_end(
                task, reason=end.reason, started=end.started_us, ended=end.ended_us, code=end.code, peak=end.peak_mib
            )
        elif run.claimed is not None or not run.never():
            self._vanished(task, run)
        else:
            self.runs.pop((task.job.name, task.task), None)
            run.discard()
            self._retry(task)
        self.wake()

    def _vanished(self, task: TaskState, run: Run | None) -> None:
        """A shim without an exit record was killed, or its machine went down: a node failure, ended at its last sign of life."""
        started = run.claimed.started_us if run and run.claimed else task.started_us
        ended = started
        if run is not None:
            run.kill_remains()
            ended = _now_us() if run.watched else run.last_alive_us()
        self._record_end(task, reason="node_fail", started=started, ended=max(started, ended), code=None, peak=None)

    def _record_end(
        self, task: TaskState, *, reason: str, started: int | None, ended: int, code: int | None, peak: int | None
    ) -> asyncio.Future[None]:
        task.cancelled = (
            task.cancelled or reason == "cancelled"
        )  # never start it while the line is on its way to the disk
        return self.journal.append(
            {
                "k": "ended", "n": task.job.name, "i": task.job.native_id, "task": task.task, "reason": reason,
                "start": started, "at": ended, "exit": code, "peak": peak,
            },
            keep=True,
        )  # fmt: skip

    def _free(self, task: TaskState) -> None:
        partition = self.partitions.get(task.job.spec["partition"])
        if partition is not None:
            partition.release(task.key)
            self.passes[partition.config.name].freed(_name(task))
        task.job.active -= 1

    def _retry(self, task: TaskState) -> None:
        """A start that failed before anything ran is tried again a little later, a few times."""
        task.failures += 1
        if task.cancelled:
            self._record_end(task, reason="cancelled", started=None, ended=_now_us(), code=None, peak=None)
        elif task.failures >= SPAWN_TRIES:
            self._record_end(task, reason="node_fail", started=None, ended=_now_us(), code=None, peak=None)
            task.cancelled = True
        else:
            task.phase = Phase.QUEUED
            task.resting = True
            asyncio.get_running_loop().call_later(SPAWN_RETRY_S, self._rested, task)

    def _rested(self, task: TaskState) -> None:
        task.resting = False
        self.wake()


def _name(task: TaskState) -> str:
    """As a record of passes has it."""
    return f"{task.job.native_id}.{task.task}"


def _now_us() -> int:
    return time.time_ns() // 1000


def _scheduling_s() -> int:
    """Seconds on a clock that is never set: the queue must not see time step back."""
    return int(time.monotonic())
