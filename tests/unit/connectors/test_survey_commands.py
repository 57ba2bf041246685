"""The parsers of what discovery asks, on what real Slurm said and on what later releases say."""

from __future__ import annotations

import pytest
from tests.unit.connectors.recorded import recorded

from tidegrid.connectors.contract import SiteUnsure
from tidegrid.connectors.slurm.shell import Output
from tidegrid.connectors.slurm.survey_commands import (
    Associations,
    DefaultAccount,
    Identity,
    ListQos,
    Places,
    ShowNodes,
    ShowPartitions,
    Tools,
    pairs,
)


def said(text: str) -> Output:
    return Output(0, text, "")


def test_partitions_with_their_limits() -> None:
    cpu, debug = ShowPartitions().parse(recorded("partitions_alpha"))
    assert (cpu.name, cpu.state, cpu.default, cpu.nodes, cpu.max_time_s, cpu.max_nodes) == ("cpu", "UP", True, 4, 172_800, None)
    assert (debug.name, debug.default, debug.max_time_s, debug.max_nodes) == ("debug", False, 1800, 1)
    assert cpu.accounts == cpu.qos == cpu.groups == ()
    # 23.11 and later: other keys between them; who may use it is named
    (later,) = ShowPartitions().parse(
        said(
            "PartitionName=gpu AllowGroups=hpc,gpu DenyAccounts=guests AllowQos=normal,long AllocNodes=ALL Default=NO QoS=gpu "
            "DefaultTime=NONE DisableRootJobs=NO ExclusiveUser=NO ExclusiveTopo=NO GraceTime=0 Hidden=YES MaxNodes=UNLIMITED "
            "MaxTime=UNLIMITED MinNodes=0 LLN=NO MaxCPUsPerNode=UNLIMITED MaxCPUsPerSocket=UNLIMITED NodeSets=gpu "
            "Nodes=g[1-8] PriorityJobFactor=1 PriorityTier=1 RootOnly=NO State=DRAIN TotalCPUs=1024 TotalNodes=8 "
            "TRES=cpu=1024,mem=8T,node=8,billing=1024,gres/gpu=64 TRESBillingWeights=CPU=1.0,Mem=0.25G\n"
        )
    )
    assert (later.groups, later.accounts, later.denied_accounts, later.qos) == (("hpc", "gpu"), (), ("guests",), ("normal", "long"))
    assert later.hidden and later.state == "DRAIN" and later.max_time_s is None
    assert ShowPartitions().parse(said("No partitions in the system\n")) == []


def test_nodes_of_several_kinds() -> None:
    nodes = {n.name: n for n in ShowNodes().parse(recorded("nodes_gamma"))}
    assert nodes["gamma1"].gpus == (("a100", 4),) and nodes["gamma3"].gpus == (("v100", 8),) and nodes["gamma4"].gpus == ()
    assert (nodes["gamma3"].cpus, nodes["gamma3"].memory_mib, nodes["gamma3"].arch) == (40, 384_000, "x86_64")
    assert all(n.usable for n in nodes.values()) and nodes["gamma4"].partitions == ("cpu",)
    beta = {n.name: n for n in ShowNodes().parse(recorded("nodes_beta"))}
    assert beta["beta1"].features == ("rome",) and beta["beta7"].partitions == ("short", "long", "spare")
    assert not beta["beta2"].usable and beta["beta2"].state == "IDLE+DRAIN"  # its reason holds blanks and an equals sign


