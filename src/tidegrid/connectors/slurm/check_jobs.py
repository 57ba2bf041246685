"""The part of a check that runs jobs: one trial in every partition, and one each of cancelling, arrays and memory."""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tidegrid.catalog.network_model import Partition
from tidegrid.connectors.contract import SiteRefused, SiteUnsure, SubmitRequest
from tidegrid.connectors.slurm import trial
from tidegrid.connectors.slurm.refusals import stuck
from tidegrid.connectors.slurm.trial import Accounted, TrialRow, Trials
from tidegrid.domain.errors import TideError

if TYPE_CHECKING:
    from tidegrid.connectors.slurm.check import Check

POLL_S = 0.5
PACE_S = 0.02  # between two raced links: the job looks for the starting shot every 0.1 s, and shall meet this half-way
LATE_S = 15.0  # after a trial's end: how long its files may take to show on a network filesystem
CANCEL_S = 30.0
ACCOUNTED_S = 30.0  # slurmctld tells slurmdbd of a start every five seconds
TASKS = 1001  # MaxArraySize that arrays of 1,000 tasks need


@dataclass
class Trial:
    """A job of the check. sent: it was accepted, or may have been."""

    kind: str
    partition: str
    name: str
    directory: str
    native: str = ""
    sent: bool = False
    token: str = field(default_factory=lambda: secrets.token_hex(8))
    row: TrialRow | None = None
    rows: list[TrialRow] = field(default_factory=list)
    ended_at: float = 0.0
    said: trial.Said | None = None
    server_won: list[int] = field(default_factory=list)
    done: bool = False


