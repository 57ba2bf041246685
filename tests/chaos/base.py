"""What every kind of chaos run shares: the server under fire, the work, the wait, the verdict, the report.

A kind says which network there is (`set_up`, `network`), how it is disturbed (`storm`), and what its witnesses are (`export`).
"""

from __future__ import annotations

import json
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos import processes, work
from tests.chaos.server import LATE, LATE_S
from tests.parts.postgres import Postgres, find_binaries
from tidegrid.client import Tide
from tidegrid.domain.errors import TideError


@dataclass
class Options:
    """late: share of submissions that arrive late; timeout_s: for everything to end after the last disturbance."""

    report: Path
    jobs: int = 1000
    seed: int = 0
    database: str = "sqlite"
    fence: bool = True
    late: float = LATE
    timeout_s: float = 600.0
    quiet: bool = False


@dataclass
class Report:
    """disturbed: how often what was disturbed, by kind; missing: what should have been injected and was not."""

    seed: int
    database: str
    fence: bool
    jobs: int
    server_kills: int = 0
    disturbed: dict[str, int] = field(default_factory=dict)
    moved: int = 0
    retried_requests: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    ready_s: list[float] = field(default_factory=list)
    seconds: float = 0.0
    all_ended: bool = False
    replay: dict[str, Any] = field(default_factory=dict)
    verdict: dict[str, Any] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    passed: bool = False

    def count(self, kind: str) -> None:
        self.disturbed[kind] = self.disturbed.get(kind, 0) + 1


