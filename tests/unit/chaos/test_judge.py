"""The judge finds every kind of violation in made-up runs, and none in a clean one."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.chaos import judge

ROOT = Path(__file__).resolve().parents[3]
T0 = 1_700_000_000_000_000  # µs


def iso(us: int) -> str:
    return f"2023-11-14T22:13:{20 + (us - T0) // 1_000_000:02d}.{(us - T0) % 1_000_000:06d}Z"


def clean() -> dict[str, Any]:
    """Two plain jobs, and one with two tasks; each ran 0.5 s, in a batch script 20 ms longer."""
    witness, usage, journals, jobs = [], [], [], []
    for i, (token, tasks) in enumerate([("a", [0]), ("b", [0]), ("c", [0, 1])]):
        jobs.append({"token": token, "tasks": tasks, "restartable": False, "expect": "succeeded", "job": f"job-{token}",
                     "state": "succeeded"})  # fmt: skip
        for task in tasks:
            start, end = T0 + i * 100_000, T0 + i * 100_000 + 520_000
            nonce = f"att-{token}/{i + 1}/{task}"
            witness.append(f"start {token} {task} {nonce} {(start + 15_000) * 1000} 77 10")
            witness.append(f"end {token} {task} {nonce} {(end - 5_000) * 1000} 77")
            usage.append({"attempt": f"att-{token}", "task": task, "restart": 0, "segment": 0, "revision": 0,
                          "cluster": "east", "native_id": str(i + 1), "estimated": False, "started_at": iso(start),
                          "ended_at": iso(end), "elapsed_ms": 520})  # fmt: skip
            journals.append({"cluster": "east", "attempt": f"att-{token}", "native_id": str(i + 1), "task": task,
                             "started_us": start, "ended_us": end, "exit": 0, "reason": "ok"})  # fmt: skip
    return {"witness": witness, "jobs": jobs, "usage": usage, "journals": journals, "check": {"balanced": True}}


def again(run: dict[str, Any], *, after_ms: int) -> None:
    """Job a runs a second time, in another attempt that the supervisor knows and that is charged."""
    start, end = T0 + after_ms * 1000, T0 + after_ms * 1000 + 520_000
    run["witness"] += [f"start a 0 att-z/9/0 {(start + 15_000) * 1000} 78 10", f"end a 0 att-z/9/0 {(end - 5_000) * 1000} 78"]
    run["usage"].append({**run["usage"][0], "attempt": "att-z", "started_at": iso(start), "ended_at": iso(end)})
    run["journals"].append({**run["journals"][0], "attempt": "att-z", "native_id": "9", "started_us": start, "ended_us": end})


def test_a_clean_run_has_no_violation() -> None:
    v = judge.judge(**clean())
    assert v.violations == []
    assert v.counts["executions"] == 4 and v.counts["clocks_compared"] == 4
    assert v.counts["clock_max_ms"] == 10.0  # 520 charged, 500 + 10 on the job's own clock


def not_ended(run: dict[str, Any]) -> None:
    run["jobs"][0]["state"] = "queued"


def ended_otherwise(run: dict[str, Any]) -> None:
    run["jobs"][0]["state"] = "failed"


def lost(run: dict[str, Any]) -> None:
    run["witness"] = [w for w in run["witness"] if not w.startswith("end c 1 ")]


def overlap(run: dict[str, Any]) -> None:
    again(run, after_ms=300)
    run["jobs"][0]["restartable"] = True


def unlicensed(run: dict[str, Any]) -> None:
    again(run, after_ms=2000)


def early_restart(run: dict[str, Any]) -> None:
    again(run, after_ms=300)
    run["jobs"][0]["restartable"] = True
    run["witness"].pop(1)


def submitted_twice(run: dict[str, Any]) -> None:
    run["jobs"].append(dict(run["jobs"][0], job="job-other"))


def unknown(run: dict[str, Any]) -> None:
    run["witness"].append(f"start zzz 0 att-q/1/0 {T0 * 1000} 5 10")


def malformed(run: dict[str, Any]) -> None:
    run["witness"].append("start a 0 att-")


def unbilled(run: dict[str, Any]) -> None:
    run["usage"].pop()


def overbilled(run: dict[str, Any]) -> None:
    run["usage"].append({**run["usage"][0], "attempt": "att-never"})


def overbilled_twice(run: dict[str, Any]) -> None:
    run["usage"].append({**run["usage"][0], "revision": 1})


def overbilled_refused(run: dict[str, Any]) -> None:
    run["journals"].append({**run["journals"][0], "attempt": "att-r", "exit": 75, "native_id": "12"})
    run["usage"].append({**run["usage"][0], "attempt": "att-r"})


def usage_differs(run: dict[str, Any]) -> None:
    run["usage"][0]["ended_at"] = iso(T0 + 520_001)


def usage_differs_estimate(run: dict[str, Any]) -> None:
    run["usage"][0]["estimated"] = True


def clock(run: dict[str, Any]) -> None:
    run["witness"][0] = run["witness"][0].replace(" 77 10", " 77 800")


def journal_unbalanced(run: dict[str, Any]) -> None:
    run["check"] = {"balanced": False}


@pytest.mark.parametrize(
    "spoil",
    [not_ended, ended_otherwise, lost, overlap, unlicensed, early_restart, submitted_twice, unknown, malformed, unbilled, overbilled,
     overbilled_twice, overbilled_refused, usage_differs, usage_differs_estimate, clock, journal_unbalanced],
    ids=lambda f: f.__name__,
)  # fmt: skip
def test_each_violation_is_found(spoil: Any) -> None:
    run = copy.deepcopy(clean())
    spoil(run)
    kinds = set(judge.judge(**run).kinds)
    wanted = next(k for k in sorted(KINDS, key=len, reverse=True) if spoil.__name__.startswith(k))
    also = {"usage_differs", "clock"} if spoil is overbilled_twice else set()
    assert kinds == {wanted} | also


KINDS = ("not_ended", "ended_otherwise", "lost", "overlap", "unlicensed", "early_restart", "submitted_twice", "unknown", "malformed",
         "unbilled", "overbilled", "usage_differs", "clock", "journal_unbalanced")  # fmt: skip


def test_a_licensed_restart_after_a_witnessed_end_is_fine() -> None:
    run = clean()
    again(run, after_ms=2000)
    run["jobs"][0]["restartable"] = True
    run["witness"].pop(1)  # the first run was killed: only the supervisor knows its end
    assert judge.judge(**run).violations == []


def test_a_run_in_no_record_had_ended_when_its_sleep_was_over_without_a_word() -> None:
    for after_ms, kinds in ((1000, {"early_restart"}), (2000, set())):
        run = clean()
        again(run, after_ms=after_ms)
        run["jobs"][0] |= {"restartable": True, "seconds": 0.5}
        run["witness"].pop(1)
        run["journals"][0]["native_id"] = run["usage"][0]["native_id"] = "77"  # of another launch
        assert set(judge.judge(**run).kinds) & {"early_restart"} == kinds


@pytest.mark.parametrize("how", [{"exit": 75}, {"exit": 143, "reason": "cancelled", "fence": "server:3"},
                                 {"exit": 143, "reason": "cancelled", "fence": "", "ended_us": T0 + 5_640},
                                 {"exit": 143, "reason": "cancelled", "fence": "12:n", "let_start": False}])
def test_a_refused_run_is_free(how: dict[str, Any]) -> None:
    run = clean()
    run["journals"].append({**run["journals"][0], "attempt": "att-r", "native_id": "12", **how})
    assert judge.judge(**run).violations == []


def test_a_run_that_worked_is_never_free() -> None:
    run = clean()
    run["journals"][0]["fence"] = "server:3"
    run["usage"].pop(0)
    assert set(judge.judge(**run).kinds) == {"unbilled"}


def test_a_run_that_was_cancelled_later_or_had_its_fence_is_not_free() -> None:
    for how in ({"fence": "", "ended_us": T0 + 200_000}, {"fence": "12:n", "ended_us": T0 + 5_640},
                {"fence": "12:n", "let_start": True}):  # fmt: skip
        run = clean()
        run["journals"].append({**run["journals"][0], "attempt": "att-r", "native_id": "12", "exit": 143, "reason": "cancelled", **how})
        assert set(judge.judge(**run).kinds) == {"unbilled"}


def test_hours_of_one_run_add_up() -> None:
    run = clean()
    whole = run["usage"].pop(0)
    middle = iso(T0 + 200_300)
    run["usage"] += [{**whole, "ended_at": middle, "elapsed_ms": 200},
                     {**whole, "segment": 1, "started_at": middle, "elapsed_ms": 320}]  # fmt: skip
    assert judge.judge(**run).violations == []
    run["usage"][-1]["elapsed_ms"] = 319
    assert set(judge.judge(**run).kinds) == {"usage_differs"}


def test_a_p99_within_the_limit_and_one_beyond_the_most() -> None:
    run = clean()
    run["witness"][0] = run["witness"][0].replace(" 77 10", " 77 1600")
    assert any("limit" in what for kind, what in judge.judge(**run).violations if kind == "clock")


def test_it_stands_alone_and_says_so_with_its_exit_status(tmp_path: Path) -> None:
    run = clean()
    (tmp_path / "witness").write_text("\n".join(run.pop("witness")) + "\n")
    for name, value in run.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(value))
    alone = (
        "import sys; from tests.chaos import bills, judge, runs, slurm_bills; "
        "sys.exit(any(m.split('.')[0] == 'tidegrid' for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", alone], cwd=ROOT, check=False).returncode == 0

    def call() -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "tests.chaos.judge", str(tmp_path)]
        return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)

    assert call().returncode == 0
    (tmp_path / "check.json").write_text('{"balanced": false}')
    assert call().returncode == 1 and "journal_unbalanced" in call().stdout
    (tmp_path / "check.json").unlink()
    assert call().returncode == 2
