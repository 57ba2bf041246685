"""The chaos run: `python -m tests.chaos.run --jobs 1000 --kills 20 --supervisor-kills 5 --report DIR`.

Jobs are submitted while the server is killed again and again, supervisors now and then, and one cluster falls silent for
a while; then everything has to end, and the judge looks at what the jobs themselves wrote. With `--fence off` the run is a
control: it passes only where the judge finds duplicates, for then the witness can see what the fence prevents.
"""

from __future__ import annotations

import argparse
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

from tests.chaos import export, judge, processes, work
from tests.chaos.server import LATE, LATE_S
from tests.parts.postgres import Postgres, find_binaries
from tidegrid.client import Tide
from tidegrid.domain.errors import TideError

NETWORK = Path(__file__).with_name("network.yaml")
CLUSTERS = ("north-a", "east-b", "south-c")


@dataclass
class Options:
    """kills, supervisor_kills: at least so many; late: share of submissions that arrive late; silence_s: how long one cluster stays silent, 0 for never."""

    report: Path
    jobs: int = 1000
    kills: int = 20
    supervisor_kills: int = 5
    silence_s: float = 8.0
    seed: int = 0
    database: str = "sqlite"
    fence: bool = True
    late: float = LATE
    timeout_s: float = 600.0
    quiet: bool = False


