"""`tide demo`: three clusters in three regions as one machine, with one of them falling silent half-way.

Everything goes through REST against a real `tide up` in a temporary home. At the end the platform's word is held against
what the jobs wrote themselves and against the supervisors' journals.
"""

from __future__ import annotations

import json as codec
import shutil
import signal
import sys
import tempfile
import threading
import time
from decimal import Decimal
from importlib import resources
from pathlib import Path
from typing import Any

from tidegrid.client import Tide
from tidegrid.domain.errors import InvalidInput
from tidegrid.launch import demo_batch, demo_witness
from tidegrid.launch.demo_batch import Planned
from tidegrid.launch.demo_server import DemoServer
from tidegrid.launch.demo_view import Board, Screen, money_by_partition, whys

ORG, USER, DEPOSIT = "lab", "lin", "100"
SILENT = "hohhot-a"
SILENCE_S = (7.0, 20.0)  # at least, at most
PATIENCE_S = 150.0
LOOK_S = 0.4


def run(*, json: bool = False, keep: Path | None = None) -> int:
    """Exit status 0 where nothing was lost or doubled, the journal balances, and every job ended as planned; 1 otherwise.

    json: progress to standard error, one object as the last line of standard output; keep: a new directory for the server's
    home, left behind with its database, logs and results.
    """
    if keep is not None and keep.exists() and any(keep.iterdir()):
        raise InvalidInput("demo.keep", f"{keep} is not empty", hint="name a new directory")
    base = keep.absolute() if keep is not None else Path(tempfile.mkdtemp(prefix="tide-demo-"))
    screen = Screen(to_stderr=json)
    server = DemoServer(base / "home")
    began = time.monotonic()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no process is left behind
    try:
        result = _Demo(server, screen, base).run()
    finally:
        screen.end()
        server.close()
        if keep is None:
            shutil.rmtree(base, ignore_errors=True)
    result["seconds"] = round(time.monotonic() - began, 1)
    _verdict(screen, result, keep)
    if json:
        sys.stdout.write(codec.dumps(result) + "\n")
        sys.stdout.flush()
    return 0 if result["ok"] else 1


def network(lammps: str | None) -> str:
    """The demo's network file; with LAMMPS on every cluster where this machine has it."""
    text = resources.files("tidegrid.launch").joinpath("demo_network.yaml").read_text("utf-8")
    site = "    site: "
    return text.replace(site, f"    software: {{lmp: {codec.dumps(lammps)}}}\n{site}") if lammps else text


