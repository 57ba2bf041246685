"""Clusters looked at for real: what discovery finds and proposes, what a check tries, and what each says when something is wrong."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.parts.slurm import running

from tidegrid.catalog import network
from tidegrid.connectors.slurm import check_jobs
from tidegrid.domain.errors import Conflict, InvalidInput, NotFound, TideError
from tidegrid.launch.discovery import Office
from tidegrid.launch.home import prepare
from tidegrid.launch.testbed import Testbed
from tidegrid.launch.testbed.network import install_keys

PRICED = (
    ("region: FILL IN", "region: cn-east"),
    ("supply: FILL IN", "supply: {kind: co_built, marginal_core_hour: 0.02, marginal_gpu_hour: 1}"),
    ("prices: FILL IN", "prices: {core_hour: 0.1, gpu_hour: 4}"),
)


def priced(text: str) -> str:
    for left, right in PRICED:
        text = text.replace(left, right)
    return text


class Desk:
    """An operator with a home and the bed's keys. roots: where the clusters' roots lie."""

    def __init__(self, bed: Testbed, home: Path, roots: Path) -> None:
        prepare(home)
        install_keys(bed, home)
        self.bed, self.home, self.roots, self.office = bed, home, roots, Office(home)

    def wanted(self, name: str, *, ssh: bool = True, **more: Any) -> dict[str, Any]:
        cluster = self.bed.cluster(name)
        way: dict[str, Any] = {"slurm_conf": str(cluster.client_conf), "path": str(cluster.bin)}
        if ssh:
            way = {"url": cluster.ssh.url, "identity": f"{name}-key", "accept_host_key": True}
        return {"root": str(self.roots / name), **way, **more}

    def discover(self, name: str, **more: Any) -> dict[str, Any]:
        return asyncio.run(self.office.discover(self.wanted(name, **more)))

    def check(self, text: str, *, wait_s: float = 60) -> dict[str, Any]:
        (cluster,) = network.parse(text).clusters
        return asyncio.run(self.office.check(cluster, wait_s=wait_s, skew_s=5))


@pytest.fixture
def desk(slurm: Testbed, tmp_path: Path) -> Desk:
    return Desk(slurm, tmp_path / "home", tmp_path / "roots")


def states(report: dict[str, Any]) -> dict[tuple[str, str], str]:
    return {(f["step"], f["partition"]): f["code"] or f["state"] for f in report["findings"]}


def jobs_left(bed: Testbed, name: str) -> str:
    return bed.run(name, "squeue", "-h", "-t", "pending,running,completing", "-o", "%j").stdout


def test_partitions_and_nodes_are_found_and_the_proposal_is_a_network(desk: Desk) -> None:
    found = desk.discover("gamma")
    gpu, cpu = (next(p for p in found["partitions"] if p["name"] == n) for n in ("gpu", "cpu"))
    assert [(k["nodes"], k["cores"], k["gpus"]) for k in gpu["kinds"]] == [(2, 64, {"a100": 4}), (1, 40, {"v100": 8})]
    assert cpu["kinds"][0]["memory_mib"] == 256_000 and gpu["max_wall_s"] == 86_400
    assert found["version"].startswith("22.") and found["accounting"] is False and found["accounts"] == []
    assert found["limits"] == {"max_array_size": 1001, "max_job_count": 10_000, "max_submit": None}
    assert "also there, not offered: 1 nodes of 40 cores, 384000 MiB, 8 GPUs of type v100" in found["yaml"]
    with pytest.raises(InvalidInput, match="is still to be filled in"):
        network.parse(found["yaml"])
    (cluster,) = network.parse(priced(found["yaml"])).clusters
    described = {p.name: (p.nodes, p.cores, p.gpus, p.gpu_type, p.max_wall_s) for p in cluster.partitions}
    assert described == {"gpu": (2, 64, 4, "a100", 86_400), "cpu": (1, 64, 0, "", 86_400)}
    assert cluster.settings["host_keys"] == [k["key"] for k in found["host_keys"]]


def test_the_servers_own_machine_needs_no_address(desk: Desk) -> None:
    found = desk.discover("beta", ssh=False)
    assert {p["name"] for p in found["partitions"]} == {"short", "long", "spare"}
    (cluster,) = network.parse(priced(found["yaml"])).clusters
    assert "host" not in cluster.settings and cluster.settings["slurm_conf"]
    assert any(r["path"].startswith(str(Path.home())) for r in found["roots"])


def test_accounts_and_qos_come_from_slurmdbd(slurm_accounting: Testbed, tmp_path: Path) -> None:
    desk = Desk(slurm_accounting, tmp_path / "home", tmp_path / "roots")
    found = desk.discover("alpha")
    assert found["accounting"] and found["default_account"] == "physics" and "chemistry" in found["accounts"]
    assert {q["name"] for q in found["qos"] if q["usable"]} == {"normal", "urgent"}
    (cluster,) = network.parse(priced(found["yaml"])).clusters
    assert (cluster.settings["account"], cluster.settings["qos"]) == ("physics", "normal")
    report = desk.check(priced(found["yaml"]))
    assert report["ok"], report
    assert states(report)["accounting", ""] == "ok"
    refused = desk.check(priced(found["yaml"]).replace("account: physics", "account: nobody"))
    assert not refused["ok"] and states(refused)["submit", "cpu"] == "site.account"
    assert jobs_left(slurm_accounting, "alpha") == ""


@pytest.mark.parametrize(("name", "ssh"), [("alpha", True), ("beta", False), ("gamma", True)])
def test_all_is_well_and_nothing_is_left_behind(desk: Desk, name: str, ssh: bool) -> None:
    report = desk.check(priced(desk.discover(name, ssh=ssh)["yaml"]))
    assert report["ok"], report
    found = states(report)
    for partition in desk.bed.cluster(name).partitions:
        assert {found[s, partition] for s in ("partition", "submit", "shared", "fence")} == {"ok"}
    assert {found[s, ""] for s in ("slurm", "clock", "root", "space", "staging", "cancel", "arrays")} == {"ok"}
    # no cgroups, no slurmdbd on the test-bed: told, and no fault
    assert (found["memory", ""], found["accounting", ""]) == ("cluster.memory", "cluster.accounting_off")
    assert sorted(p.name for p in (desk.roots / name).rglob("*")) == ["spool"]
    assert jobs_left(desk.bed, name) == ""


def test_host_keys_are_shown_and_must_be_confirmed(desk: Desk) -> None:
    with pytest.raises(Conflict) as unknown:
        desk.discover("alpha", accept_host_key=False)
    assert unknown.value.code == "cluster.host_key_unknown"
    (seen, *_) = unknown.value.details["host_keys"]
    fingerprint = desk.bed.ssh("alpha", "true", seconds=20) and seen["fingerprint"]
    assert fingerprint in unknown.value.message
    known = desk.discover("alpha", accept_host_key=False, host_keys=[fingerprint])
    assert known["host_keys"] == [seen]
    other = "SHA256:" + "A" * 43
    with pytest.raises(Conflict, match="none of the keys given"):
        desk.discover("alpha", host_keys=[other])
    with pytest.raises(InvalidInput):
        desk.discover("alpha", host_keys=["trust me"])


@pytest.mark.parametrize(
    ("change", "kind", "code"),
    [
        ({"url": "ssh://root@no-such-host.invalid"}, Conflict, "cluster.no_host"),
        ({"url": "ssh://root@127.0.0.1:1"}, Conflict, "cluster.no_connection"),
        ({"url": "login.example.org"}, InvalidInput, "cluster.url"),
        ({"identity": "gone"}, NotFound, "secret.missing"),
        ({"identity": "stranger"}, Conflict, "cluster.login"),
        ({"identity": "text"}, InvalidInput, "secret.unusable"),
    ],
)
def test_what_is_wrong_is_said_with_its_code(desk: Desk, change: dict[str, Any], kind: type[TideError], code: str) -> None:
    from tidegrid.launch import secrets

    secrets.new(desk.home, "stranger")
    secrets.put(desk.home, "text", "not a private one")
    with pytest.raises(kind) as wrong:
        desk.discover("alpha", **change)
    assert wrong.value.code == code and (wrong.value.hint or code == "cluster.url")


def test_no_slurm_there(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TideError) as wrong:
        asyncio.run(desk.office.discover({"root": "/x"}))
    assert wrong.value.code == "cluster.no_slurm"


def test_a_host_key_that_changed_is_refused_by_the_check(desk: Desk) -> None:
    text = priced(desk.discover("alpha")["yaml"])
    keys = desk.discover("beta")["host_keys"]
    report = desk.check(text.replace(desk.discover("alpha")["host_keys"][0]["key"], keys[0]["key"]))
    assert states(report)["login", ""] == "cluster.host_key" and not report["ok"]
    assert [f["state"] for f in report["findings"][1:]] == ["skipped"] * 7


def test_a_file_that_says_too_much_is_told(desk: Desk) -> None:
    text = priced(desk.discover("alpha")["yaml"]).replace("cores: 32", "cores: 48").replace("      debug:", "      gone:")
    found = states(desk.check(text))
    assert (found["partition", "cpu"], found["partition", "gone"]) == ("cluster.partition_differs", "cluster.partition_unknown")
    assert found["fence", "cpu"] == "ok"  # what can be tried is tried all the same


def test_a_root_that_cannot_be_written(desk: Desk) -> None:
    text = priced(desk.discover("alpha", root="/proc/tidegrid")["yaml"])
    found = states(desk.check(text))
    assert found["root", ""] == "cluster.root" and found["jobs", ""] == "skipped"


@pytest.fixture
def apart(tmp_path: Path) -> Iterator[Desk]:
    """A cluster whose login node sees another /mnt than its compute nodes."""
    with running(1) as bed:
        part = bed.plan.parts["alpha/sshd"]
        from tidegrid.launch.testbed import processes

        bed.kill_sshd("alpha")
        alone = dataclasses.replace(
            part, argv=("unshare", "-m", "sh", "-c", 'mount -t tmpfs none /mnt && exec "$@"', "sh", *part.argv)
        )
        bed.plan.parts["alpha/sshd"] = alone  # type: ignore[index]
        processes.start(alone)
        bed.start_sshd("alpha")
        yield Desk(bed, tmp_path / "home", Path("/mnt"))


@pytest.mark.real
@pytest.mark.slurm
def test_a_root_that_compute_nodes_do_not_see(apart: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_jobs, "LATE_S", 1.0)
    text = priced(apart.discover("alpha")["yaml"])
    report = apart.check(text)
    found = states(report)
    assert (found["root", ""], found["staging", ""]) == ("ok", "ok")
    assert (found["shared", "cpu"], found["shared", "debug"]) == ("cluster.root_unshared", "cluster.root_unshared")
    assert not report["ok"] and jobs_left(apart.bed, "alpha") == ""


def test_a_busy_cluster_is_no_fault_and_not_well_either(private_slurm: Testbed, tmp_path: Path) -> None:
    desk = Desk(private_slurm, tmp_path / "home", tmp_path / "roots")
    text = priced(desk.discover("alpha")["yaml"])
    for node in range(4):
        private_slurm.run("alpha", "sbatch", "-p", "cpu", "--exclusive", "-o", "/dev/null", f"-w alpha{node + 1}", stdin="#!/bin/sh\nsleep 600\n")
    report = desk.check(text, wait_s=3)
    assert states(report)["submit", "cpu"] == "cluster.busy" and not report["ok"]
    assert "tide-check" not in jobs_left(private_slurm, "alpha")
    private_slurm.kill_controller("alpha")
    assert states(desk.check(text))["slurm", ""] == "cluster.controller"


def test_a_check_that_is_broken_off_leaves_nothing_behind(private_slurm: Testbed, tmp_path: Path) -> None:
    desk = Desk(private_slurm, tmp_path / "home", tmp_path / "roots")
    (cluster,) = network.parse(priced(desk.discover("alpha")["yaml"])).clusters
    private_slurm.run("alpha", "scontrol", "update", "partition=cpu", "maxtime=1")  # the trials are accepted, and wait for ever

    async def broken_off() -> None:
        seen = asyncio.Event()

        def say(finding: Any) -> None:
            if finding.step == "submit":
                seen.set()

        work = asyncio.create_task(desk.office.check(cluster, wait_s=60, skew_s=5, say=say))
        async with asyncio.timeout(30):
            await seen.wait()
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work

    asyncio.run(broken_off())
    assert sorted(p.name for p in (desk.roots / "alpha").rglob("*")) == ["spool"]
    assert jobs_left(private_slurm, "alpha") == ""
