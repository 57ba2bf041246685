"""Server processes that share one PostgreSQL: one is killed, one is stopped and wakes up, and nobody notices but by time.

Every row that belongs to a role is audited in the database: who wrote it, and who held the role then. The jobs' own witness file
is judged as in tests/chaos. A control without the check of the token has to show what the check prevents.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.chaos.judge import Verdict
from tests.parts.postgres import Postgres
from tests.parts.several import CONT, KILL, ROOT, STOP, Fleet, foreign, within

from tidegrid.domain.errors import TideError

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(180)]
LEASE = 2.0
SLACK = 20.0  # beyond the lease, for a busy machine; what it took is printed
POINTS = ("submit", "unspool", "transaction")


@pytest.fixture
def fleet(tmp_path: Path, postgres: Postgres, postgres_template: str, request: pytest.FixtureRequest) -> Iterator[Fleet]:
    url = postgres.database(postgres_template)
    made = Fleet(tmp_path, postgres, url, lease=LEASE, check=getattr(request, "param", "on") == "on")
    try:
        yield made
    finally:
        print("deadlocks:", made.deadlocks())
        made.end()
        postgres.drop(url)


def judged(verdict: Verdict) -> None:
    """Nothing lost, doubled or charged wrongly. How far charged time is from the jobs' own clocks is chaos's to judge: here other
    processes may have the machine."""
    print("judge:", verdict.counts)
    assert [v for v in verdict.violations if v[0] != "clock"] == []


def test_one_of_three_is_killed_and_the_others_take_over_within_the_lease(fleet: Fleet) -> None:
    a, b, c = fleet.start("a", "b", "c")
    within(30, lambda: fleet.shared(a, b, c), "the roles are shared evenly")
    stream = fleet.stream(b, 60)
    stream.give(20)
    time.sleep(1.0)
    lost = [role for role, server in fleet.holders().items() if server == a.called]
    assert lost
    a.send(KILL)
    stream.give(20)
    took = within(LEASE + SLACK, lambda: fleet.shared(b, c), f"{lost} are taken over")
    print(f"killed with {lost}: taken over after {took:.2f} s, lease {LEASE:g} s")
    a.end()
    a.start()
    within(30, lambda: fleet.shared(a, b, c), "the one that came back gets its share")
    stream.finish(90)
    judged(fleet.verdict(b, stream.everything))
    assert fleet.foreign() == []
    with c.tide() as tide:
        found = tide.servers()
        assert {s["name"] for s in found["items"] if s["live"]} == {a.called, b.called, c.called}
        assert sorted(r["role"] for s in found["items"] for r in s["roles"]) == sorted(fleet.holders())
        assert found["free"] == []


def test_one_that_was_stopped_changes_nothing_when_it_wakes_up(fleet: Fleet) -> None:
    """Stopped at a random moment, before a submission leaves, before permits are given, and in the middle of a transaction."""
    a, b = fleet.start("a", "b")
    within(30, lambda: fleet.shared(a, b), "the roles are shared evenly")
    stream = fleet.stream(b, 200)
    faults = {}
    for point in ("anywhere", *POINTS):
        within(30, lambda: fleet.shared(a, b), "the roles are shared evenly")
        if point == "anywhere":
            stream.give(15)
            a.send(STOP)
        else:
            (a.control / f"stop-at-{point}").touch()
            for _ in range(45):
                stream.give(1, *fleet.places(a))
                time.sleep(0.2)
                if a.stopped():
                    break
        within(20, a.stopped, f"it stops at {point}")
        slept = time.monotonic()
        stream.give(5)
        took = within(LEASE + SLACK, lambda: set(fleet.holders().values()) == {b.called} and len(fleet.holders()) == 4, "b has all")
        time.sleep(max(0.0, LEASE * 1.5 - (time.monotonic() - slept)))
        before = fleet.rows("SELECT coalesce(max(seq), 0) FROM audit")[0][0]
        a.send(CONT)
        faults[point] = (round(took, 2), round(time.monotonic() - slept, 2), before)
    within(30, lambda: fleet.shared(a, b), "the one that woke up gets its share again")
    stream.finish(90)
    print("stopped (taken over after s, slept s, audit position):", faults)
    assert (a.control / "stopped").read_text().split() == list(POINTS)
    assert a.said("lease.lost") >= len(faults), "it has heard of what it lost"
    judged(fleet.verdict(b, stream.everything))
    assert fleet.foreign() == []


@pytest.mark.parametrize("fleet", ["off"], indirect=True)
def test_without_the_check_of_the_token_a_stopped_server_writes_what_is_anothers(fleet: Fleet) -> None:
    """The control: the audit above can fail."""
    a, b = fleet.start("a", "b")
    # nobody gives anything up here: the second server has what the first has lost
    stream = fleet.stream(b, 30)
    stream.give(10)
    time.sleep(0.5)
    a.send(STOP)
    stream.give(10)
    within(LEASE + SLACK, lambda: set(fleet.holders().values()) == {b.called} and len(fleet.holders()) == 4, "b has all")
    time.sleep(1.0)
    a.send(CONT)
    stream.give(10)
    within(20, lambda: bool(fleet.foreign()), "the one that woke up writes")
    wrong = fleet.foreign()
    print(f"{len(wrong)} foreign writes, the first: {wrong[0]}")
    assert any("changed" in w and a.called in w for w in wrong)


def test_another_data_directory_is_refused(fleet: Fleet, tmp_path: Path) -> None:
    fleet.start("a")
    fleet.data = tmp_path / "elsewhere"
    with pytest.raises(RuntimeError, match="share that directory"):
        fleet.start("b")
    fleet.data = tmp_path / "data"


def test_the_audit_sees_each_kind_of_wrong() -> None:
    from datetime import UTC, datetime

    at = datetime(2027, 1, 1, tzinfo=UTC)
    us = int(at.timestamp() * 1e6)
    a = {"role": "cluster:x", "holder": "a", "token": 1, "expires_at": us + 1000, "place": ""}
    b = {**a, "holder": "b", "token": 2, "expires_at": us + 9000}
    took = (1, "tidegrid a", "leases", "UPDATE", None, {**a, "holder": "", "token": 0, "expires_at": 0}, a, at)
    assert foreign([took]) == []
    assert foreign([took, (2, "tidegrid a", "attempts", "UPDATE", "x", {}, {}, at)]) == []
    assert "changed attempts" in foreign([took, (2, "tidegrid b", "attempts", "UPDATE", "x", {}, {}, at)])[0]
    assert "changed attempts" in foreign([took, (2, "tidegrid a", "attempts", "INSERT", "x", {}, {}, at)])[0]
    assert "took" in foreign([took, (2, "tidegrid b", "leases", "UPDATE", None, a, b, at)])[0]
    assert "another's" in foreign([took, (2, "tidegrid b", "leases", "UPDATE", None, a, {**a, "expires_at": 1}, at)])[0]
    late = {**a, "expires_at": us - 5_000_000}
    assert "extended" in foreign([took, (2, "tidegrid a", "leases", "UPDATE", None, late, a, at)])[0]


def test_the_how_to_works_as_typed(fleet: Fleet, tmp_path: Path) -> None:
    """But for the places: ports are free ones, directories this test's."""
    text = (ROOT / "docs/howto/run-several-servers.md").read_text()
    blocks = [re.sub(r"/srv/tide", str(tmp_path / "tide"), b) for b in re.findall(r"^```sh\n(.*?)^```$", text, re.S | re.M)]
    up = [line.removesuffix(" &") for line in blocks[0].splitlines() if line.startswith("tide up")]
    assert len(up) == 2
    environment = {**os.environ, "COLUMNS": "200", "DB": fleet.database, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    started = []
    try:
        for line, home in zip(up, ("a", "b"), strict=True):
            command = "exec " + re.sub(r"--port \d+", "--port 0", line)
            started.append(subprocess.Popen(["sh", "-c", command], env=environment, stderr=subprocess.DEVNULL))
            within(60, (tmp_path / "tide" / home / "server.json").exists, "it comes up")
        said = subprocess.run(["sh", "-c", blocks[1]], env=environment, capture_output=True, text=True, check=True)
        assert said.stdout.count("yes") == 2 and "submit" in said.stdout, said.stdout
        started[0].terminate()  # told to end, it gives up what it has
        assert started[0].wait(30) == 0
        within(3, lambda: fleet.holders().keys() == {"submit"}, "the other takes it at once, not after its lease")
    finally:
        for process in started:
            process.kill()
            process.wait()


def test_a_request_to_a_server_that_holds_nothing_is_served(fleet: Fleet) -> None:
    """Whichever server is asked: the job runs, and its events and outputs are everybody's."""
    a, b = fleet.start("a", "b")
    within(30, lambda: fleet.shared(a, b), "the roles are shared evenly")
    placing = fleet.holders()["submit"]
    (other,) = [s for s in (a, b) if s.called != placing]
    with other.tide() as tide, (a if other is b else b).tide() as same:
        script = {"params": {"script": "echo hello >said.txt; echo log"}, "resources": {"cores": 1, "memory_mib": 64, "wall_s": 60}}
        jobs = [tide.submit("script", outputs=["said.txt"], key=f"k{i}", **script) for i in range(6)]
        again = same.submit("script", outputs=["said.txt"], key="k0", **script)
        assert again.id == jobs[0].id, "one key, one job, on whichever server"
        ended = [tide.wait(j.id, timeout=60) for j in jobs]
        assert all(j.succeeded for j in ended)
        where = {tide.job(j.id).cluster for j in jobs}
        for t in (tide, same):
            assert [o.path for o in t.outputs(jobs[0].id) if o.state == "done" and o.path == "said.txt"] == ["said.txt"]
        kinds = [e.kind for e in same.events_page(job=jobs[0].id)]
        assert kinds[0] == "job.created" and "attempt.state" in kinds
        print("ran on", where)
    with pytest.raises(TideError):
        other.tide().job("job-0000000000001")
