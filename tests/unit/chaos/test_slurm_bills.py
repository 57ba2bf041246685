"""The judge of Slurm's bills finds every kind of violation in made-up runs, and knows what a forgetful controller excuses."""

from __future__ import annotations

from typing import Any

import pytest
from tests.chaos import judge
from tests.chaos.slurm_export import rows_of_jobcomp, rows_of_sacct

T0 = 1_700_000_000  # s
SECOND = 1_000_000


def iso(s: float) -> str:
    us = round((s - T0) * SECOND)
    return f"2023-11-14T22:{13 + (20 + us // SECOND) // 60}:{(20 + us // SECOND) % 60:02d}.{us % SECOND:06d}Z"


def job(run: dict[str, Any], token: str, cluster: str, start: float, seconds: float, **how: Any) -> None:
    """A job that ran at `cluster` (alpha has accounting), was recorded and charged, to whole seconds."""
    nonce = f"att-{token}/{len(run['jobs']) + 1}/{token}/{cluster}"
    run["jobs"].append({"token": token, "tasks": [0], "restartable": False, "job": f"job-{token}", "state": "succeeded"} | how)
    run["witness"] += [f"start {token} 0 {nonce} {int((start + 0.2) * 1e9)} 7 100", f"end {token} 0 {nonce} {int((start + seconds) * 1e9)} 7"]
    begin, end = int(start), int(start + seconds)
    witness = "accounting" if cluster == "alpha" else "controller"
    record = {"cluster": cluster, "attempt": f"att-{token}", "native_id": str(len(run["jobs"])), "task": 0, "fence": "",
              "started_us": begin * SECOND, "ended_us": end * SECOND, "exit": 0, "reason": "COMPLETED", "cores": 2,
              "witness": witness}  # fmt: skip
    run["journals"].append(record)
    run["usage"].append({"cluster": cluster, "attempt": f"att-{token}", "task": 0, "restart": 0, "segment": 0, "revision": 0,
                         "native_id": record["native_id"], "estimated": witness == "controller", "source": witness, "cores": 2,
                         "started_at": iso(begin), "ended_at": iso(end), "elapsed_ms": (end - begin) * 1000})  # fmt: skip


def outage(cluster: str, kind: str, begin: float, seconds: float | None) -> dict[str, Any]:
    end = None if seconds is None else int((begin + seconds) * SECOND)
    return {"cluster": cluster, "kind": kind, "begin_us": int(begin * SECOND), "end_us": end}


def clean() -> dict[str, Any]:
    run: dict[str, Any] = {"witness": [], "jobs": [], "usage": [], "journals": [], "check": {"balanced": True}, "outages": []}
    job(run, "a", "alpha", T0 + 1, 3)
    job(run, "b", "beta", T0 + 2, 4)
    return run


def kinds(run: dict[str, Any]) -> set[str]:
    return set(judge.judge(**run).kinds)


def test_a_clean_run_has_no_violation() -> None:
    v = judge.judge(**clean())
    assert v.violations == [] and v.counts["clocks_undisturbed"] == 2


def longer(run: dict[str, Any]) -> None:
    run["usage"][0] |= {"ended_at": iso(T0 + 5), "elapsed_ms": 4000}


def cores(run: dict[str, Any]) -> None:
    run["usage"][1]["cores"] = 1


def estimate(run: dict[str, Any]) -> None:
    run["usage"][0]["estimated"] = True


def nothing(run: dict[str, Any]) -> None:
    run["usage"].pop(0)


def forgotten_and_free(run: dict[str, Any]) -> None:
    run["usage"].pop(0)
    run["journals"].pop(0)


def never_ran(run: dict[str, Any]) -> None:
    run["usage"].append({**run["usage"][1], "attempt": "att-never"})


def refused(run: dict[str, Any]) -> None:
    run["usage"].append({**run["usage"][1], "attempt": "att-late"})
    run["journals"].append({**run["journals"][1], "attempt": "att-late", "exit": 75, "fence": "server:2"})


def firm_without_record(run: dict[str, Any]) -> None:
    run["journals"].pop(0)


