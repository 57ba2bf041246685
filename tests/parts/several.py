"""Several server processes on one PostgreSQL and one data directory, and a record of who wrote what under which lease."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psycopg

from tests.chaos import export, judge, processes, work
from tests.parts.postgres import Postgres
from tidegrid.client import Tide

ROOT = Path(__file__).resolve().parents[2]
NETWORK = ROOT / "tests" / "chaos" / "network.yaml"

# Every change of a row that belongs to a role, by whom (application_name), in the order in which leases let them happen.
AUDIT = """
CREATE TABLE audit (seq bigserial PRIMARY KEY, at timestamptz DEFAULT clock_timestamp(), who text, tab text, op text,
  cluster text, old jsonb, new jsonb);
CREATE FUNCTION audited() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE o jsonb; n jsonb; r jsonb; c text;
BEGIN
  IF TG_OP <> 'INSERT' THEN o := to_jsonb(OLD); END IF;
  IF TG_OP <> 'DELETE' THEN n := to_jsonb(NEW); END IF;
  r := coalesce(n, o);
  c := coalesce(r->>'cluster', CASE WHEN TG_TABLE_NAME = 'clusters' THEN r->>'name' END);
  IF c IS NULL AND r ? 'attempt_id' THEN
    SELECT cluster INTO c FROM attempts WHERE id = (r->>'attempt_id')::bigint;
  END IF;
  INSERT INTO audit (who, tab, op, cluster, old, new)
    VALUES (current_setting('application_name'), TG_TABLE_NAME, TG_OP, c, o, n);
  RETURN NULL;
