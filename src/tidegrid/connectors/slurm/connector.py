"""A Slurm cluster as the server sees it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tidegrid.connectors.contract import Listed, NodeLoad, Observation, SiteFiles, SiteUnsure, SubmitRequest
from tidegrid.connectors.slurm import facts as facts_
from tidegrid.connectors.slurm.commands import (
    AccountRow,
    Config,
    Load,
    NodeRow,
    Ping,
    Sacct,
    Sbatch,
    Scancel,
    Sinfo,
    Squeue,
)
from tidegrid.connectors.slurm.cursor import Cursor
from tidegrid.connectors.slurm.evidence import ENDS, WAITING, interpret
from tidegrid.connectors.slurm.facts import Facts
from tidegrid.connectors.slurm.shell import Output, Shell
from tidegrid.connectors.slurm.statement import Bill
from tidegrid.connectors.slurm.steering import Steerer
from tidegrid.connectors.statement import Allocation, Statement
from tidegrid.domain.ranges import compress
from tidegrid.scheduling.kernel.policy import POLICIES

MICRO = 1_000_000
DAY = 86_400
WANTED_S = 2.0  # what waits longer for a load goes on with the old one


@dataclass(frozen=True, slots=True)
class SlurmSettings:
    """Seconds throughout.

    account, qos, constraint, options: given to sbatch where the request has none of its own. environment: `clean`: the job
    sees HOME, USER, LOGNAME and PATH of the connector's clean shell and what the request gives; `login`: what the account's
    login shell sets up, which slurmd runs before every job: a slow or waiting profile then delays it, for a minute and more.
    overlap: accounting is read again over so much time in every tick, and over `wide` every `wide_every`. grace: how long
    accounting may take to tell an end before the controller's word is taken. history: how far the first reading looks back.
    """

    account: str = ""
    qos: str = ""
    constraint: str = ""
    options: tuple[str, ...] = ()
    environment: str = "clean"
    call: int = 15
    load_every: float = 20.0
    overlap: int = 60
    wide: int = 900
    wide_every: int = 60
    grace: int = 30
    history: int = DAY
    chunk: int = 2 * DAY


class SlurmConnector:
    """files.root must be seen by the compute nodes under the same path."""

    def __init__(self, cluster: str, shell: Shell, files: SiteFiles, settings: SlurmSettings | None = None) -> None:
        self.cluster, self.shell, self.files = cluster, shell, files
        self.settings = settings or SlurmSettings()
        self.facts = Facts()
        self._nodes: list[NodeRow] = []
        self._loads: tuple[NodeLoad, ...] = ()
        self._known_at = self._asked_at = 0.0  # when the loads were known, and asked for
        self._refreshing: asyncio.Task[None] | None = None
        self._failed = False
        self._prepared = False
        self._wanted = False
        self._cursor: tuple[str, Cursor] | None = None  # the last that was told, as text and read

    def want_load(self, older: float) -> bool:
        """Whether the load that was told last is older (s): then the next answer waits for a new one, a little."""
        self._wanted = self._wanted or time.monotonic() - self._known_at >= older
        return self._wanted

    async def observe(self, cursor: str) -> Observation:
        before, self._cursor = self._cursor, None  # whatever breaks off leaves a cursor that nobody has committed
        told = before[1] if before is not None and before[0] == cursor else Cursor.parse(cursor)
        try:
            if self._failed:
                await self.probe()
            if not self._prepared:  # before the first answer, so that nobody lists a spool that is not there
                await self.files.prepare()
                self._prepared = True
            await self._refresh_when_due()
            queue = self._squeue()
            answer = await self._run(f"date +%s%6N; {queue.command}", queue.seconds)
        except SiteUnsure:
            self._failed = True
            raise
        self._failed = False
        at_us, answer = _clock(answer)
        rows = await self._rows(queue, answer)
        now_s = at_us // MICRO
        accounted: list[AccountRow] | None = None
        more = False
        if self.facts.accounting:
            accounted, more = await self._accounting(told, now_s)
        else:
            told.upto = now_s
        jobs, records = interpret(
            rows, accounted, told, now_s, grace_s=self.settings.grace, kept_s=self.facts.kept_s, kill_wait_s=self.facts.kill_wait_s
        )
        fresh = time.monotonic() - self._known_at < 2 * self.settings.load_every + 1
        all_told = fresh and facts_.all_told(self.facts, self._nodes, now_s)
        self._cursor = told.text(), told
        return Observation(jobs, records, self._cursor[0], more, self._loads, at_us, self.facts.boot, all_told, time.monotonic() - self._asked_at)

    async def submit(self, request: SubmitRequest) -> str:
        if self._nodes:
            facts_.check(request, self._nodes)
        command = self._sbatch(request)
        answer = await self._run(command.command, command.seconds + 6, command.stdin)
        return str(command.parse(answer))

    async def find(self, name: str) -> Listed | None:
        await self._refresh_when_due()
        queue = self._squeue(name)
        rows = [r for r in await self._rows(queue, await self._run(queue.command, queue.seconds)) if r.name == name]
        live = [r for r in rows if r.state not in ENDS]
        if live:
            base = max(r.base for r in live)
            tasks = [(t, r.state in WAITING) for r in live if r.base == base for t in r.tasks or ()]
            return Listed(
                name, str(base), tuple(sorted(t for t, w in tasks if w)), tuple(sorted(t for t, w in tasks if not w))
            )
        bases = [r.base for r in rows]
        if self.facts.accounting:
            sacct = self._sacct(int(time.time()) - 30 * DAY, name=name)
            found = await self._rows(sacct, await self._run(sacct.command, sacct.seconds))
            bases += [r.base for r in found if r.name == name]
        return Listed(name, str(max(bases)), (), ()) if bases else None

    async def cancel(self, name: str, native_id: str, tasks: Sequence[int] = ()) -> None:
        if tasks and not native_id:
            found = await self.find(name)
            if found is None:
                return
            native_id = found.native_id
        command = Scancel(name, int(native_id or 0), compress(tasks), self.settings.call)
        command.parse(await self._run(command.command, command.seconds * (2 if tasks else 1)))

    def steerer(self, partition: str) -> Steerer:
        """What puts the partition's queue into a policy's order; the account must be an operator of the cluster."""
        return Steerer(self.shell, f"{self.files.root}/steer/{partition}", partition, POLICIES["default"])

    async def statement(self, since: int, until: int) -> Statement:
        """See `connectors.statement.Accountable`. Asked for in chunks, as accounting databases limit an answer's span."""
        rows: list[Allocation] = []
        at_us = 0
        while since < until or not at_us:
            upto = min(until, since + self.settings.chunk)
            bill = self._bill(since, upto)
            at_us, answer = _clock(await self._run(f"date +%s%6N; {bill.command}", bill.seconds))
            rows += bill.parse(answer)
            since = upto
        return Statement(tuple(rows), at_us)

    async def close(self) -> None:
        if self._refreshing is not None:
            self._refreshing.cancel()
        await self.shell.close()
        close = getattr(self.files, "close", None)
        if close is not None:
            await close()

    def borrow(self, other: SlurmConnector) -> None:
        """What another connector knows of the same cluster."""
        self.facts, self._nodes, self._known_at = other.facts, other._nodes, other._known_at

    async def learn(self) -> None:
        """Read configuration, nodes and load now. SiteUnsure."""
        await self._refresh()

    async def probe(self) -> None:
        """SiteUnsure at once where no controller is up, without its long time-outs."""
        ping = Ping()
        ping.parse(await self._run(ping.command, ping.seconds))

    # ------------------------------------------------------------------------------------------------------------------

    async def _run(self, command: str, seconds: float, stdin: str = "") -> Output:
        # the command's own limit comes first, so that nothing is left running at the site
        return await self.shell.run(command, stdin, timeout=seconds + 4)

    # What is asked, and of whom: a cluster with several Unix accounts asks for all of them at once (`slurm.pooled`).

    def _squeue(self, name: str = "") -> Squeue:
        return Squeue(name, seconds=self.settings.call)

    def _sacct(self, since: int, until: int = 0, name: str = "") -> Sacct:
        return Sacct(since, until, name)

    def _bill(self, since: int, until: int) -> Bill:
        return Bill(since, until)

    async def _rows(self, command: Any, answer: Output) -> Any:
        return command.parse(answer)

    async def _accounting(self, told: Cursor, now_s: int) -> tuple[list[AccountRow], bool]:
        """Ends since the cursor. Where accounting does not answer, the cursor stays, and nothing counts as absent."""
        s = self.settings
        wide = now_s - told.wide >= s.wide_every
        since = (told.upto or now_s - s.history) - (s.wide if wide else s.overlap)
        until = since + s.chunk if since + s.chunk < now_s else 0
        sacct = self._sacct(since, until)
        answer = await self._run(sacct.command, sacct.seconds)
        if Sacct.disabled(answer):
            self._known_at = 0.0
            raise SiteUnsure("sacct: accounting was switched off", silent=False)
        try:
            rows = await self._rows(sacct, answer)
        except SiteUnsure:
            return [], True
        told.upto = until or now_s
        if wide:
            told.wide = now_s
        return rows, bool(until)

    async def _refresh_when_due(self) -> None:
        """The first time this is waited for; later it goes on beside."""
        wanted, self._wanted = self._wanted, False
        due = wanted or not self._known_at or time.monotonic() - self._known_at >= self.settings.load_every
        if due and (self._refreshing is None or self._refreshing.done()):
            self._refreshing = asyncio.create_task(self._refresh())
            self._refreshing.add_done_callback(lambda t: t.cancelled() or t.exception())
        if self._refreshing is not None and (not self._known_at or not self.settings.load_every):
            await asyncio.shield(self._refreshing)
        elif self._refreshing is not None and wanted:
            await asyncio.wait((self._refreshing,), timeout=WANTED_S)

    async def _refresh(self) -> None:
        commands: list[Any] = [Config(), Sinfo(), Load()]
        asked = time.monotonic()
        answers = await asyncio.gather(*(self._run(c.command, c.seconds) for c in commands))
        config, nodes, jobs = (c.parse(a) for c, a in zip(commands, answers, strict=True))
        self.facts = facts_.facts_of(config)
        self._nodes = nodes
        self._loads = facts_.loads_of(nodes, jobs, self.facts)
        self._known_at, self._asked_at = time.monotonic(), asked

    def _sbatch(self, r: SubmitRequest) -> Sbatch:
        s = self.settings
        directory = f"{self.files.root.rstrip('/')}/{r.directory}"
        log = f"{directory}/log/{'%a' if r.array else '0'}.batch"
        options = [
            "--parsable",
            f"--job-name={r.name}",
            f"--partition={r.partition}",
            f"--nodes={r.nodes}",
            f"--ntasks-per-node={r.ranks}",
            f"--cpus-per-task={-(-r.cores // r.ranks)}",
            f"--mem={r.memory_mib}M",
            f"--time={-(-r.wall_s // 60)}",
            "--no-requeue",
            "--open-mode=append",
            "--input=/dev/null",
            f"--chdir={directory}",
            f"--output={log}",
            f"--export={'NONE' if s.environment == 'login' else 'ALL'}",
        ]
        if r.array:
            throttle = f"%{r.throttle}" if r.throttle else ""
            options += [f"--array={compress(r.tasks)}{throttle}", f"--comment=tide:{compress(r.tasks)}"]
        if r.gpus:
            types = {k for n in self._nodes if n.partition == r.partition for k in n.gpus}
            kind = "" if types == {""} else r.gpu_type  # a site without types refuses one
            options.append(f"--gres=gpu:{kind + ':' if kind else ''}{r.gpus}")
        for option, value in (
            ("account", r.account or s.account),
            ("qos", r.qos or s.qos),
            ("constraint", r.constraint or s.constraint),
        ):
            if value:
                options.append(f"--{option}={value}")
        if r.exclusive:
            options.append("--exclusive")
        if r.held:
            options.append("--hold")
        if r.warn_s:
            options.append(f"--signal=B:USR1@{r.warn_s}")
        env = {"TIDE_NODES": str(r.nodes), "TIDE_CORES": str(r.cores), "TIDE_MEMORY_MIB": str(r.memory_mib), **r.env}
        return Sbatch(directory, r.script, tuple([*options, *s.options]), tuple(sorted(env.items())), seconds=s.call + 5)


def _clock(answer: Output) -> tuple[int, Output]:
    """The site's time in front of an answer."""
    first, _, rest = answer.stdout.partition("\n")
    if not first.isdigit():
        raise SiteUnsure(f"date: {first[:80]!r}", silent=False)
    return int(first), Output(answer.rc, rest, answer.stderr)