def clock(run: dict[str, Any]) -> None:
    run["witness"][1] = run["witness"][1].replace(str(T0 + 4), str(T0 + 7), 1)


@pytest.mark.parametrize(
    ("spoil", "kind"),
    [(longer, "usage_differs"), (cores, "usage_differs"), (estimate, "usage_differs"), (nothing, "unbilled"),
     (forgotten_and_free, "unbilled"), (never_ran, "overbilled"), (refused, "overbilled"),
     (firm_without_record, "usage_differs"), (clock, "clock")],
    ids=lambda f: getattr(f, "__name__", f),
)  # fmt: skip
def test_each_violation_is_found(spoil: Any, kind: str) -> None:
    run = clean()
    spoil(run)
    assert kinds(run) == {kind}


def test_the_clock_may_be_off_by_the_outage_and_no_more() -> None:
    run = clean()
    clock(run)
    run["outages"] = [outage("alpha", "slurmctld hung", T0 + 3, 2)]
    assert kinds(run) == set()
    run["outages"] = [outage("beta", "slurmctld hung", T0 + 3, 2)]
    assert kinds(run) == {"clock"}, "another cluster's outage excuses nothing"


def test_an_end_that_the_controller_forgot_is_charged_as_an_estimate() -> None:
    run = clean()
    run["usage"][1] |= {"source": "provisional", "ended_at": iso(T0 + 7.5), "elapsed_ms": 5500}
    assert kinds(run) == {"usage_differs"}
    run["outages"] = [outage("beta", "controller killed", T0 + 8, 2)]
    v = judge.judge(**run)
    assert v.violations == [] and v.counts["told_to_its_log_only"] == 1


def test_lost_is_for_what_ran_on_the_removed_cluster_and_may_not_run_again() -> None:
    run = clean()
    run["outages"] = [outage("beta", "removed", T0 + 5, None)]
    run["jobs"][1]["state"] = "lost"
    run["witness"].pop()
    run["journals"].pop()
    run["usage"][1] |= {"source": "provisional", "ended_at": iso(T0 + 5), "elapsed_ms": 3000}
    v = judge.judge(**run)
    assert v.violations == [] and v.counts["lost_jobs"] == 1 and v.counts["charged_to_the_last_sign_of_life"] == 1
    run["jobs"][1]["restartable"] = True
    assert kinds(run) == {"lost_although_restartable"}
    run["jobs"][1]["restartable"] = False
    run["usage"][1] |= {"ended_at": iso(T0 + 8)}
    assert kinds(run) == {"overbilled"}, "charged beyond the cluster's end"
    other = clean()
    other["outages"] = [outage("gamma", "removed", T0 + 5, None)]
    other["jobs"][1]["state"] = "lost"
    assert kinds(other) == {"lost_elsewhere"}
    unheard = clean()
    unheard["outages"] = [outage("beta", "removed", T0 + 5, None)]
    unheard["jobs"][1]["state"] = "lost"
    unheard["witness"] = [line for line in unheard["witness"] if unheard["jobs"][1]["token"] not in line]
    del unheard["usage"][1], unheard["journals"][1]
    assert kinds(unheard) == {"lost_elsewhere"}
    unheard["jobs"][1]["let_start"] = ["", "beta"]
    assert kinds(unheard) == set(), "it was killed before its first line"
    unheard["jobs"][1] |= {"let_start": [""], "movable": False}
    assert kinds(unheard) == set(), "its owner wanted that it waits for no permit"


def test_failed_only_where_a_killed_controller_forgot_it() -> None:
    run = clean()
    run["jobs"][0]["state"] = "failed"
    assert kinds(run) == {"ended_otherwise"}
    run["outages"] = [outage("alpha", "controller killed", T0 + 2, 1)]
    assert "ended_otherwise" not in kinds(run)


