"""Whether a cluster can do what the network needs of it, tried for real: login, controller, files, jobs, fence, accounting.

Everything it makes lies in `check/<id>` below the root, every job is named `tide-check-<id>-…`; both are gone at the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import secrets
import shlex
import tempfile
import time
from collections.abc import Callable

from tidegrid.catalog.network_model import Cluster
from tidegrid.connectors.contract import SiteRefused, SiteUnsure
from tidegrid.connectors.findings import Findings, Say
from tidegrid.connectors.slurm.check_jobs import JobTrials
from tidegrid.connectors.slurm.commands import Config, Ping
from tidegrid.connectors.slurm.connector import SlurmConnector
from tidegrid.connectors.slurm.facts import Facts, facts_of
from tidegrid.connectors.slurm.survey_commands import NEEDED, NodeFacts, ShowNodes, ShowPartitions, Tools
from tidegrid.connectors.slurm.trial import PREFIX
from tidegrid.domain.errors import NoSpace, TideError

STEPS = ("login", "slurm", "clock", "root", "space", "staging", "partition", "jobs")
LEAST_BYTES, LEAST_FILES = 1 << 30, 10_000
STAGED_BYTES = 8 << 20


class Check:
    """One check of one cluster. The connector is its own, not the server's; skew_s: allowance for the site's clock; wait_s:
    how long a trial may wait in the queue."""

    def __init__(
        self, cluster: Cluster, connector: SlurmConnector, *, say: Say | None = None, wait_s: float = 60.0,
        skew_s: float = 5.0, now: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self.cluster, self.connector, self.found = cluster, connector, Findings(say)
        self.wait_s, self.skew_s, self.now = wait_s, skew_s, now
        self.id = secrets.token_hex(4)
        self.directory = f"check/{self.id}"
        self.facts, self.config = Facts(), dict[str, str]()
        self.nodes: list[NodeFacts] = []
        self.jobs = JobTrials(self)
        self._touched = False  # something of this check may be at the site

    async def run(self) -> Findings:
        """Never raises for what is wrong at the site; what it made is gone also when it is cancelled."""
        try:
            for step in STEPS:
                if not await self._tried(step):
                    at = STEPS.index(step) + 1
                    for rest in STEPS[at:]:
                        self.found.skipped(rest, f"not tried: {step} comes first")
                    break
        finally:
            if self._touched:
                await asyncio.shield(self._clean())
        return self.found

    async def _tried(self, step: str) -> bool:
        """Whether the next steps make sense."""
        try:
            return bool(await getattr(self, f"_{step}")())
        except NoSpace as e:
            self.found.missing(step, "cluster.space", e.message)
        except TideError as e:
            code, hint = ("cluster.root", "") if step == "root" else (e.code, e.hint)
            self.found.missing(step, code, e.message, hint=hint)
        except SiteRefused as e:
            self.found.missing(step, e.code, e.message)
        except SiteUnsure as e:
            fallback = {"root": "cluster.root", "staging": "cluster.staging"}.get(step, "cluster.silent")
            code = getattr(e, "code", "") or ("cluster.silent" if e.silent else fallback)
            self.found.missing(step, code, e.message, hint=getattr(e, "hint", ""))
        return False

    async def sh(self, command: str, seconds: float = 15.0) -> str:
        """Output of a command that must succeed."""
        answer = await self.connector.shell.run(command, timeout=seconds)
        if answer.rc != 0:
            why = " ".join(answer.stderr.split())[:300] or f"exit status {answer.rc}"
            raise SiteUnsure(f"{command.split()[0]}: {why}", silent=False)
        return answer.stdout

    # Steps -----------------------------------------------------------------------------------------------------------

    async def _login(self) -> bool:
        began = time.monotonic()
        user, host, uid = (await self.sh("id -un; uname -n; id -u")).split()[:3]
        way = self.cluster.settings.get("host", "")
        self.found.ok("login", f"{user} on {host}" + (f" by ssh, {time.monotonic() - began:.2f} s" if way else ", this machine"))
        if uid == "0":
            self.found.note("login", "cluster.root_user", "this is root")
        return True

    async def _slurm(self) -> bool:
        tools = Tools()
        paths = tools.parse(await self.connector.shell.run(tools.command, timeout=tools.seconds))
        if lacking := [n for n in NEEDED if not paths[n]]:
            self.found.missing("slurm", "cluster.no_slurm", f"{', '.join(lacking)}: no such command for this account")
            return False
        ping, config = Ping(), Config()
        try:
            ping.parse(await self.connector.shell.run(ping.command, timeout=ping.seconds + 4))
            self.config = config.parse(await self.connector.shell.run(config.command, timeout=config.seconds + 4))
        except SiteUnsure as e:
            self.found.missing("slurm", "cluster.controller", e.message)
            return False
        self.facts = facts_of(self.config)
        await self.connector.learn()
        self.found.ok("slurm", f"Slurm {self.facts.version}, cluster {self.facts.name}, its controller answers")
        return True

    async def _clock(self) -> bool:
        before = self.now()
        site = int((await self.sh("date +%s%6N")).strip()) / 1e6
        after = self.now()
        skew = site - (before + after) / 2
        if abs(skew) > self.skew_s + (after - before) / 2:
            self.found.missing("clock", "cluster.clock", f"the login node's clock is {skew:+.1f} s off this machine's")
        else:
            self.found.ok("clock", f"within {max(abs(skew), (after - before) / 2):.2f} s of this machine's")
        return True

    async def _root(self) -> bool:
        root = self.connector.files.root
        await self.connector.files.prepare()
        owner, mode, me = (await self.sh(f"stat -c '%u %a' {shlex.quote(root)}; id -u")).split()
        if owner != me:
            self.found.missing("root", "cluster.root", f"{root} belongs to another account (uid {owner}, not {me})")
            return False
        self._touched = True
        await self.connector.files.write(f"{self.directory}/.here", b"x")
        if int(mode, 8) & 0o022:
            self.found.missing("root", "cluster.root_open", f"others may write in {root} (mode {mode})")
        else:
            self.found.ok("root", f"{root} is there and can be written")
        return True

    async def _space(self) -> bool:
        root = shlex.quote(self.connector.files.root)
        blocks = (await self.sh(f"df -Pk {root} | tail -n 1")).split()
        inodes = (await self.sh(f"df -Pi {root} | tail -n 1")).split()
        free, files = int(blocks[-3]) * 1024, int(inodes[-3]) if inodes[-3].isdigit() else 0
        counted = inodes[-5].isdigit() and int(inodes[-5]) > 0  # some filesystems do not count files
        text = f"{free / (1 << 30):.1f} GiB" + (f" and {files} files" if counted else "") + " free"
        if free < LEAST_BYTES or (counted and files < LEAST_FILES):
            self.found.missing("space", "cluster.space", text)
        else:
            self.found.ok("space", text)
        return True

    async def _staging(self) -> bool:
        files, path = self.connector.files, f"{self.directory}/staged"
        data = os.urandom(1 << 16) * (STAGED_BYTES >> 16)
        wanted = hashlib.sha256(data).hexdigest()
        with tempfile.TemporaryDirectory(prefix="tide-check-") as here:
            source, back = os.path.join(here, "out"), os.path.join(here, "back")
            await asyncio.to_thread(_write, source, data)
            began = time.monotonic()
            await files.put(source, path)
            put = time.monotonic()
            there = await files.sha256(path)
            hashed = time.monotonic()
            await files.get(path, back)
            got = time.monotonic()
            same = await asyncio.to_thread(_digest, back)
        mib = STAGED_BYTES / (1 << 20)
        if not there == same == wanted:
            self.found.missing("staging", "cluster.staging", "a file came back other than it was sent")
            return False
        rates = f"{mib / max(put - began, 1e-6):.0f} MiB/s there, {mib / max(got - hashed, 1e-6):.0f} MiB/s back"
        self.found.ok("staging", f"{mib:.0f} MiB there and back with the same SHA-256; {rates}")
        return True

    async def _partition(self) -> bool:
        rows, nodes = ShowPartitions(), ShowNodes()
        known = {p.name: p for p in rows.parse(await self.connector.shell.run(rows.command, timeout=rows.seconds + 4))}
        self.nodes = nodes.parse(await self.connector.shell.run(nodes.command, timeout=nodes.seconds + 4))
        for p in self.cluster.partitions:
            say, row = self.found, known.get(p.name)
            here = [n for n in self.nodes if p.name in n.partitions]
            if row is None:
                say.missing("partition", "cluster.partition_unknown", "the cluster has no such partition", partition=p.name)
                continue
            if row.state != "UP" or not any(n.usable for n in here):
                why = f"is {row.state}" if row.state != "UP" else "has no node that is up"
                say.missing("partition", "cluster.partition_down", f"it {why}", partition=p.name)
                continue
            self.jobs.partitions.append(p)
            kinds = {k for n in here for k, _ in n.gpus}
            wrong = [
                f"{what} {wanted}, at most {most} there"
                for what, wanted, most in (
                    ("nodes", p.nodes, len(here)),
                    ("cores", p.cores, max(n.cpus for n in here)),
                    ("memory_mib", p.memory_mib, max(n.memory_mib for n in here)),
                    ("gpus", p.gpus, max(sum(c for _, c in n.gpus) for n in here)),
                    ("max_wall_s", p.max_wall_s, row.max_time_s or p.max_wall_s),
                )
                if wanted > most
            ]
            if p.gpus and kinds and kinds != {""} and p.gpu_type not in kinds:
                wrong.append(f"gpu_type {p.gpu_type}, there {', '.join(sorted(kinds))}")
            if wrong:
                say.missing("partition", "cluster.partition_differs", "the network file says " + "; ".join(wrong), partition=p.name)
            else:
                up = sum(n.usable for n in here)
                say.ok("partition", f"as described; {up} of {len(here)} nodes are up", partition=p.name)
        return bool(self.jobs.partitions)

    async def _jobs(self) -> bool:
        await self.jobs.run()
        return True

    # -----------------------------------------------------------------------------------------------------------------

    async def _clean(self) -> None:
        """Cancel what is left and remove the directory; say what cannot be removed."""
        connector = self.connector
        try:
            async with asyncio.timeout(60):
                await self.jobs.end()
                await connector.files.remove(self.directory)
                await connector.shell.run(f"rmdir {shlex.quote(connector.files.root + '/check')} 2>/dev/null; :", timeout=10)
        except (SiteUnsure, SiteRefused, TideError, TimeoutError, OSError) as e:
            where = f"{connector.files.root}/{self.directory}"
            why = str(e) or "no answer"
            self.found.missing("left", "cluster.left", f"{where} and jobs named {PREFIX}{self.id}-* may be left there: {why}")


def _write(path: str, data: bytes) -> None:
    with open(path, "wb") as f:
        f.write(data)


def _digest(path: str) -> str:
    with contextlib.suppress(OSError), open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()
    return ""