END $$;
"""
AUDITED = ("leases", "attempts", "executions", "transfers", "usage", "clusters")


@dataclass
class Process:
    """One server. home: its own; control: where it is told to stop."""

    name: str
    home: Path
    control: Path
    arguments: list[str]
    popen: subprocess.Popen[bytes] | None = None
    called: str = ""  # in the database

    def start(self) -> None:
        self.control.mkdir(parents=True, exist_ok=True)
        (self.home / "server.json").unlink(missing_ok=True)
        with (self.control / "err").open("ab") as log:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", "tests.parts.server_process", "--home", str(self.home), "--control", str(self.control),
                 *self.arguments], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        if not processes.until(lambda: (self.home / "server.json").exists() or self.popen.poll() is not None, 60, 0.05):  # type: ignore[union-attr]
            raise RuntimeError(f"{self.name} does not come up: {self.words()}")
        if self.popen.poll() is not None:
            raise RuntimeError(f"{self.name} ended: {self.words()}")
        self.called = (self.home / "server.name").read_text().strip()

    def words(self) -> str:
        out = (self.control / "err").read_text(errors="replace")
        log = self.home / "server.log"
        return (out + (log.read_text() if log.exists() else ""))[-3000:]

    @property
    def pid(self) -> int:
        assert self.popen is not None
        return self.popen.pid

    def send(self, number: int) -> None:
        os.kill(self.pid, number)

    def stopped(self) -> bool:
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    def end(self) -> None:
        if self.popen is not None and self.popen.poll() is None:
            self.popen.kill()
            self.popen.wait()

    def tide(self) -> Tide:
        url = json.loads((self.home / "server.json").read_text())["url"]
        return Tide(url, (self.home / "admin.token").read_text().strip())

    def said(self, event: str) -> int:
        """How many lines of its log tell of this."""
        return sum(f"event={event}" in line for line in (self.home / "server.log").read_text().splitlines())


@dataclass
class Fleet:
    """Servers a, b, … started one by one; the first applies the network."""

    base: Path
    postgres: Postgres
    database: str
    lease: float = 2.0
    check: bool = True
    servers: list[Process] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.data, self.report = self.base / "data", self.base / "report"
        self.report.mkdir()
        self.witness = self.report / "witness"
        name = self.database.partition("?")[0].rpartition("/")[2]
        self.postgres.sql(AUDIT, name)
        for table in AUDITED:
            self.postgres.sql(
                f"CREATE TRIGGER a_{table} AFTER INSERT OR UPDATE OR DELETE ON {table} "
                "FOR EACH ROW EXECUTE FUNCTION audited()", name,
            )  # fmt: skip
        self._dsn = f"host={self.postgres.directory} user=tidegrid dbname={name}"

    def start(self, *names: str) -> list[Process]:
        for name in names:
            arguments = ["--data", str(self.data), "--database", self.database, "--lease", str(self.lease),
                         "--check", "on" if self.check else "off"]  # fmt: skip
            server = Process(name, self.base / name, self.base / f"{name}-control", arguments)
            self.servers.append(server)
            server.start()
            if len(self.servers) == 1:
                with server.tide() as tide:
                    tide.apply_network(NETWORK.read_text())
                    tide.deposit("operator", "1000000", key="several")
        return self.servers[-len(names) :]

    def end(self) -> None:
        for server in self.servers:
            server.end()
        processes.stop_supervisors(self.data / "clusters")

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self._dsn, autocommit=True) as conn:
            return conn.execute(query.encode()).fetchall()

    def deadlocks(self) -> int:
        return int(self.rows("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")[0][0])

    def holders(self) -> dict[str, str]:
        """Role -> the server that holds it now."""
        now = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
        return dict(self.rows(f"SELECT role, holder FROM leases WHERE holder <> '' AND expires_at > {now}"))  # type: ignore[arg-type]

    def places(self, server: Process) -> list[str]:
        """The clusters that are its own now."""
        return sorted(r.partition(":")[2] for r, who in self.holders().items() if who == server.called and ":" in r)

    def shared(self, *servers: Process) -> bool:
        """Whether all four roles are held, evenly, by these servers."""
        held = list(self.holders().values())
        counts = [held.count(s.called) for s in servers]
        return len(held) == 4 == sum(counts) and max(counts) - min(counts) <= 1

    # The work ---------------------------------------------------------------------------------------------------------

    def stream(self, through: Process, jobs: int, seed: int = 1) -> Stream:
        return Stream(self, through, work.make(random.Random(seed), jobs))

    def verdict(self, through: Process, everything: list[work.Work]) -> judge.Verdict:
        with through.tide() as tide:
            export.write(self.report, tide, everything, export.journals(self.data / "clusters"))
        return judge.judge_directory(self.report)

    def foreign(self) -> list[str]:
        """Changes of a cluster's rows by a server that did not hold it then, attempts made by one that did not place, and
        leases changed by others than who had or took them. Empty where the leases hold."""
        return foreign(self.rows("SELECT seq, who, tab, op, cluster, old, new, at FROM audit ORDER BY seq"))


def foreign(audit: list[tuple[Any, ...]]) -> list[str]:
    holder: dict[str, str] = {}
    out = []
    for seq, who, tab, op, cluster, old, new, at in audit:
        server = who.removeprefix("tidegrid ")
        if tab == "leases":
            if op == "UPDATE" and (why := _wrong(server, old, new, at)):
                out.append(f"{seq} {server} {why}: {old} -> {new}")
            holder[new["role"]] = new["holder"]
            continue
        if tab == "clusters" and op != "UPDATE":
            continue  # made with the network document
        role = "submit" if (tab, op) == ("attempts", "INSERT") else f"cluster:{cluster}"
        if holder.get(role) != server:
            out.append(f"{seq} {server} changed {tab} ({op}) of {role}, which {holder.get(role) or 'nobody'} holds")
    return out


def _wrong(server: str, old: dict[str, Any], new: dict[str, Any], at: Any) -> str:
    now = at.timestamp() * 1e6
    kept = {k: v for k, v in new.items() if k in ("holder", "token", "expires_at")}
    if kept == {k: old[k] for k in kept}:
        return ""  # bound to its place
    if new["holder"] == "" and old["holder"] == server and new["token"] == old["token"]:
        return ""  # given up
    if new["holder"] != server:
        return "changed another's lease"
    if new["token"] == old["token"]:
        if new["expires_at"] == 0:
            return ""  # its own, of an earlier life
        return "" if old["holder"] == server and old["expires_at"] > now - 1e6 else "extended what was not its own"
    taken = new["token"] == old["token"] + 1 and (old["expires_at"] <= now or not old["holder"])
    return "" if taken else "took what was another's"


class Stream:
    """Jobs that come all the while, through one server's API."""

    def __init__(self, fleet: Fleet, through: Process, everything: list[work.Work]) -> None:
        self.fleet, self.through, self.everything = fleet, through, everything
        self.tide = through.tide()
        self.submitter = work.Submitter(self.tide, random.Random(2), fleet.witness)
        self.submitter.start()
        self._next = 0

    def give(self, count: int, *places: str) -> None:
        """places: where they have to run, where that matters."""
        upto = self._next + count
        self.everything[self._next : upto] = [replace(w, ordered=places) for w in self.everything[self._next : upto]]
        self.submitter.give(self.everything[self._next : upto])
        self._next = upto

    def finish(self, timeout_s: float) -> None:
        """All given, all acknowledged, all ended."""
        self.give(len(self.everything) - self._next)
        self.submitter.close()
        self.submitter.join(timeout_s)
        assert self.submitter.failure is None, self.submitter.failure
        assert not self.submitter.is_alive(), "the work was not acknowledged in time"
        if not processes.until(self._over, timeout_s, 0.5):
            left = [(j.id, str(j.state), j.reason) for j in self.tide.jobs(page=200) if not j.final]
            raise AssertionError(f"{len(left)} jobs have not ended: {left[:10]}; {self.fleet.holders()}")

    def _over(self) -> bool:
        return all(j.final for j in self.tide.jobs(page=200))


def within(seconds: float, ask: Callable[[], bool], what: str) -> float:
    """Seconds until it came true."""
    began = time.monotonic()
    assert processes.until(ask, seconds, 0.02), f"not within {seconds:g} s: {what}"
    return time.monotonic() - began


STOP, CONT, KILL = signal.SIGSTOP, signal.SIGCONT, signal.SIGKILL
