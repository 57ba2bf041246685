"""`tide demo --slurm`: real Slurm clusters reached over ssh, LAMMPS and GROMACS over MPI, one cluster taken away half-way.

Three clusters of the test-bed, a real `tide up`, and its API only. When the runs on one cluster have checkpoints at home, that
cluster is destroyed with all that runs on it, and the operator declares it dead: they go on elsewhere. At the end the
platform's word is held against what the applications and the jobs wrote themselves.
"""

from __future__ import annotations

import json as codec
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from tidegrid.client import Job, Tide
from tidegrid.domain.errors import InvalidInput, NotFound
from tidegrid.launch import demo_batch, testbed
from tidegrid.launch.demo import customer, submit_all
from tidegrid.launch.demo_batch import Planned
from tidegrid.launch.demo_server import SETTINGS, DemoServer
from tidegrid.launch.demo_view import Board, Screen, money_by_partition, whys
from tidegrid.launch.demo_witness import said_by_jobs
from tidegrid.launch.testbed import packages
from tidegrid.launch.testbed.network import describe, install_keys

ORG = "lab"
DOOMED = "alpha"
PATIENCE_S = 300.0
LOOK_S = 0.5
PROGRAMS = {"lmp": "lammps", "gmx_mpi": "gromacs", "mpirun": "openmpi-bin"}
# Only ends like these license another start.
BROKEN = frozenset({"lost", "node_fail", "preempted"})


def run(*, json: bool = False, keep: Path | None = None) -> int:
    """Exit status 0 where nothing was lost or doubled, jobs moved, and the journal balances; 1 otherwise.

    NotFound (demo.missing) names the Debian packages that are not installed. json, keep: as `demo.run`.
    """
    missing = packages.missing() + [p for program, p in PROGRAMS.items() if packages.find(program) is None]
    if missing:
        raise NotFound(
            "demo.missing", f"the demo on Slurm needs packages that are not installed: {' '.join(missing)}",
            hint=f"apt-get install --no-install-recommends {' '.join(missing)}", details={"packages": missing},
        )  # fmt: skip
    if keep is not None and keep.exists() and any(keep.iterdir()):
        raise InvalidInput("demo.keep", f"{keep} is not empty", hint="name a new directory")
    base = keep.absolute() if keep is not None else Path(tempfile.mkdtemp(prefix="tide-demo-"))
    screen = Screen(to_stderr=json)
    server = DemoServer(base / "home", {**SETTINGS, "call": 10, "checkpoint_least": 1})
    began = time.monotonic()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no process is left behind
    bed: testbed.Testbed | None = None
    try:
        screen.say("1/5 starting three Slurm clusters, each behind its own sshd, and a server")
        # its sockets want short paths
        bed = testbed.up(Path(tempfile.mkdtemp(prefix="tide-slurm-")), 3, bound=True)
        result = _Demo(server, screen, base, bed).run()
    finally:
        screen.end()
        server.close()
        if bed is not None:
            bed.down()
        if keep is None:
            shutil.rmtree(base, ignore_errors=True)
    result["seconds"] = round(time.monotonic() - began, 1)
    _verdict(screen, result)
    if json:
        sys.stdout.write(codec.dumps(result) + "\n")
        sys.stdout.flush()
    return 0 if result["ok"] else 1


def batch(witness: Path) -> list[Planned]:
    """MPI runs on the cluster that is to die, and scripts on the others that say when they run."""
    first = {"ordered": [f"{DOOMED}/cpu", "gamma/cpu"]}
    mpi = {"resources": {"cores": 2, "memory_mib": 1000, "wall_s": 900}, "checkpoint_every_s": 1}
    out = [
        Planned(
            f"melt-{t}", "LAMMPS, Lennard-Jones melt, 2 ranks",
            {"app": "lammps-melt", "name": f"melt-{t}", "constraints": first, **mpi,
             "params": {"steps": 5000, "temperature": t, "restart_steps": 250}},
        )
        for t in (2, 3)
    ]  # fmt: skip
    out.append(
        Planned("water", "GROMACS, a box of water, 2 ranks",
                {"app": "gromacs-water", "name": "water", "constraints": first, **mpi,
                 "params": {"steps": 6000, "checkpoint_minutes": 0.02}})
    )  # fmt: skip
    elsewhere = {"any_of": ["beta/short", "gamma/cpu"]}
    out += [
        demo_batch.script(f"member-{i}", "a member of an ensemble", "sleep 3", witness, constraints=elsewhere)
        for i in range(1, 5)
    ]
    sweep = demo_batch.script("sweep", "an array of four tasks", "sleep 2", witness, tasks=4, array="0-3", constraints=elsewhere)
    return [*out, sweep]


