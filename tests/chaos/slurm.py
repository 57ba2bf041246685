"""Chaos on real Slurm clusters: `python -m tests.chaos.slurm --jobs 500 --report DIR`.

Three clusters of the test-bed, reached over ssh, the first with slurmdbd. While jobs are submitted, controllers are killed with
SIGKILL and started again, sshd is cut, controllers and sshd are frozen so that commands hang, the server is killed, a tenth of
the acknowledgements is lost and a tenth of the submissions late; one cluster is removed for good, and some time later declared
dead by an operator. The judge looks at what the jobs themselves wrote, and at what the clusters recorded.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.chaos import base, export, processes, slurm_export, work
from tidegrid.client import Tide
from tidegrid.launch import testbed
from tidegrid.launch.testbed.network import describe, install_keys

PLACES = ("alpha/cpu", "beta/short", "gamma/cpu")
REMOVABLE = ("beta", "gamma")  # alpha has the accounting


@dataclass
class Options(base.Options):
    """How often each thing is disturbed, at least; remove: one cluster goes for good, and is declared dead `declare_s` later."""

    controller_kills: int = 8
    cuts: int = 5
    hangs: int = 6
    server_kills: int = 6
    remove: bool = True
    declare_s: float = 12.0
    accounting: bool = True
    longest_s: float = 3.0  # of one disturbance


@dataclass
class Removal:
    cluster: str = ""
    at: float = 0.0  # monotonic
    declared: bool = False


class SlurmChaos(base.Chaos):
    """A test-bed below a short path of its own, as sockets want it."""

    o: Options
    kind, clusters_are = "chaos-slurm", "slurm"

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.bed: testbed.Testbed | None = None
        self.outages: list[dict[str, Any]] = []
        self.removal = Removal()
        self.alive = [place.partition("/")[0] for place in PLACES]

    def set_up(self) -> None:
        place = Path(tempfile.mkdtemp(prefix="tide-slurm-"))
        self.bed = testbed.up(place, len(PLACES), self.o.accounting, bound=True)
        install_keys(self.bed, self.home)

    def tear_down(self) -> None:
        if self.bed is not None:
            self.bed.down()

    @property
    def roots(self) -> Path:
        return self.base / "sites"

    def network(self) -> str:
        assert self.bed is not None
        return describe(self.bed, roots=self.roots)

    def make_work(self) -> list[work.Work]:
        return work.spread(self.rng, self.o.jobs, PLACES, _seconds)

    def export(self, tide: Tide, everything: list[work.Work]) -> None:
        assert self.bed is not None
        records = slurm_export.records(self.bed, self.roots)
        removed = [(o["cluster"], o["begin_us"]) for o in self.outages if o["kind"] == "removed"]
        permits = {a: c for c, at in removed for a in slurm_export.let_start(self.roots / c, at)}
        export.write(self.o.report, tide, everything, records, self.outages, permits)

    def not_injected(self) -> list[str]:
        r, o = self.report, self.o
        wanted = {"controller killed": o.controller_kills, "sshd cut": o.cuts, "commands hung": o.hangs}
        out = [kind for kind, n in wanted.items() if r.disturbed.get(kind, 0) < n]
        if r.server_kills < o.server_kills:
            out.append("server killed")
        if o.remove and not self.removal.declared:
            out.append("a cluster removed and declared dead")
        return out

    # The storm --------------------------------------------------------------------------------------------------------

    def storm(self, server: processes.Server, submitter: work.Submitter, everything: list[work.Work], tide: Tide) -> None:
        """One disturbance after the other with fresh work before each; the removal after two thirds of them."""
        o, rng = self.o, self.rng
        plan = ["controller"] * o.controller_kills + ["cut"] * o.cuts + ["hang"] * o.hangs + ["server"] * o.server_kills
        rng.shuffle(plan)
        if o.remove:
            plan.insert(max(1, len(plan) * 2 // 3), "remove")
        chunks = [everything[i :: len(plan) + 1] for i in range(len(plan) + 1)]
        given = 0
        for what, chunk in zip(plan, chunks, strict=False):
            submitter.give(chunk)
            given += len(chunk)
            processes.until(lambda given=given: submitter.acknowledged >= given, 20.0)
            time.sleep(rng.uniform(0.3, 2.0))
            if submitter.failure is not None:
                raise submitter.failure
            self._disturb(what, server)
            self._declare_when_due(tide)
            self._mend()
            self.say(f"{what}: {self.report.disturbed}, server killed {self.report.server_kills} times; "
                     f"{submitter.acknowledged} jobs acknowledged")  # fmt: skip
        submitter.give(chunks[-1])
        while self.removal.cluster and not self.removal.declared:
            time.sleep(0.2)
            self._declare_when_due(tide)

    def _disturb(self, what: str, server: processes.Server) -> None:
        cluster, seconds = self.rng.choice(self.alive), self.rng.uniform(0.3, self.o.longest_s)
        match what:
            case "controller":
                self._controller(cluster, seconds)
            case "cut":
                self._cut(cluster, seconds)
            case "hang":
                self._hang(cluster, seconds, self.rng.choice(("slurmctld", "slurmctld", "sshd")))
            case "server":
                with self._outage("", "server killed"):
                    self.kill(server)
            case "remove":
                self._remove()

    def _controller(self, cluster: str, seconds: float) -> None:
        assert self.bed is not None
        with self._outage(cluster, "controller killed"):
            self.bed.kill_controller(cluster)
            time.sleep(seconds)
            self.bed.start_controller(cluster)
        self.report.count("controller killed")

    def _cut(self, cluster: str, seconds: float) -> None:
        assert self.bed is not None
        with self._outage(cluster, "sshd cut"):
            self.bed.kill_sshd(cluster)
            time.sleep(seconds)
            self.bed.start_sshd(cluster)
        self.report.count("sshd cut")

    def _hang(self, cluster: str, seconds: float, program: str) -> None:
        assert self.bed is not None
        with self._outage(cluster, f"{program} hung"):
            self.bed.freeze(cluster, program)
            time.sleep(seconds)
            self.bed.thaw(cluster, program)
        self.report.count("commands hung")

    def _remove(self) -> None:
        assert self.bed is not None
        cluster = self.rng.choice(REMOVABLE)
        began = time.time_ns()
        self.bed.destroy(cluster)
        self.outages.append({"cluster": cluster, "kind": "removed", "begin_us": began // 1000, "end_us": None,
                             "gone_us": time.time_ns() // 1000})  # fmt: skip
        self.alive.remove(cluster)
        self.removal = Removal(cluster, time.monotonic())
        self.report.count("cluster removed")

    def _declare_when_due(self, tide: Tide) -> None:
        gone = self.removal
        if gone.cluster and not gone.declared and time.monotonic() - gone.at >= self.o.declare_s:
            tide.cluster_command(gone.cluster, "dead")
            gone.declared = True
            self.report.count("cluster declared dead")

    def _mend(self) -> None:
        """The centre's own people return nodes that Slurm drained (`Duplicate jobid`)."""
        assert self.bed is not None
        for cluster in self.alive:
            said = self.bed.run(cluster, "sinfo", "-h", "-N", "-t", "drain", "-o", "%N").stdout.split()
            for node in sorted(set(said)):
                self.bed.run(cluster, "scontrol", "update", f"nodename={node}", "state=resume")
                self.report.count("drained node returned")

    @contextmanager
    def _outage(self, cluster: str, kind: str) -> Iterator[None]:
        began = time.time_ns()
        try:
            yield
        finally:
            self.outages.append(
                {"cluster": cluster, "kind": kind, "begin_us": began // 1000, "end_us": time.time_ns() // 1000}
            )


def _seconds(rng: random.Random) -> float:
    """Most are short; one in five is long enough to live through a disturbance."""
    return rng.uniform(0.2, 2.5) if rng.random() < 0.8 else rng.uniform(4.0, 10.0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--controller-kills", type=int, default=8)
    parser.add_argument("--cuts", type=int, default=5, help="of sshd")
    parser.add_argument("--hangs", type=int, default=6, help="of controllers and sshd")
    parser.add_argument("--server-kills", type=int, default=6)
    parser.add_argument("--keep-all", action="store_true", help="remove no cluster")
    parser.add_argument("--no-accounting", action="store_true", help="no cluster has slurmdbd")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--fence", choices=("on", "off"), default="on")
    parser.add_argument("--late", type=float, default=base.LATE)
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds for everything to end after the last disturbance")
    parser.add_argument("--report", type=Path, default=Path("reports/chaos-slurm"))
    a = parser.parse_args()
    chaos = SlurmChaos(
        Options(
            report=a.report, jobs=a.jobs, controller_kills=a.controller_kills, cuts=a.cuts, hangs=a.hangs,
            server_kills=a.server_kills, remove=not a.keep_all, accounting=not a.no_accounting,
            seed=base.seed_or_new(a.seed), database=a.database, fence=a.fence == "on", late=a.late, timeout_s=a.timeout,
        )
    )  # fmt: skip
    passed = chaos.run().passed
    chaos.tell()
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