@dataclass
class Report:
    seed: int
    database: str
    fence: bool
    jobs: int
    server_kills: int = 0
    kills_while_starting: int = 0
    supervisor_kills: int = 0
    silent_s: float = 0.0
    moved: int = 0
    retried_requests: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    ready_s: list[float] = field(default_factory=list)
    seconds: float = 0.0
    all_ended: bool = False
    verdict: dict[str, Any] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)  # what should have been injected and was not
    passed: bool = False


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

    def say(self, text: str) -> None:
        if not self.o.quiet:
            print(f"chaos: {text}", flush=True)

    def run(self) -> Report:
        """Everything, and the verdict."""
        began = time.monotonic()
        o = self.o
        self.say(f"seed {o.seed}; {o.jobs} jobs, {o.database}, fence {'on' if o.fence else 'OFF'}; report in {o.report}")
        try:
            server = processes.Server(
                self.home, self.control, port=_free_port(), database=self._database(), seed=o.seed, fence=o.fence, late=o.late,
            )
            try:
                self._on(server)
            finally:
                server.kill()
                processes.stop_supervisors(self.home / "clusters")
        finally:
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

    # The run ---------------------------------------------------------------------------------------------------------

    def _on(self, server: processes.Server) -> None:
        r, o = self.report, self.o
        server.start()
        r.ready_s.append(round(server.ready(), 2))
        with Tide(server.url, (self.home / "admin.token").read_text().strip()) as tide:
            tide.apply_network(NETWORK.read_text())
            tide.deposit("operator", "1000000", key="chaos")
            everything = work.make(self.rng, o.jobs)
            submitter = work.Submitter(tide, random.Random(o.seed + 1), self.witness)
            submitter.start()
            self._storm(server, submitter, everything)
            submitter.close()
            submitter.join(o.timeout_s)
            if submitter.failure is not None:
                raise submitter.failure
            r.retried_requests = submitter.retries
            r.all_ended = self._wait(tide)
            time.sleep(LATE_S[1] + 1.0)  # for what is still under way to its cluster
            r.moved = sum(j.moved for j in tide.jobs(page=200))
            export.write(o.report, tide, everything, self.home / "clusters")

    def _storm(self, server: processes.Server, submitter: work.Submitter, everything: list[work.Work]) -> None:
        """Hand out the work bit by bit, and kill in between."""
        r, o, rng = self.report, self.o, self.rng
        rounds = o.kills + 1 + (1 if o.silence_s else 0)
        chunks = [everything[i::rounds] for i in range(rounds)]
        if o.silence_s:
            self._silence(submitter, chunks.pop())
        targets = [rng.choice(CLUSTERS) for _ in range(o.supervisor_kills)]
        when = sorted(rng.sample(range(o.kills), min(o.supervisor_kills, o.kills))) if o.kills else []
        for i in range(o.kills):
            owed = sum(map(len, chunks[:i]))
            submitter.give(chunks[i])
            processes.until(lambda owed=owed: submitter.acknowledged >= owed, 5.0)  # so that there is work in every round
            time.sleep(rng.uniform(0.2, 1.5))
            if i in when:
                self._kill_supervisor(targets[when.index(i)])
                time.sleep(rng.uniform(0.0, 0.8))
            if submitter.failure is not None:
                raise submitter.failure
            server.kill()
            r.server_kills += 1
            if rng.random() < 0.2:  # and again, before it is up
                server.start()
                time.sleep(rng.uniform(0.1, 1.2))
                server.kill()
                r.server_kills += 1
                r.kills_while_starting += 1
            server.start()
            r.ready_s.append(round(server.ready(), 2))
            self.say(f"server killed {r.server_kills} times, supervisors {r.supervisor_kills}; "
                     f"{submitter.acknowledged} jobs acknowledged")  # fmt: skip
        for target in targets[len(when) :]:
            self._kill_supervisor(target)
            time.sleep(1.0)
        submitter.give(chunks[-1])

    def _silence(self, submitter: work.Submitter, chunk: list[work.Work]) -> None:
        """One cluster answers nothing for a while, with work queued and running there."""
        cluster = self.rng.choice(CLUSTERS)
        file = self.control / f"silent-{cluster}"
        submitter.give(chunk)
        time.sleep(0.7)
        file.touch()
        self.say(f"{cluster} is silent for {self.o.silence_s:g} s")
        time.sleep(self.o.silence_s)
        file.unlink()
        self.report.silent_s = self.o.silence_s

    def _kill_supervisor(self, cluster: str) -> None:
        home = self.home / "clusters" / cluster
        # it may be on its way up from an earlier kill
        if processes.until(lambda: processes.kill_supervisor(home), 20):
            self.report.supervisor_kills += 1

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

    # The verdict -----------------------------------------------------------------------------------------------------

    def _conclude(self) -> None:
        r, o = self.report, self.o
        log = self.control / "faults.log"
        r.faults = dict(Counter(log.read_text().split()) if log.exists() else {})
        for kind in ("lost_after", "late", *(("silent",) if o.silence_s else ())):
            if not r.faults.get(kind):
                r.missing.append(kind)
        if r.server_kills < o.kills or r.supervisor_kills < o.supervisor_kills:
            r.missing.append("kills")
        if o.silence_s and o.fence and not r.moved:
            r.missing.append("jobs moved off the silent cluster")
        said = subprocess.run(
            [sys.executable, "-I", judge.__file__, str(o.report), "--json"], capture_output=True, text=True, check=False
        )
        if said.returncode not in (0, 1):
            raise SystemExit(f"chaos: the judge failed: {said.stderr}")
        r.verdict = json.loads(said.stdout)
        if o.fence:
            r.passed = r.all_ended and said.returncode == 0 and not r.missing
        else:
            r.passed = r.verdict["duplicates"] > 0

    def tell(self) -> None:
        r = self.report
        self.say(f"{r.seconds:.0f} s; killed: server {r.server_kills}, supervisors {r.supervisor_kills}; faults {r.faults}")
        self.say("judge: " + ", ".join(f"{k} {v:g}" for k, v in r.verdict["counts"].items()))
        for kind, what in r.verdict["violations"][:20] if self.o.fence else ():
            self.say(f"  {kind}: {what}")
        if r.missing:
            self.say(f"not injected: {', '.join(r.missing)}")
        if self.o.fence:
            self.say("PASSED: nothing lost, nothing doubled" if r.passed else f"FAILED: {r.verdict['kinds'] or r.missing}")
        else:
            found = f"{r.verdict['duplicates']} duplicates without the fence"
            self.say(f"PASSED: {found}, as there must be" if r.passed else f"FAILED: {found}: the witness sees nothing")


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=20, help="of the server, at least")
    parser.add_argument("--supervisor-kills", type=int, default=5)
    parser.add_argument("--silence", type=float, default=8.0, help="seconds one cluster stays silent; 0: never")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--fence", choices=("on", "off"), default="on")
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds for everything to end after the last kill")
    parser.add_argument("--report", type=Path, default=Path("reports/chaos"))
    a = parser.parse_args()
    seed = a.seed if a.seed is not None else random.SystemRandom().randrange(1_000_000)
    chaos = Chaos(
        Options(
            report=a.report, jobs=a.jobs, kills=a.kills, supervisor_kills=a.supervisor_kills, silence_s=a.silence,
            seed=seed, database=a.database, fence=a.fence == "on", timeout_s=a.timeout,
        )
    )  # fmt: skip
    passed = chaos.run().passed
    chaos.tell()
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
