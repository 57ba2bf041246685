"""Chaos on embedded clusters: `python -m tests.chaos.run --jobs 1000 --kills 20 --supervisor-kills 5 --report DIR`.

Jobs are submitted while the server is killed again and again, supervisors now and then, and one cluster falls silent for
a while; then everything has to end, and the judge looks at what the jobs themselves wrote. With `--fence off` the run is a
control: it passes only where the judge finds duplicates, for then the witness can see what the fence prevents.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.chaos import base, export, processes, work
from tidegrid.client import Tide

NETWORK = Path(__file__).with_name("network.yaml")
CLUSTERS = ("north-a", "east-b", "south-c")


@dataclass
class Options(base.Options):
    """kills, supervisor_kills: at least so many; silence_s: how long one cluster stays silent, 0 for never; servers: that share
    the clusters, on PostgreSQL, any of which is killed."""

    kills: int = 20
    supervisor_kills: int = 5
    silence_s: float = 8.0
    servers: int = 1


class Chaos(base.Chaos):
    """Three embedded clusters, their supervisors started by the server."""

    o: Options

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.servers: list[processes.Server] = []
        if options.servers > 1:
            self.server_lease = 2.0  # short of what a server takes to come back: its clusters are taken over meanwhile
        if options.silence_s:
            self.needed = (*self.needed, "silent")

    def network(self) -> str:
        return NETWORK.read_text()

    def start(self, server: processes.Server) -> None:
        super().start(server)
        if not self.servers:
            self.servers.append(server)
            for n in range(1, self.o.servers):
                self.servers.append(server.beside(self.base / f"home{n}", base.free_port()))
                super().start(self.servers[-1])

    def kill(self, server: processes.Server) -> None:
        """Any of the servers. Requests go to the first, which answers for all."""
        one = self.rng.choice(self.servers)
        self.report.count(f"server {self.servers.index(one)}")
        super().kill(one)

    def tear_down(self) -> None:
        for server in self.servers[1:]:
            server.kill()
        processes.stop_supervisors(self.home / "clusters")

    def export(self, tide: Tide, everything: list[work.Work]) -> None:
        export.write(self.o.report, tide, everything, export.journals(self.home / "clusters"))

    def storm(self, server: processes.Server, submitter: work.Submitter, everything: list[work.Work], tide: Tide) -> None:
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
            self.kill(server)
            self.say(f"server killed {r.server_kills} times, {r.disturbed}; {submitter.acknowledged} jobs acknowledged")
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
        self.report.count("cluster silent")

    def _kill_supervisor(self, cluster: str) -> None:
        home = self.home / "clusters" / cluster
        # it may be on its way up from an earlier kill
        if processes.until(lambda: processes.kill_supervisor(home), 20):
            self.report.count("supervisor killed")

    def not_injected(self) -> list[str]:
        r, o = self.report, self.o
        out = []
        if r.server_kills < o.kills or r.disturbed.get("supervisor killed", 0) < o.supervisor_kills:
            out.append("kills")
        if o.silence_s and o.fence and not r.moved:
            out.append("jobs moved off the silent cluster")
        return out


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=20, help="of the server, at least")
    parser.add_argument("--supervisor-kills", type=int, default=5)
    parser.add_argument("--silence", type=float, default=8.0, help="seconds one cluster stays silent; 0: never")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--fence", choices=("on", "off"), default="on")
    parser.add_argument("--late", type=float, default=base.LATE, help="share of submissions that arrive late")
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds for everything to end after the last kill")
    parser.add_argument("--report", type=Path, default=Path("reports/chaos"))
    parser.add_argument("--servers", type=int, default=1, help="that share the clusters; more than one needs --database postgres")
    a = parser.parse_args()
    if a.servers > 1 and a.database != "postgres":
        parser.error("several servers need --database postgres")
    chaos = Chaos(
        Options(
            report=a.report, jobs=a.jobs, kills=a.kills, supervisor_kills=a.supervisor_kills, silence_s=a.silence,
            seed=base.seed_or_new(a.seed), database=a.database, fence=a.fence == "on", late=a.late, timeout_s=a.timeout,
            servers=a.servers,
        )
    )  # fmt: skip
    passed = chaos.run().passed
    chaos.tell()
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