class _Demo:
    def __init__(self, server: DemoServer, screen: Screen, base: Path) -> None:
        self.server, self.screen, self.base = server, screen, base
        self.witness = base / "witness"
        self.lammps = shutil.which("lmp")

    def run(self) -> dict[str, Any]:
        say = self.screen.say
        say("1/5 starting a server, and a supervisor process for each of three clusters")
        self.server.start()
        with Tide(self.server.url, self.server.token()) as operator:
            operator.apply_network(network(self.lammps))
            secret = customer(operator)
            say(f"    {self.server.url}; organisation {ORG!r} has {DEPOSIT} yuan")
            with Tide(self.server.url, secret) as user:
                plan = demo_batch.batch(self.witness, self.lammps is not None)
                say(f"2/5 submitting {len(plan)} jobs" + ("" if self.lammps else " (no LAMMPS here: `lmp` is not installed)"))
                submit_all(user, plan)
                board = Board(user, operator, plan)
                self._watch(board)
                say("4/5 fetching results")
                self._fetch(user, board)
                say("5/5 asking why, what it cost, and whether the books balance")
                return self._conclude(user, operator, board)

    # While it runs ---------------------------------------------------------------------------------------------------

    def _watch(self, board: Board) -> None:
        """Look on until every job has ended; in between, one cluster falls silent for a while."""
        screen = self.screen
        screen.say("3/5 running")
        screen.begin()
        deadline = time.monotonic() + PATIENCE_S
        silent_at = 0.0
        woken = False
        try:
            while time.monotonic() < deadline:
                board.look()
                screen.show(board)
                if board.done:
                    break
                if not silent_at:
                    if self._busy(board):
                        self.server.silence(SILENT)
                        silent_at = time.monotonic()
                        screen.say(f"    {SILENT} falls silent: {board.at(SILENT, 'running')} jobs run there, "
                                   f"{board.at(SILENT, 'queued')} are queued")  # fmt: skip
                elif not woken and self._long_enough(board, time.monotonic() - silent_at):
                    self.server.wake()
                    woken = True
                    moved = sum(j.moved > 0 for j in board.jobs.values())
                    screen.say(f"    {SILENT} answers again after {time.monotonic() - silent_at:.0f} s; {moved} jobs have moved")
                time.sleep(LOOK_S)
        finally:
            self.server.wake()
            screen.end()

    def _busy(self, board: Board) -> bool:
        """The long runs are at work on the cluster that is to fall silent, and others queue behind them."""
        said = self.witness.read_text() if self.witness.exists() else ""
        return said.count("start ocean-") >= demo_batch.OCEAN and board.at(SILENT, "queued") >= 3

    @staticmethod
    def _long_enough(board: Board, seconds: float) -> bool:
        moved_on = any(j.moved for j in board.jobs.values()) and not board.at(SILENT, "queued")
        return seconds > SILENCE_S[1] or (seconds > SILENCE_S[0] and moved_on)

    def _fetch(self, user: Tide, board: Board) -> None:
        for name in ("primes", "table"):
            job = board.jobs.get(name)
            if job is not None and job.succeeded:
                for path in user.fetch(job.id, self.base / "results" / name):
                    if path.suffix in (".out", ".err"):
                        continue
                    text = path.read_text(errors="replace").strip()
                    self.screen.say(f"    {name}: {path.name}: {' '.join(text.split())[:150]}")

    # At the end --------------------------------------------------------------------------------------------------------

    def _conclude(self, user: Tide, operator: Tide, board: Board) -> dict[str, Any]:
        screen = self.screen
        jobs = {name: user.job(j.id) for name, j in board.jobs.items()}
        decisions = {n: user.explain(j.id)["decisions"] for n, j in jobs.items()}
        screen.heading("Why each job went where it went")
        screen.rows(("job", "ended", "why"), whys(board.plan, jobs, decisions))
        screen.heading("What it cost")
        money = money_by_partition(operator.usage(org=ORG))
        screen.rows(
            ("partition", "core-seconds", "charged, yuan", "cost, yuan", "margin, yuan"),
            [(n, f"{s:.1f}", f"{charge}", f"{cost}", f"{charge - cost}") for n, s, charge, cost in money],
        )
        balance, check = operator.balance(ORG), operator.journal_check()
        found = demo_witness.judge(board.plan, jobs, self.witness, self.server.home / "clusters")
        states = [str(j.state) for j in jobs.values()]
        adopted = sum(
            1 for j in jobs.values() if j.succeeded and j.moved == 0 and j.name.startswith("ocean") and len(j.attempts) == 1
        )
        moved = sum(j.moved > 0 for j in jobs.values())
        return {
            "ok": not found.lost and not found.duplicates and not found.surprises and check["balanced"] is True and moved > 0,
            "jobs": {
                "submitted": len(board.plan), "succeeded": states.count("succeeded"), "failed": states.count("failed"),
                "timeout": states.count("timeout"), "moved": moved, "adopted": adopted,
            },
            "tasks": sum(p.tasks for p in board.plan),
            "lost": len(found.lost),
            "duplicates": len(found.duplicates),
            "as_planned": not found.surprises,
            "journal_balanced": check["balanced"] is True,
            "charged": str(sum((charge for _, _, charge, _ in money), start=Decimal(0))),
            "balance": balance,
            "problems": [*found.lost, *found.duplicates, *found.surprises],
            "lammps": self.lammps is not None,
        }  # fmt: skip


def customer(operator: Tide) -> str:
    """A paying organisation with one user; the user's token."""
    operator.create_org(ORG)
    operator.create_user(ORG, USER, "user")
    operator.deposit(ORG, DEPOSIT, key="demo")
    return str(operator.create_token(ORG, user=USER, label="demo")["token"])


def submit_all(user: Tide, plan: list[Planned]) -> None:
    """In bulk what depends on nothing, then the rest."""
    free = [p for p in plan if not p.takes]
    ids = {j.name: j.id for j in user.submit_many([p.body for p in free], key="demo-batch")}
    for p in plan:
        if p.takes:
            inputs = [{"path": path, "job": ids[job], "source": source} for path, (job, source) in p.takes.items()]
            ids[p.name] = user.submit(key=f"demo-{p.name}", inputs=inputs, **p.body).id


def _verdict(screen: Screen, result: dict[str, Any], keep: Path | None) -> None:
    jobs = result["jobs"]
    screen.heading("In short")
    screen.line(
        f"{jobs['submitted']} jobs ({result['tasks']} tasks) in {result['seconds']:.0f} s: {jobs['succeeded']} succeeded, "
        f"{jobs['failed']} failed and {jobs['timeout']} timed out as planned" if result["as_planned"] else
        f"{jobs['submitted']} jobs: not every one ended as planned"
    )  # fmt: skip
    screen.line(f"{jobs['moved']} moved off {SILENT} while it was silent; {jobs['adopted']} ran on there and were adopted again")
    screen.line(f"lost {result['lost']}, duplicates {result['duplicates']}; the journal "
                + ("balances" if result["journal_balanced"] else "DOES NOT BALANCE"))  # fmt: skip
    for problem in result["problems"]:
        screen.line(f"  {problem}", "red")
    if not jobs["moved"]:
        screen.line("  no job moved", "red")
    if keep is not None:
        screen.line(f"kept: `tide up --home {keep / 'home'}` goes on from here")