class JobTrials:
    """partitions: those to try."""

    def __init__(self, check: Check) -> None:
        self.check = check
        self.partitions: list[Partition] = []
        self.trials: list[Trial] = []
        self._cancelled_at = 0.0

    async def run(self) -> None:
        await self._send("trial", trial.SCRIPT, self.partitions)
        able = [p for p in self.partitions if any(t.partition == p.name and t.native for t in self.trials)]
        if not able:
            for step in ("cancel", "arrays", "memory", "accounting"):
                self.check.found.skipped(step, "not tried: no partition takes a job")
            return
        for kind, text in (("cancel", trial.SLEEPER), ("arrays", trial.ARRAY), ("memory", trial.HUNGRY)):
            await self._send(kind, text, able[:1])
        end = time.monotonic() + self.check.wait_s
        while not all(t.done for t in self.trials):
            await self._look()
            if time.monotonic() >= end:
                break
            await asyncio.sleep(POLL_S)
        for t in self.trials:
            if not t.done:
                self._waits(t)
        await self._accounting()

    async def end(self) -> None:
        """Cancel what may be there, and wait until nothing of it runs."""
        mine = [t for t in self.trials if t.sent]
        if not mine:
            return
        await asyncio.gather(*(self.check.connector.cancel(t.name, "") for t in mine))
        until = time.monotonic() + CANCEL_S
        while any(not r.ended for r in await self._rows()):
            if time.monotonic() >= until:
                raise SiteUnsure("jobs of the check do not end", silent=False)
            await asyncio.sleep(POLL_S)

    # -----------------------------------------------------------------------------------------------------------------

    async def _send(self, kind: str, text: str, partitions: list[Partition]) -> None:
        check = self.check
        for p in partitions:
            number = len(self.trials)
            directory = f"{check.directory}/{number}"
            t = Trial(kind, p.name, f"{trial.PREFIX}{check.id}-{number}", directory)
            self.trials.append(t)
            array = kind == "arrays"
            files = check.connector.files
            await files.write(f"{directory}/trial.sh", trial.script(text, f"{files.root}/{directory}"))
            await files.write(f"{directory}/token", t.token.encode())
            if kind == "trial":
                claim = await files.claim(directory, trial.FIRST, 0, f"tombstone:{t.token}")
                if not claim.won:
                    t.done = True
                    check.found.missing("fence", "cluster.fence", f"a link that nobody made is held by {claim.holder}", partition=p.name)
                    continue
            request = SubmitRequest(
                t.name, directory, "trial.sh", p.name, cores=1, memory_mib=trial.FED_MIB, wall_s=300,
                gpus=1 if p.gpus and kind == "trial" else 0, gpu_type=p.gpu_type if p.gpus else "",
                tasks=(0, 1) if array else (0,), array=array,
            )  # fmt: skip
            t.sent = True
            try:
                t.native = await check.connector.submit(request)
            except SiteRefused as e:
                t.sent, t.done = False, True
                step = "submit" if kind == "trial" else kind
                code = "cluster.arrays" if kind == "arrays" else e.code
                check.found.missing(step, code, e.message, partition=p.name)
            except SiteUnsure as e:
                t.done = True
                check.found.missing("submit" if kind == "trial" else kind, "cluster.submit", e.message, partition=p.name)

    async def _rows(self) -> list[TrialRow]:
        query = Trials(tuple(t.name for t in self.trials))
        return query.parse(await self.check.connector.shell.run(query.command, timeout=query.seconds + 4))

    async def _look(self) -> None:
        """One query for all, then what each has written."""
        by_name: dict[str, list[TrialRow]] = {}
        for row in await self._rows():
            by_name.setdefault(row.name, []).append(row)
        for t in self.trials:
            t.rows = by_name.get(t.name, [])
            t.row = next((r for r in t.rows if not r.ended), t.rows[0] if t.rows else None)
            if t.row is not None and t.row.ended and not t.ended_at:
                t.ended_at = time.monotonic()
            if not t.done:
                await getattr(self, f"_look_{t.kind}")(t)

    async def _read(self, t: Trial, name: str) -> str:
        return (await self.check.connector.files.read(f"{t.directory}/{name}", limit=4096)).decode(errors="replace")

    async def _look_trial(self, t: Trial) -> None:
        check, found, p = self.check, self.check.found, t.partition
        if t.said is None and (text := await self._read(t, "said")):
            t.said = trial.said(text)
            check.found.ok("submit", f"a job ran on {t.said.host}", partition=p)
            if t.said.token == t.token:
                found.ok("shared", f"{t.said.host} reads and writes the root", partition=p)
            else:
                found.missing("shared", "cluster.root_unshared", f"{t.said.host} sees another file than was written", partition=p)
            if t.said.missing:
                found.missing("tools", "cluster.tools", f"{t.said.host} lacks {' '.join(t.said.missing)}", partition=p)
            await self._race(t)
        if t.said is not None and (text := await self._read(t, "won")):
            won = [int(n) for n in text.split()[1:]]
            self._judge(t, trial.race(won, t.server_won), len(won))
            t.done = True
        elif t.ended_at and time.monotonic() - t.ended_at > LATE_S and t.row is not None:
            t.done = True
            if t.said is not None or t.row.status >> 8 == trial.NOT_WRITABLE:
                found.missing("shared", "cluster.root_read_only", f"the job could not write below the root: {t.row.how}", partition=p)
                return
            root = check.connector.files.root
            found.missing(
                "shared", "cluster.root_unshared", f"the job ended ({t.row.how}) and left nothing in {root}: its node does not see it, or cannot write there",
                partition=p,
            )  # fmt: skip

    async def _race(self, t: Trial) -> None:
        files = self.check.connector.files
        await files.write(f"{t.directory}/go", b"x")
        for n in trial.RACED:
            claim = await files.claim(t.directory, n, 0, f"tombstone:{t.token}")
            if claim.won:
                t.server_won.append(n)
            await asyncio.sleep(PACE_S)

    def _judge(self, t: Trial, wrong: str, job_won: int) -> None:
        assert t.said is not None
        found, p = self.check.found, t.partition
        if t.said.first != f"tombstone:{t.token}":
            wrong = f"the login node's link was not respected: {t.said.first}"
        elif t.said.late != "won":
            wrong = "the job could not make a link that was free"
        if wrong:
            found.missing("fence", "cluster.fence", wrong, partition=p)
        else:
            text = f"of {len(trial.RACED)} links the job won {job_won} and the login node {len(t.server_won)}, each exactly one of them"
            found.ok("fence", text, partition=p)

    async def _look_cancel(self, t: Trial) -> None:
        found = self.check.found
        if t.row is None:
            return
        if not self._cancelled_at:
            self._cancelled_at = time.monotonic()
            await self.check.connector.cancel(t.name, t.native)
        elif t.row.ended:
            t.done = True
            found.ok("cancel", f"scancel ended a job in {time.monotonic() - self._cancelled_at:.1f} s")
        elif time.monotonic() - self._cancelled_at > CANCEL_S:
            t.done = True
            found.missing("cancel", "cluster.cancel", f"the job is {t.row.state} {CANCEL_S:.0f} s after scancel")

    async def _look_arrays(self, t: Trial) -> None:
        both = [await self._read(t, f"task-{n}") for n in (0, 1)]
        size = self.check.config.get("maxarraysize", "")
        if all(text.strip() == str(n) for n, text in enumerate(both)):
            t.done = True
            if size.isdigit() and int(size) < TASKS:
                self.check.found.note("arrays", "cluster.arrays", f"MaxArraySize is {size}: arrays of 1,000 tasks are refused")
            else:
                self.check.found.ok("arrays", f"two tasks ran; MaxArraySize {size or 'unknown'}")
        elif self._over(t):
            t.done = True
            self.check.found.missing("arrays", "cluster.arrays", f"not every task ran: {t.row.how if t.row else ''}")

    async def _look_memory(self, t: Trial) -> None:
        ate = (await self._read(t, "ate")).strip()
        how = self.check.facts.enforced.get("memory", "none")
        if ate == "survived":
            t.done = True
            self.check.found.note("memory", "cluster.memory", f"a job took {trial.HUNGRY_MIB} MiB of {trial.FED_MIB} MiB (configured: {how})")
        elif ate or self._over(t):
            t.done = True
            ended = f"it ended {t.row.state}" if t.row and not ate else "it was stopped"
            if ate or (t.row and t.row.state in ("OUT_OF_MEMORY", "CANCELLED", "FAILED")):
                self.check.found.ok("memory", f"a job that took {trial.HUNGRY_MIB} MiB of {trial.FED_MIB} MiB: {ended} ({how})")
            else:
                self.check.found.missing("memory", "cluster.job_failed", ended)

    @staticmethod
    def _over(t: Trial) -> bool:
        return bool(t.rows) and all(r.ended for r in t.rows) and time.monotonic() - t.ended_at > LATE_S

    def _waits(self, t: Trial) -> None:
        """What did not come to an end in time."""
        found, step = self.check.found, {"trial": "submit"}.get(t.kind, t.kind)
        state = f"{t.row.state}, {t.row.reason}" if t.row else "not in the queue"
        if t.kind == "trial" and t.said is not None:
            found.missing("fence", "cluster.busy", "the job did not end in time", partition=t.partition)
        elif t.row is not None and (code := stuck(t.row.reason)):
            found.missing(step, code, f"accepted, and can never start: {t.row.reason}", partition=t.partition)
        else:
            text = f"after {self.check.wait_s:.0f} s the job is {state}"
            found.missing(step, "cluster.busy", text, partition=t.partition)

    async def _accounting(self) -> None:
        check, found = self.check, self.check.found
        if not check.facts.accounting:
            found.note("accounting", "cluster.accounting_off", "no slurmdbd stands behind this cluster")
            return
        ended = tuple(t.name for t in self.trials if t.ended_at or (t.done and t.native))
        if not ended:
            found.skipped("accounting", "not tried: no job ended")
            return
        query, began, why = Accounted(ended), time.monotonic(), "sacct does not show the jobs that ran"
        while time.monotonic() - began < ACCOUNTED_S:
            try:
                if query.parse(await check.connector.shell.run(query.command, timeout=query.seconds + 4)):
                    found.ok("accounting", f"sacct shows a job by its name after {time.monotonic() - began:.1f} s")
                    return
            except (SiteUnsure, TideError) as e:
                why = e.message
            await asyncio.sleep(1)
        found.missing("accounting", "cluster.accounting", why)