class _Demo:
    def __init__(self, server: DemoServer, screen: Screen, base: Path, bed: testbed.Testbed) -> None:
        self.server, self.screen, self.base, self.bed = server, screen, base, bed
        self.witness = base / "witness"

    def run(self) -> dict[str, Any]:
        say = self.screen.say
        install_keys(self.bed, self.server.home)
        self.server.start()
        software = {name: str(packages.find(name)) for name in ("lmp", "gmx_mpi")}
        with Tide(self.server.url, self.server.token()) as operator:
            operator.apply_network(describe(self.bed, roots=self.base / "roots", software=software))
            secret = customer(operator)
            with Tide(self.server.url, secret) as user:
                plan = batch(self.witness)
                say(f"2/5 submitting {len(plan)} jobs, {sum('cores' in p.about or 'ranks' in p.about for p in plan)} of them MPI")
                submit_all(user, plan)
                board = Board(user, operator, plan)
                self._watch(board)
                say("4/5 fetching results")
                results = self._results(user, board)
                say("5/5 asking why, what it cost, and whether the books balance")
                return self._conclude(user, operator, board, results)

    def _watch(self, board: Board) -> None:
        screen = self.screen
        screen.say("3/5 running")
        screen.begin()
        deadline = time.monotonic() + PATIENCE_S
        gone = False
        try:
            while time.monotonic() < deadline:
                board.look()
                screen.show(board)
                if board.done:
                    break
                if not gone and self._have_checkpoints(board):
                    gone = True
                    screen.say(f"    {DOOMED} is taken away, with {board.at(DOOMED, 'running')} jobs that run there")
                    self.bed.destroy(DOOMED)
                    board.operator.cluster_command(DOOMED, "dead")
                    screen.say(f"    the operator declared {DOOMED} dead")
                time.sleep(LOOK_S)
        finally:
            screen.end()

    def _have_checkpoints(self, board: Board) -> bool:
        mpi = [j for n, j in board.jobs.items() if not n.startswith(("member", "sweep"))]
        return bool(mpi) and all(
            j.final or board.user.events_page(kinds=["checkpoint.kept"], job=j.id, limit=1) for j in mpi
        )

    def _results(self, user: Tide, board: Board) -> dict[str, dict[str, Any]]:
        """`result.json` of the MPI runs: their applications' own word that they came to their end."""
        out: dict[str, dict[str, Any]] = {}
        for p in board.plan:
            job = board.jobs.get(p.name)
            if p.witnessed or job is None or not job.succeeded:
                continue
            for path in user.fetch(job.id, self.base / "results" / p.name, only=["result.json"]):
                out[p.name] = codec.loads(path.read_text())
                self.screen.say(f"    {p.name}: {path.read_text().strip()}")
        return out

    def _conclude(
        self, user: Tide, operator: Tide, board: Board, results: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, Any]:
        screen = self.screen
        jobs = {name: user.job(j.id) for name, j in board.jobs.items()}
        explained = {n: user.explain(j.id) for n, j in jobs.items()}
        screen.heading("Why each job went where it went")
        screen.rows(("job", "ended", "why"), whys(board.plan, jobs, {n: e["decisions"] for n, e in explained.items()}))
        continued = {n: [e["body"]["text"] for e in x["events"] if e["kind"] == "attempt.continues"] for n, x in explained.items()}
        screen.heading("What went on")
        for name, texts in continued.items():
            for text in texts:
                screen.line(f"{name}: {text}")
        screen.heading("What it cost")
        money = money_by_partition(operator.usage(org=ORG))
        screen.rows(
            ("partition", "core-seconds", "charged, yuan", "cost, yuan", "margin, yuan"),
            [(n, f"{s:.1f}", f"{charge}", f"{cost}", f"{charge - cost}") for n, s, charge, cost in money],
        )
        check = operator.journal_check()
        lost, doubled = judge(board.plan, jobs, self.witness, results)
        moved = sum(j.moved > 0 for j in jobs.values())
        states = [str(j.state) for j in jobs.values()]
        return {
            "ok": not lost and not doubled and moved > 0 and check["balanced"] is True and any(continued.values()),
            "jobs": {"submitted": len(board.plan), "succeeded": states.count("succeeded"), "moved": moved},
            "tasks": sum(p.tasks for p in board.plan),
            "continued": {n: t for n, t in continued.items() if t},
            "lost": len(lost),
            "duplicates": len(doubled),
            "journal_balanced": check["balanced"] is True,
            "charged": str(sum((charge for _, _, charge, _ in money), start=Decimal(0))),
            "balance": operator.balance(ORG),
            "problems": [*lost, *doubled],
        }  # fmt: skip


def judge(
    plan: Sequence[Planned], jobs: Mapping[str, Job], witness: Path, results: Mapping[str, Any]
) -> tuple[list[str], list[str]]:
    """(lost, run twice): by the witness file for scripts, by its own result for an MPI run, whose further starts are licensed
    only by an end that broke the one before."""
    starts, ends = said_by_jobs(witness)
    lost, doubled = [], []
    for p in plan:
        job = jobs.get(p.name)
        if job is None or not job.succeeded:
            lost.append(f"{p.name}: {job.state if job else 'not there'}" + (f" ({job.reason})" if job and job.reason else ""))
            continue
        if p.witnessed:
            for task in range(p.tasks):
                what = p.name if p.tasks == 1 else f"{p.name} task {task}"
                if not ends[p.name, task]:
                    lost.append(f"{what}: said to have succeeded, and never finished its work")
                if len(starts[p.name, task]) > 1:
                    doubled.append(f"{what}: ran {len(starts[p.name, task])} times")
            continue
        if p.name not in results:
            lost.append(f"{p.name}: said to have succeeded, and left no result")
        ran = [a for a in job.attempts if a.started_at is not None]
        if any(a.reason not in BROKEN for a in ran[:-1]):
            doubled.append(f"{p.name}: {len(ran)} runs, and not each broken before the next")
    return lost, doubled


def _verdict(screen: Screen, result: dict[str, Any]) -> None:
    jobs = result["jobs"]
    screen.heading("In short")
    screen.line(f"{jobs['succeeded']} of {jobs['submitted']} jobs ({result['tasks']} tasks) succeeded in {result['seconds']:.0f} s")
    screen.line(f"{jobs['moved']} moved off {DOOMED} when it was taken away, {len(result['continued'])} of them from a checkpoint")
    screen.line(f"lost {result['lost']}, duplicates {result['duplicates']}; the journal "
                + ("balances" if result["journal_balanced"] else "DOES NOT BALANCE"))  # fmt: skip
    for problem in result["problems"]:
        screen.line(f"  {problem}", "red")
    if not jobs["moved"]:
        screen.line("  no job moved", "red")