def test_a_task_killed_before_it_could_say_that_it_ran_is_excused_by_its_record_alone() -> None:
    """An array of two: task 1 ran, task 0 was launched by a controller that forgot it and killed it in its first instants."""
    run: dict[str, Any] = {"witness": [], "jobs": [], "usage": [], "journals": [], "check": {"balanced": True}, "outages": []}
    job(run, "a", "alpha", T0 + 20, 3, tasks=[0, 1], state="failed", attempts=["att-a"])
    run["witness"] = [line.replace(" a 0 ", " a 1 ") for line in run["witness"]]
    run["journals"][0]["task"] = run["usage"][0]["task"] = 1
    early = (T0 + 1) * SECOND
    killed = {**run["journals"][0], "task": 0, "started_us": early, "ended_us": early, "reason": "CANCELLED by 0"}
    run["journals"].append(killed)
    run["outages"] = [outage("alpha", "controller killed", T0 - 30, 10)]
    assert kinds(run) >= {"ended_otherwise"}, "long after the kill nothing is excused"
    run["outages"] = [outage("alpha", "controller killed", T0 - 8, 4)]
    assert "ended_otherwise" not in kinds(run)
    killed["reason"] = "COMPLETED"
    assert "ended_otherwise" in kinds(run)


def test_a_launch_that_a_cluster_forgot_may_be_free_but_not_one_that_came_to_its_end() -> None:
    run: dict[str, Any] = {"witness": [], "jobs": [], "usage": [], "journals": [], "check": {"balanced": True}, "outages": []}
    job(run, "a", "alpha", T0 + 20, 8, restartable=True)
    run["jobs"][0]["seconds"] = 8.0
    free = {**run["usage"][0], "source": "provisional", "estimated": True, "started_at": iso(T0 + 5), "ended_at": iso(T0 + 5), "elapsed_ms": 0}
    run["usage"][0]["restart"] = 1
    run["usage"].append(free)
    run["witness"].insert(0, f"start a 0 att-a/1/first/alpha {int((T0 + 5.2) * 1e9)} 6 100")
    run["outages"] = [outage("alpha", "controller killed", T0 + 8, 2)]
    v = judge.judge(**run)
    assert v.violations == [] and v.counts["forgotten_and_free"] == 1
    run["witness"].insert(1, f"end a 0 att-a/1/first/alpha {int((T0 + 18.5) * 1e9)} 6")
    run["outages"] = []
    assert kinds(run) == {"clock"}


def test_records_are_read_as_slurm_writes_them() -> None:
    sacct = (
        "4|2_1|COMPLETED|0:0|1795494455|1795494456|alpha1|1|tg-0sa\n"
        "6|6|CANCELLED by 0|0:0|None|1795494456|None assigned|0|tg-0sb\n"
        "7|7|RUNNING|0:0|1795494455|Unknown|alpha1|4|tg-0sc\n8|8|COMPLETED|0:0|1|2|alpha1|1|else\n"
    )
    rows = rows_of_sacct(sacct)
    assert [(r["attempt"], r["native_id"], r["task"], r["ended_us"], r["cores"]) for r in rows] == [
        ("att-0sa", "2", 1, 1795494456_000_000, 1), ("att-0sc", "7", 0, None, 4),
    ]  # fmt: skip
    jobcomp = (
        "JobId=3 UserId=root(0) Name=tg-0sa JobState=CANCELLED StartTime=2026-11-24T04:27:33 EndTime=2026-11-24T04:27:33 "
        "NodeList=(null) NodeCnt=0 ProcCnt=0 ExitCode=0:0 \n"
        "JobId=4 UserId=root(0) Name=tg-0sb JobState=FAILED StartTime=2026-11-24T04:27:34 EndTime=2026-11-24T04:27:36 "
        "NodeList=beta1 NodeCnt=1 ProcCnt=2 ArrayJobId=2 ArrayTaskId=1 DerivedExitCode=0:0 ExitCode=3:0 \n"
    )
    (row,) = rows_of_jobcomp(jobcomp)
    assert (row["attempt"], row["native_id"], row["task"], row["exit"], row["cores"]) == ("att-0sb", "2", 1, 3, 2)
    assert row["ended_us"] - row["started_us"] == 2 * SECOND
