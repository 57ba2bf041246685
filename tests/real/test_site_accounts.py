"""Two ordinary Unix accounts at a real Slurm cluster: each customer's jobs run as its own, files and words of one are nothing to
the other, and an account that changes hands is clean."""

from __future__ import annotations

import asyncio
import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.parts.platform import Running, running, shell
from tests.parts.slurm import running as slurm_running

from tidegrid.domain.errors import Conflict, InvalidInput, Unreachable
from tidegrid.domain.ids import b32, parse
from tidegrid.launch.testbed import Testbed
from tidegrid.launch.testbed.network import describe, install_keys

pytestmark = [pytest.mark.real, pytest.mark.slurm, pytest.mark.timeout(240)]
SETTINGS = {"tick": 0.3, "silent_after": 30.0, "permit_wait": 60}
CLUSTER = "alpha"


@pytest.fixture
def users() -> Iterator[list[str]]:
    """Two accounts of this machine, gone afterwards."""
    if os.geteuid() != 0:
        pytest.skip("accounts are made by root")
    names = [f"tg{secrets.token_hex(3)}{i}" for i in "ab"]
    try:
        for name in names:
            subprocess.run(["useradd", "-M", "-p", "*", "-s", "/bin/sh", name], check=True)
        yield names
    finally:
        for name in names:
            subprocess.run(["userdel", name], check=False, capture_output=True)


@pytest.fixture
def bed(users: list[str]) -> Iterator[Testbed]:
    with slurm_running(1, accounting=True) as made:
        for name in users:
            made.permit(name)
        yield made


@pytest.fixture
def places(users: list[str]) -> Iterator[Path]:
    """A directory that everybody may pass, with one of each account's own in it."""
    base = Path(tempfile.mkdtemp(prefix="tide-roots-"))
    base.chmod(0o711)
    for name in users:
        (base / name).mkdir(mode=0o700)
        os.chown(base / name, pwd.getpwnam(name).pw_uid, pwd.getpwnam(name).pw_gid)
    yield base
    shutil.rmtree(base, ignore_errors=True)