class Chaos:
    """One run in a temporary home; the files of the report are kept, the home only where it failed."""

    def __init__(self, options: Options) -> None:
        self.o = options
        self.rng = random.Random(options.seed)
        self.base = Path(tempfile.mkdtemp(prefix="tide-chaos-"))
        self.home, self.control = self.base / "home", self.base / "control"
        self.control.mkdir()
        options.report.mkdir(parents=True, exist_ok=True)
        self.witness = options.report.absolute() / "witness"
        for old in (*options.report.glob("*.json"), self.witness):
            old.unlink(missing_ok=True)
        self.report = Report(options.seed, options.database, options.fence, options.jobs)
        self.postgres: Postgres | None = None

    # What a kind says -------------------------------------------------------------------------------------------------

    kind, clusters_are = "chaos", "embedded"
    server_lease = 15.0
    needed: tuple[str, ...] = ("lost_after", "late")  # faults without which the run shows nothing

    def set_up(self) -> None:
        """Bring up what the server is to find."""

    def tear_down(self) -> None:
        """End all that was brought up."""

    def network(self) -> str:
        """The network file."""
        raise NotImplementedError

    def make_work(self) -> list[work.Work]:
        return work.make(self.rng, self.o.jobs)

    def storm(self, server: processes.Server, submitter: work.Submitter, everything: list[work.Work], tide: Tide) -> None:
        """Hand out all the work, and disturb meanwhile."""
        raise NotImplementedError

    def export(self, tide: Tide, everything: list[work.Work]) -> None:
        """Write what the judge reads."""
        raise NotImplementedError

    def not_injected(self) -> list[str]:
        """What this kind should have done besides, and has not."""
        return []

    # The run ----------------------------------------------------------------------------------------------------------

    def say(self, text: str) -> None:
        if not self.o.quiet:
            print(f"{self.kind}: {text}", flush=True)

    def run(self) -> Report:
        """Everything, and the verdict."""
        began = time.monotonic()
        o = self.o
        self.say(f"seed {o.seed}; {o.jobs} jobs, {o.database}, fence {'on' if o.fence else 'OFF'}; report in {o.report}")
        try:
            self.set_up()
            server = processes.Server(
                self.home, self.control, port=free_port(), database=self._database(), seed=o.seed, fence=o.fence, late=o.late,
                kind=self.clusters_are, lease=self.server_lease,
            )
            try:
                self._on(server)
            finally:
                server.kill()
        finally:
            self.tear_down()
            if self.postgres is not None:
                self.postgres.stop(crash=True)
        self.report.seconds = round(time.monotonic() - began, 1)
        self._conclude()
        (o.report / "report.json").write_text(json.dumps(self.report.__dict__, indent=1) + "\n")
        if self.report.passed:
            shutil.rmtree(self.base, ignore_errors=True)
        else:
            self.say(f"kept for a look: {self.base}")
        return self.report

    def _database(self) -> str:
        if self.o.database == "sqlite":
            return ""
        binaries = find_binaries()
        if binaries is None:
            raise SystemExit("chaos: PostgreSQL is not installed (Debian: apt-get install postgresql)")
        directory = self.base / "pg"
        directory.mkdir()
        self.base.chmod(0o755)  # PostgreSQL runs under another account where this is root
        self.postgres = Postgres(binaries, directory)
        self.postgres.create()
        return self.postgres.database()

    def _on(self, server: processes.Server) -> None:
        r, o = self.report, self.o
        self.start(server)
        with Tide(server.url, (self.home / "admin.token").read_text().strip()) as tide:
            tide.apply_network(self.network())
            tide.deposit("operator", "1000000", key="chaos")
            everything = self.make_work()
            submitter = work.Submitter(tide, random.Random(o.seed + 1), self.witness)
            submitter.start()
            self.storm(server, submitter, everything, tide)
            submitter.close()
            submitter.join(o.timeout_s)
            if submitter.failure is not None:
                raise submitter.failure
            r.retried_requests = submitter.retries
            r.all_ended = self._wait(tide)
            time.sleep(LATE_S[1] + 1.0)  # for what is still under way to its cluster
            r.moved = sum(j.moved for j in tide.jobs(page=200))
            r.replay = dict(tide.replay(limit=10_000))
            self.export(tide, everything)

    def start(self, server: processes.Server) -> None:
        server.start()
        self.report.ready_s.append(round(server.ready(), 2))

    def kill(self, server: processes.Server) -> None:
        """SIGKILL; now and then once more before it is up again; then it is up again."""
        server.kill()
        self.report.server_kills += 1
        if self.rng.random() < 0.2:
            server.start()
            time.sleep(self.rng.uniform(0.1, 1.2))
            server.kill()
            self.report.server_kills += 1
            self.report.count("server while it starts")
        self.start(server)

    def _wait(self, tide: Tide) -> bool:
        """Until every job has ended."""
        deadline = time.monotonic() + self.o.timeout_s
        while time.monotonic() < deadline:
            try:
                left = Counter(str(j.state) for j in tide.jobs(page=200) if not j.final)
            except TideError as e:
                self.say(f"still trying: {e}")
                left = Counter({"unknown": 1})
            if not left:
                return True
            self.say("waiting for " + ", ".join(f"{n} {s}" for s, n in left.items()))
            time.sleep(2)
        return False

    # The verdict ------------------------------------------------------------------------------------------------------

    def _conclude(self) -> None:
        r, o = self.report, self.o
        log = self.control / "faults.log"
        r.faults = dict(Counter(log.read_text().split()) if log.exists() else {})
        r.missing += [kind for kind in self.needed if not r.faults.get(kind)]
        r.missing += self.not_injected()
        said = subprocess.run(
            [sys.executable, "-m", "tests.chaos.judge", str(o.report.absolute()), "--json"],
            cwd=processes.ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if said.returncode not in (0, 1):
            raise SystemExit(f"{self.kind}: the judge failed: {said.stderr}")
        r.verdict = json.loads(said.stdout)
        if o.fence:
            again = r.replay["calls"] == r.replay["identical"] > 0
            r.passed = r.all_ended and said.returncode == 0 and not r.missing and again
        else:
            r.passed = r.verdict["duplicates"] > 0

    def tell(self) -> None:
        r = self.report
        done = ", ".join(f"{kind} {n}" for kind, n in r.disturbed.items())
        self.say(f"{r.seconds:.0f} s; killed: server {r.server_kills}; {done}; faults {r.faults}")
        self.say("judge: " + ", ".join(f"{k} {v:g}" for k, v in r.verdict["counts"].items()))
        for kind, what in r.verdict["violations"][:20] if self.o.fence else ():
            self.say(f"  {kind}: {what}")
        self.say(f"replay: {r.replay['calls']} calls of placement decided again, {r.replay['identical']} alike byte for byte")
        if r.missing:
            self.say(f"not injected: {', '.join(r.missing)}")
        if self.o.fence:
            self.say("PASSED: nothing lost, nothing doubled" if r.passed else f"FAILED: {r.verdict['kinds'] or r.missing}")
        else:
            found = f"{r.verdict['duplicates']} duplicates without the fence"
            self.say(f"PASSED: {found}, as there must be" if r.passed else f"FAILED: {found}: the witness sees nothing")


def seed_or_new(given: int | None) -> int:
    return given if given is not None else random.SystemRandom().randrange(1_000_000)


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])
