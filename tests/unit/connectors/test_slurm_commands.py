"""The parsers of what every tick asks, on what real Slurm said."""

from __future__ import annotations

import pytest
from tests.unit.connectors.recorded import recorded

from tidegrid.connectors.contract import SiteRefused, SiteUnsure
from tidegrid.connectors.slurm import facts
from tidegrid.connectors.slurm.commands import Config, Load, Ping, Sacct, Sbatch, Scancel, Sinfo, Squeue
from tidegrid.connectors.slurm.refusals import stuck
from tidegrid.connectors.slurm.shell import Output

SBATCH = Sbatch("/site/job", "job.sh", ())


def sent(answer: Output) -> Output:
    """What `Sbatch.command` makes of sbatch's own answer."""
    return Output(0, f"{answer.stdout}sent {answer.rc}\n", answer.stderr)


def test_squeue_shows_our_jobs_with_their_tasks_and_nobody_elses() -> None:
    rows = Squeue().parse(recorded("squeue"))
    assert {r.name for r in rows} == {"tg-done", "tg-failed", "tg-killed", "tg-array", "tg-held", "tg-long", "tg-gone"}
    by = {r.name: r for r in rows}
    assert (by["tg-done"].state, by["tg-done"].status, by["tg-done"].allocated) == ("COMPLETED", 0, True)
    assert by["tg-failed"].status == 3 << 8 and by["tg-killed"].status == 9
    assert (by["tg-gone"].state, by["tg-gone"].allocated) == ("CANCELLED", False)
    assert by["tg-held"].reason == "JobHeldUser" and stuck(by["tg-held"].reason) == ""
    assert by["tg-long"].reason == "PartitionTimeLimit" and stuck(by["tg-long"].reason) == "site.time_limit"
    assert by["tg-long"].start is None
    array = [r for r in rows if r.name == "tg-array"]
    assert {(r.state, r.tasks) for r in array} == {
        ("RUNNING", (0,)), ("RUNNING", (2,)), ("FAILED", (1,)), ("PENDING", (3, 4, 5)),
    }  # fmt: skip
    assert {r.asked for r in array} == {tuple(range(6))} and len({r.base for r in array}) == 1
    assert all(r.submitted is not None and r.submitted > 1_700_000_000 for r in rows)


def test_a_queue_cut_short_is_no_answer() -> None:
    whole = recorded("squeue")
    line = next(x for x in whole.stdout.splitlines() if "tg-array" in x)
    with pytest.raises(SiteUnsure, match="unreadable line"):
        Squeue().parse(Output(0, line[line.index("|") + 1 :], ""))
    with pytest.raises(SiteUnsure, match="no answer in time"):
        Squeue().parse(Output(124, "", ""))


def test_sacct_tells_ends_and_how_they_came() -> None:
    rows = {r.name: r for r in Sacct(0).parse(recorded("sacct"))}
    assert set(rows) == {"tg-done", "tg-failed", "tg-killed", "tg-array", "tg-gone"}
    assert (rows["tg-failed"].code, rows["tg-failed"].signal) == (3, 0)
    assert (rows["tg-killed"].code, rows["tg-killed"].signal) == (0, 9)
    assert rows["tg-gone"].state == "CANCELLED" and not rows["tg-gone"].allocated
    array = rows["tg-array"]
    assert array.tasks == (1,) and array.raw != array.base  # a task has a raw id of its own


def test_jobs_have_no_name_in_accounting_before_slurmdbd_was_told_of_their_start() -> None:
    """Such a row is nobody's; it is read again with its name within the overlap."""
    early = recorded("sacct_early")
    assert "|allocation" in early.stdout and Sacct(0).parse(early) == []


def test_accounting_that_is_off_is_not_an_empty_one() -> None:
    off = recorded("sacct_disabled")
    assert Sacct.disabled(off) and not Sacct.disabled(recorded("sacct"))
    with pytest.raises(SiteUnsure):
        Sacct(0).parse(off)


def test_sinfo_counts_what_is_free_on_nodes_that_are_up() -> None:
    rows = Sinfo().parse(recorded("sinfo_gamma"))
    assert {(r.partition, r.node) for r in rows} == {("gpu", "gamma1"), ("gpu", "gamma2"), ("gpu", "gamma3"), ("cpu", "gamma4")}
    by = {r.node: r for r in rows}
    assert by["gamma1"].gpus == {"a100": 4} and by["gamma3"].gpus == {"v100": 8} and by["gamma4"].gpus == {}
    assert by["gamma3"].used_gpus == 2 and by["gamma3"].cpus == (8, 32, 0, 40) and by["gamma3"].used_mib == 4096
    assert {r.limit_s for r in rows} == {86_400}
    drained = [r for r in Sinfo().parse(recorded("sinfo_beta")) if not r.usable]
    assert {r.node for r in drained} == {"beta2"}
    (load,) = (x for x in facts.loads_of(rows, Load().parse(recorded("load_gamma")), facts.Facts()) if x.partition == "gpu")
    assert load.cores == (168, 160) and load.gpus == (16, 14) and load.largest == (64, 512_000, 8)
    assert load.holes == ((1, 32, by["gamma3"].memory_mib - 4096, 6), (2, 64, by["gamma1"].memory_mib, 4))
    ((left, cores, mib, gpus),) = load.running
    assert (cores, mib, gpus) == (8, 4096, 2) and 0 < left <= 600