def test_nodes_of_later_releases_and_untyped_gpus() -> None:
    first, second = ShowNodes().parse(
        said(
            "NodeName=n1 Arch=aarch64 CoresPerSocket=64 CPUAlloc=0 CPUEfctv=252 CPUTot=256 CPULoad=0.01 "
            "AvailableFeatures=kunpeng,ib ActiveFeatures=kunpeng,ib Gres=gpu:4(S:0-1),shard:16 GresDrain=N/A NodeAddr=n1 "
            "NodeHostName=n1 Version=24.05.3 OS=Linux 5.14.0-427.el9.aarch64 #1 SMP Wed Feb 1 RealMemory=515000 AllocMem=0 "
            "FreeMem=1 Sockets=2 Boards=1 MemSpecLimit=4096 State=MIXED+PLANNED ThreadsPerCore=2 TmpDisk=0 Weight=1 "
            "Owner=N/A MCS_label=N/A Partitions=arm,all BootTime=None Comment=Sockets=9 are not counted Topology=default:s1\n"
            "NodeName=n2 CoresPerSocket=8 CPUAlloc=0 CPUEfctv=8 CPUTot=8 Gres=gpu:nvidia_h100_80gb_hbm3:8(S:0-1) RealMemory=1000 "
            "State=DOWN*+NOT_RESPONDING ThreadsPerCore=1 Partitions=all\n"
        )
    )
    assert (first.arch, first.cpus, first.threads, first.memory_mib) == ("aarch64", 252, 2, 510_904)
    assert first.gpus == (("", 4),) and first.usable and first.features == ("kunpeng", "ib")
    assert second.gpus == (("nvidia_h100_80gb_hbm3", 8),) and not second.usable and second.arch == ""


def test_accounts_and_qos_the_user_may_use() -> None:
    rows = Associations("alpha").parse(recorded("assoc"))
    assert {r.account: r.qos for r in rows} == {
        "chemistry": ("normal", "urgent"), "physics": ("normal", "urgent"), "root": ("normal",),
    }  # fmt: skip
    (limited,) = Associations("x").parse(said("bio|long|normal,low|low|200|2-00:00:00\n"))
    assert (limited.partition, limited.default_qos, limited.max_submit, limited.max_wall_s) == ("long", "low", 200, 172_800)
    assert DefaultAccount().parse(recorded("default_account")) == "physics"
    assert DefaultAccount().parse(said("")) == ""
    assert {(q.name, q.priority) for q in ListQos().parse(recorded("qos"))} == {("normal", 0), ("urgent", 100)}
    with pytest.raises(SiteUnsure, match="supported accounting_storage"):
        Associations("beta").parse(recorded("assoc_disabled"))


def test_who_and_where_we_are() -> None:
    me = Identity().parse(recorded("identity"))
    assert (me.user, me.uid, me.home, me.arch, me.time_zone) == ("root", 0, "/root", "x86_64", "Etc/UTC")
    assert Identity().parse(said("tide\n1007\ntide hpc\n/home/tide/\nx86_64\nlogin2\n\n")).time_zone == ""
    with pytest.raises(SiteUnsure):
        Identity().parse(said("tide\n"))
    tools = Tools().parse(recorded("tools"))
    assert tools["sbatch"] == "/usr/bin/sbatch"
    assert Tools().parse(said("".join(f"{n} \n" for n in tools)))["sbatch"] == ""
    with pytest.raises(SiteUnsure):
        Tools().parse(said("This account is currently not available.\n"))


def test_places_for_the_root_and_whether_nodes_may_see_them() -> None:
    assert [p.path for p in Places().parse(recorded("places"))] == ["/root"]
    scratch, home = Places().parse(said("lustre\t1048576\t/scratch/tide/\nnonsense\nxfs\t1024\t/home/tide\nxfs\t1024\t/scratch/tide\n"))
    assert (scratch.path, scratch.free, scratch.networked, home.networked) == ("/scratch/tide", 1 << 30, True, False)


@pytest.mark.parametrize("parser", [ShowPartitions(), ShowNodes(), Associations("a"), ListQos()])
def test_what_is_not_exactly_an_answer_is_none(parser: object) -> None:
    with pytest.raises(SiteUnsure):
        parser.parse(said("banner of the day\n"))  # type: ignore[attr-defined]


def test_values_with_blanks_belong_to_their_key() -> None:
    assert pairs("A=1 OS=Linux 6.1 #1 B=x=y  C=") == {"A": "1", "OS": "Linux 6.1 #1", "B": "x=y", "C": ""}