def test_each_customer_runs_as_its_own_account(bed: Testbed, users: list[str], places: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    install_keys(bed, home)
    network = describe(bed, roots=places) + "  rival: {opening_balance: 100}\n"

    async def main() -> None:
        async with running(home, network=network, settings=SETTINGS) as net:
            p, boss = net.platform, net.operator
            began = (p.now() // 1_000_000 - 1) * 1_000_000
            one, two = [await _add(net, name, places) for name in users]
            await p.site_account_bind(boss, one, "acme")
            await p.site_account_bind(boss, two, "rival", "default")

            jobs = {}
            for who, actor in (("acme", net.acme), ("rival", net.rival), ("operator", boss)):
                script = f"id -un; echo {who}-secret > kept.txt; pwd"
                jobs[who] = str((await p.submit(actor, shell(script, outputs=["kept.txt"]), None))["id"])
            array = str((await p.submit(net.acme, shell("id -un; exit $TIDE_TASK", array="0-1"), None))["id"])
            views = {v["id"]: v for v in await net.wait(*jobs.values(), array, timeout=90)}
            assert [views[j]["state"] for j in jobs.values()] == ["succeeded"] * 3, views
            assert views[array]["state"] == "failed"
            for who, user in (("acme", users[0]), ("rival", users[1]), ("operator", "root")):
                log = (await p.logs(boss, jobs[who], 0, "out", 0, 1000)).decode().split()
                assert log[0] == user, (who, log)
                if who != "operator":
                    assert log[1].startswith(f"{places / user}/t/")
            assert (await p.logs(boss, array, 1, "out", 0, 100)).decode().split() == [users[0]]
            held = await p.output_path(net.acme, jobs["acme"], "kept.txt")
            assert held.read_text() == "acme-secret\n"
            rows, _ = await p.usage(boss, limit=50)
            assert {r["source"] for r in rows} == {"accounting"}

            await _strangers_are_nobody(bed, net, users, places, began)
            await _handed_on(net, users, places, one, two, jobs)
            found = await p.usage_reconcile(boss, CLUSTER, since=began)
            assert found["unexplained"] == 0, found["differences"]
            assert (await p.journal_check(boss))["balanced"]

    asyncio.run(main())


async def _add(net: Running, name: str, places: Path) -> str:
    body = {"cluster": CLUSTER, "user": name, "identity": f"{CLUSTER}-key", "root": str(places / name / "t")}
    return str((await net.platform.site_account_add(net.operator, body))["id"])


async def _strangers_are_nobody(bed: Testbed, net: Running, users: list[str], places: Path, began: int) -> None:
    """What one account's jobs say in another's attempt's name, in the queue or in the spool, counts for nothing."""
    p = net.platform
    job = await p.submit(net.acme, shell("sleep 6", movable=False), None)
    await _until(net, job["id"], "running")
    view = await p.job(net.acme, job["id"])
    attempt = parse("att", view["attempts"][0]["id"])
    name = f"tg-{b32(attempt)}"
    forged = bed.ssh(CLUSTER, f"sbatch --parsable --chdir=/tmp --output=/dev/null --job-name={name} --wrap 'sleep 1'", user=users[1])
    assert forged.returncode == 0, forged.stderr
    spool = places / users[1] / "t" / "spool"
    said = bed.ssh(CLUSTER, f"echo '7 1' > {spool}/{b32(attempt)}.0.0.end", user=users[1])
    assert said.returncode == 0, said.stderr
    (done,) = await net.wait(job["id"], timeout=60)
    assert done["state"] == "succeeded" and done["reason"] in ("", None), done
    rows, _ = await p.usage(net.operator, job_id=job["id"])
    assert len(rows) == 1 and 5000 <= rows[0]["elapsed_ms"] <= 30_000
    end = time.monotonic() + 30
    while True:
        found = await p.usage_reconcile(net.operator, CLUSTER, since=began)
        told = [d for d in found["differences"] if d["native_id"] == forged.stdout.strip()]
        if told or time.monotonic() > end:
            break
        await asyncio.sleep(0.5)
    assert [(d["cause"], d["accounted"]["user"]) for d in told] == [("foreign", users[1])], found
    assert "carries the name" in told[0]["text"]


async def _handed_on(net: Running, users: list[str], places: Path, one: str, two: str, jobs: dict[str, str]) -> None:
    p, boss = net.platform, net.operator
    root = places / users[0] / "t"
    assert any(root.glob("*/*/*")), "acme's files are there"
    (root / "shut").mkdir(mode=0o000)
    os.chown(root / "shut", root.stat().st_uid, root.stat().st_gid)
    long = await p.submit(net.acme, shell("sleep 60", movable=False), None)
    await _until(net, long["id"], "running")
    with pytest.raises(Conflict) as caught:
        await p.site_account_release(boss, one)
    assert caught.value.code == "site_account.busy"
    await p.cancel(net.acme, long["id"])
    await net.wait(long["id"], timeout=60)
    async with asyncio.timeout(30):
        while True:
            try:
                view = await p.site_account_release(boss, one)
                break
            except Conflict:  # the last outputs come home, or Slurm still completes it
                await asyncio.sleep(0.5)
    assert view["state"] == "free"
    assert sorted(x.name for x in root.iterdir()) == ["spool"] and not any((root / "spool").iterdir())
    await p.site_account_bind(boss, one, "rival")
    ls = shell(f"id -un; find {root} -name kept.txt; grep -rl acme-secret {root} {places / users[0]} 2>/dev/null; :")
    seen = set()
    for _ in range(4):  # rival has two accounts now: its project's own comes first
        job = await p.submit(net.rival, ls, None)
        (view,) = await net.wait(job["id"], timeout=60)
        assert view["state"] == "succeeded"
        log = (await p.logs(net.rival, job["id"], 0, "out", 0, 1000)).decode().split()
        seen.add(log[0])
        assert "kept.txt" not in " ".join(log)
    assert seen == {users[1]}
    theirs = await p.submit(net.acme, shell("id -un"), None)
    await net.wait(theirs["id"], timeout=60)
    assert (await p.logs(net.acme, theirs["id"], 0, "out", 0, 100)).decode().split() == ["root"], "the cluster's own, shared"
    bound = await p.site_account_bindings(boss, one)
    assert [b["org"] for b in bound] == ["acme", "rival"]


def test_an_account_is_tried_before_it_is_taken(bed: Testbed, users: list[str], places: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    install_keys(bed, home)
    (home / "secrets" / "broken").write_text("no key")
    (home / "secrets" / "broken").chmod(0o600)
    network = (describe(bed, roots=places) + "  rival: {opening_balance: 100}\n").replace("kind: slurm,", "kind: slurm, shared: false,")

    async def main() -> None:
        async with running(home, network=network, settings=SETTINGS) as net:
            p, boss = net.platform, net.operator
            good: dict[str, Any] = {"cluster": CLUSTER, "user": users[0], "identity": f"{CLUSTER}-key", "root": str(places / users[0] / "t")}
            for change in ({"user": "nobody"}, {"root": "/nowhere/t"}):
                with pytest.raises(Unreachable):
                    await p.site_account_add(boss, {**good, **change})
            with pytest.raises(InvalidInput) as refused:  # found before anything is asked of the site
                await p.site_account_add(boss, {**good, "identity": "broken"})
            assert refused.value.code == "secret.unusable"
            assert await p.site_accounts(boss) == []
            with pytest.raises(InvalidInput, match="no account there that is bound"):
                await p.submit(net.acme, shell("true"), None)
            account = await _add(net, users[0], places)
            await p.site_account_bind(boss, account, "acme")
            job = await p.submit(net.acme, shell("id -un"), None)
            (view,) = await net.wait(job["id"], timeout=60)
            assert view["state"] == "succeeded", view
            assert (await p.logs(net.acme, job["id"], 0, "out", 0, 100)).decode().split() == [users[0]]
            with pytest.raises(InvalidInput, match="no account there that is bound"):
                await p.submit(net.rival, shell("true"), None)

            # its key is taken away: the cluster goes on, the account says why, and comes back
            authorized = bed.directory / "ssh" / "authorized" / users[0]
            kept = authorized.read_text()
            authorized.write_text("")
            for connector in [p.ctx.connectors[CLUSTER]]:
                connector.accounts[users[0]].connector.shell.link.drop()  # type: ignore[attr-defined]
            await _trouble(net, True)
            assert (await p.clusters(boss))[0]["health"] == "up"
            waiting = await p.submit(net.acme, shell("true"), None)
            await asyncio.sleep(2)
            assert (await p.job(net.acme, waiting["id"]))["attempts"] == []
            authorized.write_text(kept)
            await _trouble(net, False)
            (view,) = await net.wait(waiting["id"], timeout=60)
            assert view["state"] == "succeeded"

    asyncio.run(main())


async def _trouble(net: Running, wanted: bool) -> None:
    async with asyncio.timeout(60):
        while bool((await net.platform.site_accounts(net.operator))[0]["trouble"]) is not wanted:
            await asyncio.sleep(0.2)


async def _until(net: Running, job: str, state: str) -> None:
    async with asyncio.timeout(60):
        while (await net.platform.job(net.operator, job))["state"] != state:
            await asyncio.sleep(0.1)