def test_the_load_is_everybodys() -> None:
    rows = Load().parse(recorded("load_alpha"))
    assert sum(r.running for r in rows) == 3
    assert {r.wall_s for r in rows if r.running} == {600, 93_840}  # 1-02:03:04 is rounded up to minutes
    assert {r.partition for r in rows} == {"cpu", "debug"}


def test_what_the_cluster_says_of_itself() -> None:
    on, off = (facts.facts_of(Config().parse(recorded(f"config_{c}"))) for c in ("alpha", "gamma"))
    assert (on.name, on.version, on.accounting, off.accounting) == ("alpha", "22.05.8", True, False)
    assert on.kept_s == 300 and on.enforced == {"cores": "none", "memory": "none", "wall_time": "slurm"}
    with pytest.raises(SiteUnsure, match="Unable to contact slurm controller") as silent:
        Config().parse(recorded("down_config"))
    assert silent.value.silent


def test_cgroups_hold_jobs_to_their_memory() -> None:
    config = {"slurm_version": "23.11.4", "taskplugin": "task/cgroup,task/affinity", "constrainramspace": "yes", "constraincores": "yes"}
    assert facts.facts_of(config).enforced == {"cores": "cgroup", "memory": "cgroup", "wall_time": "slurm"}
    config = {"slurm_version": "21.08", "jobacctgatherparams": "OverMemoryKill", "taskplugin": "task/affinity"}
    assert facts.facts_of(config).enforced == {"cores": "affinity", "memory": "polled", "wall_time": "slurm"}


def test_the_probe_knows_up_from_down() -> None:
    Ping().parse(recorded("ping"))
    with pytest.raises(SiteUnsure):
        Ping().parse(recorded("down_ping"))
    with pytest.raises(SiteUnsure, match="Unable to contact"):
        Squeue().parse(recorded("down_squeue"))


def test_cancelling_what_is_gone_is_no_error_and_a_dead_controller_is() -> None:
    Scancel("tg-unknown").parse(recorded("scancel_unknown"))
    with pytest.raises(SiteUnsure) as silent:
        Scancel("tg-x").parse(recorded("down_scancel"))
    assert silent.value.silent


def test_sbatch_says_the_id() -> None:
    assert SBATCH.parse(recorded("sbatch")) > 0
    assert SBATCH.parse(Output(0, "441;alpha\nsent 0\n", "")) == 441  # with the cluster's name, in a federation


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("no_partition", "site.no_partition"), ("account", "site.account"), ("qos", "site.qos"),
        ("node", "site.resources"), ("feature", "site.resources"), ("gres", "site.impossible"),
        ("array", "site.array"), ("option", "site.bad_request"), ("time", "site.bad_request"),
        ("no_script", "site.bad_request"),
    ],
)  # fmt: skip
def test_refusals_are_known_by_what_sbatch_said(name: str, code: str) -> None:
    with pytest.raises(SiteRefused) as refused:
        SBATCH.parse(sent(recorded(f"refused_{name}")))
    assert refused.value.code == code


def test_what_can_never_start_may_be_accepted() -> None:
    for name in ("impossible", "too_many_nodes"):  # EnforcePartLimits=NO
        assert SBATCH.parse(sent(recorded(f"refused_{name}"))) > 0


@pytest.mark.parametrize(
    "said",
    [
        recorded("down_sbatch"),
        Output(1, "", "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"),
        Output(1, "", "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying"),
        Output(1, "", "sbatch: error: Batch job submission failed: Unspecified error"),
        Output(1, "", "sbatch: error: Invalid qos specification\nsbatch: error: Unable to contact slurm controller"),
        Output(0, "", ""),
    ],
)
def test_everything_else_is_in_doubt(said: Output) -> None:
    with pytest.raises(SiteUnsure):
        SBATCH.parse(sent(said))


@pytest.mark.parametrize(
    ("text", "count"),
    [("gres:gpu:v100:2", 2), ("gres/gpu:a100=4", 4), ("gres/gpu:3", 3), ("gres/gpu=3", 3), ("gres:gpu", 1), ("gres/gpu:a100", 1),
     ("gres:gpu:a100:2(S:0),gres:shard:8", 2), ("gres/shard:4", 0), ("N/A", 0), ("", 0)],
)  # fmt: skip
def test_gpus_that_jobs_asked_for_count_where_the_cluster_does_not_account_for_them(text: str, count: int) -> None:
    (row,) = Load().parse(Output(0, f"gpu|RUNNING|1:00|2:00|8|cpu=8,mem=4G,node=2|2|{text}|N/A|\n", ""))
    assert row.gpus == 2 * count
