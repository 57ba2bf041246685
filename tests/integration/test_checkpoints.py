"""Jobs that go on from a checkpoint elsewhere, and copies that are whole or not there. Real embedded clusters."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.integration.test_failover import Faulty, until
from tests.parts.platform import Running, running
from tests.parts.stores import Ticks, add_attempt, add_tenant, make_ids

from tidegrid.catalog.document import Application, parse
from tidegrid.catalog.restart import Restart
from tidegrid.connectors.contract import FileInfo, SiteUnsure
from tidegrid.connectors.files import LocalFiles
from tidegrid.control import catalogue
from tidegrid.control.checkpoints import Checkpoints, newest
from tidegrid.control.context import Context, Settings
from tidegrid.control.intake import parse_body, spec_json
from tidegrid.control.staging import Staging
from tidegrid.domain.errors import Broken, InvalidInput, NoSpace
from tidegrid.domain.ids import b32
from tidegrid.domain.job import JobSpec
from tidegrid.store import attempts, checkpoints, events, jobs, transfers
from tidegrid.store.engine import Store
from tidegrid.store.scope import Scope

COUNTER = """\
id: counter
title: {en: Counts}
params:
  type: object
  properties:
    to: {type: integer, default: 40}
    witness: {type: string, default: /dev/null}
  additionalProperties: false
script: |
  n=0
  {% if restart %}
  n=$(cat {{ restart }})
  echo "continues at $n"
  {% endif %}
  while [ "$n" -lt {{ to }} ]; do
    n=$((n + 1))
    echo "$TIDE_TASK $n $TIDE_ATTEMPT" >> {{ witness }}
    echo "at $n" >> count.log
    if [ $((n % 8)) = 0 ]; then echo "$n" > .n && mv .n n.cpt; echo "saved step $n" >> count.log; fi
    sleep 0.1
  done
restart:
  checkpoint: [n.cpt]
  with: [count.log]
  atomic: true
  step: 'step (\\d+)'
  step_in: count.log
  arguments: [n.cpt]
checkpoint_every: 1s
outputs: [count.log]
"""
QUICK = {"checkpoint_least": 0.3}


def counter(**more: Any) -> dict[str, Any]:
    params = more.pop("params", {})
    return {
        "app": "counter", "params": params, "resources": {"cores": 1, "memory_mib": 64, "wall_s": 120},
        "constraints": {"ordered": ["north", "east"]}, **more,
    }  # fmt: skip


async def kept(net: Running, job: str, tasks: int = 1) -> bool:
    found = await net.platform.events(net.operator, 0, ["checkpoint.kept"], job)
    return len({e["body"]["task"] for e in found}) == tasks


@pytest.mark.timeout(120)
def test_a_job_goes_on_from_its_checkpoint_when_its_cluster_is_declared_dead(tmp_path: Path) -> None:
    async def main() -> None:
        faults, witness = Faulty(), tmp_path / "witness"
        async with running(tmp_path / "home", wrap=faults, settings=QUICK) as net:
            p = net.platform
            await catalogue.publish(p.ctx, COUNTER, {}, "ada")
            job = await p.submit(net.acme, counter(params={"witness": str(witness), "to": 40}), None)
            await until(lambda: kept(net, job["id"]))
            faults.silence["north"].begin()
            await asyncio.sleep(0.5)
            assert (await p.job(net.acme, job["id"]))["moved"] == 0, "a running job moves only by witness or declaration"
            await p.cluster_command(net.operator, "north", "dead")
            (view,) = await net.wait(job["id"], timeout=40)
            assert (view["state"], view["moved"]) == ("succeeded", 1)
            first, second = view["attempts"]
            assert (first["cluster"], first["reason"], second["cluster"]) == ("north", "lost", "east")
            lines = [x.split() for x in witness.read_text().splitlines()]
            own = [int(n) for _, n, a in lines if a == second["id"]]
            assert own == list(range(own[0], 41)) and own[0] > 1, "it goes on where the checkpoint was, and to the end"
            (e,) = await p.events(net.operator, 0, ["attempt.continues"], job["id"])
            assert e["attempt"] == second["id"] and e["body"]["of"] == first["id"]
            step = own[0] - 1
            assert step % 8 == 0
            assert e["body"]["step"] in (None, step), "unknown where it was written anew just then"
            said = f", step {step}" if e["body"]["step"] else ""
            assert e["body"]["text"] == f"continues from checkpoint of {e['body']['taken_at']}{said}"
            log = await p.logs(net.acme, job["id"], 0, "out", 0, 1000)
            assert log == f"continues at {own[0] - 1}\n".encode()
            count = (await p.output_path(net.acme, job["id"], "count.log")).read_text().split("\n")
            assert count[0] == "at 1" and count[-2] == "saved step 40", "what goes along begins with the first run's"
            rows, _ = await p.usage(net.acme, job_id=job["id"])
            billed = {r["attempt"]: (r["estimated"], r["elapsed_ms"]) for r in rows}
            assert set(billed) == {first["id"], second["id"]} and billed[first["id"]][0], "each is billed as its own"
            assert not billed[second["id"]][0] and billed[second["id"]][1] < 40 * 200
            assert (await p.journal_check(net.operator))["balanced"]
            told = await p.explain(net.acme, job["id"])
            assert any(x["kind"] == "attempt.continues" for x in told["events"])
            await until(lambda: _nothing_left(net, tmp_path / "home"))

    asyncio.run(main())


async def _nothing_left(net: Running, home: Path) -> bool:
    rows = await net.platform.store.read(checkpoints.ids)
    return not rows and not list((home / "checkpoints").glob("*/*/*"))


@pytest.mark.timeout(120)
def test_each_task_of_an_array_goes_on_from_its_own(tmp_path: Path) -> None:
    async def main() -> None:
        faults, witness = Faulty(), tmp_path / "witness"
        async with running(tmp_path / "home", wrap=faults, settings=QUICK) as net:
            p = net.platform
            await catalogue.publish(p.ctx, COUNTER, {}, "ada")
            job = await p.submit(net.acme, counter(params={"witness": str(witness), "to": 50}, array="2-4"), None)
            await until(lambda: kept(net, job["id"], 3))
            faults.silence["north"].begin()
            await p.cluster_command(net.operator, "north", "dead")
            (view,) = await net.wait(job["id"], timeout=40)
            assert view["state"] == "succeeded"
            second = view["attempts"][-1]
            lines = [x.split() for x in witness.read_text().splitlines()]
            for task in ("2", "3", "4"):
                own = [int(n) for t, n, a in lines if a == second["id"] and t == task]
                assert own == list(range(own[0], 51)) and own[0] > 1
            (e,) = await p.events(net.operator, 0, ["attempt.continues"], job["id"])
            assert e["body"]["text"].startswith("3 of 3 tasks: continues from checkpoint of ")

    asyncio.run(main())


def test_a_submission_may_ask_for_its_own_interval_where_there_are_checkpoints(tmp_path: Path) -> None:
    slow = parse(COUNTER.replace("checkpoint_every: 1s", "checkpoint_every: 1h"))
    assert parse_body(counter(checkpoint_every_s=2), slow).spec.checkpoint_every_s == 2
    plain = parse(COUNTER[: COUNTER.index("restart:")].replace("{% if restart %}", "{% if to > 99 %}").replace("{{ restart }}", "x"))
    with pytest.raises(InvalidInput) as e:
        parse_body(counter(checkpoint_every_s=2), plain)
    assert e.value.code == "checkpoint.none"


# What is whole --------------------------------------------------------------------------------------------------------


def recipe(**more: Any) -> Restart:
    return Restart(**{"checkpoint": ("s.*",), "arguments": ("x",), "step": r"s\.(\d+)", **more})


def listing(**files: int) -> list[FileInfo]:
    return [FileInfo(name.replace("_", "."), size, f"{size}") for name, size in files.items()]


def test_the_newest_checkpoint_that_did_not_change_is_whole() -> None:
    now = listing(s_1=10, s_2=10, s_3=4)
    found = newest(recipe(), now, listing(s_1=10, s_2=10))
    assert found is not None and found.step == 2 and [f.path for f in found.files] == ["s.2"]
    found = newest(recipe(), now, now)
    assert found is not None and found.step == 3
    assert newest(recipe(), now, []) is None
    touched = [FileInfo("s.1", 10, "a")], [FileInfo("s.1", 10, "b")]
    assert newest(recipe(), *touched) is None, "the same size, written anew"
    assert newest(recipe(), listing(s_1=0), listing(s_1=0)) is None, "an empty file is none"


def test_of_a_run_that_broke_off_the_last_one_counts_only_where_it_is_always_whole() -> None:
    now = listing(s_1=10, s_2=10)
    found = newest(recipe(), now, None, ended=True)
    assert found is not None and found.step == 1
    found = newest(recipe(atomic=True), now, None, ended=True)
    assert found is not None and found.step == 2
    assert newest(recipe(), listing(s_1=10), None, ended=True) is None


def test_a_step_of_which_files_are_missing_is_not_whole() -> None:
    now = [FileInfo(p, 5, "t") for p in ("s.1.a", "s.1.b", "s.2.a")]
    found = newest(recipe(), now, now)
    assert found is not None and found.step == 1 and len(found.files) == 2


# Copies -----------------------------------------------------------------------------------------------------------------


class Site(LocalFiles):
    """before_get: called before each transfer, with its number; part: transfers break off after so many bytes, `cuts` times."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.gets: list[tuple[str, int]] = []
        self.before_get: Callable[[str], None] = lambda path: None
        self.part, self.cuts = 1 << 20, 0

    async def get(self, path: str, local: str, *, offset: int = 0) -> int:
        self.gets.append((path.rpartition("/")[2], offset))
        self.before_get(path)
        here = await super().get(path, local, offset=offset)
        if self.cuts and here > offset + self.part:
            self.cuts -= 1
            os.truncate(local, offset + self.part)
            raise SiteUnsure("the line went dead")
        return here


class World:
    def __init__(self, store: Store, tmp_path: Path, **settings: Any) -> None:
        self.ids = make_ids()
        self.home = tmp_path / "home"
        self.home.mkdir()
        self.ctx = Context(store, Ticks(), self.ids, self.home, Settings(**settings))
        self.app: Application = parse(COUNTER)
        self.files = Site(str(tmp_path / "site"))
        self.files.make_root()
        self.connector: Any = SimpleNamespace(cluster="east", files=self.files)
        self.tenant = store.write_sync(lambda c: add_tenant(c, self.ids))
        self.restarted()

    def restarted(self) -> None:
        async def application(app: str, version: str) -> Application:
            return self.app

        self.checkpoints = Checkpoints(self.ctx, Staging(self.ctx), application)

    def attempt(self) -> dict[str, Any]:
        row = self.ctx.store.write_sync(lambda c: add_attempt(c, self.ids, self.tenant, state="RUNNING", restartable=True))
        return self.placed(row)

    def placed(self, row: dict[str, Any]) -> dict[str, Any]:
        directory = f"org/00/{b32(row['job_id'])}/{b32(row['id'])}"
        self.ctx.store.write_sync(lambda c: attempts.update_row(c, row["id"], directory=directory))
        return {**row, "directory": directory, "spec": spec_json(JobSpec("counter", "v"))}

    def later(self, row: dict[str, Any]) -> dict[str, Any]:
        cols = {k: v for k, v in row.items() if k not in ("spec", "directory")}
        new = {**cols, "id": self.ids.new()}

        def write(conn: Any) -> None:
            attempts.update_row(conn, row["id"], state="ENDED", reason="lost")
            attempts.add(conn, [new])

        self.ctx.store.write_sync(write)
        return self.placed(new)

    def produce(self, row: dict[str, Any], **files: bytes) -> None:
        for name, data in files.items():
            path = Path(self.files.root, row["directory"], "work", name.replace("_", "."))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)

    def copy(self, row: dict[str, Any], recipe: Restart | None = None) -> bool:
        made = recipe or self.app.restart
        assert made is not None
        return asyncio.run(self.checkpoints.copy(self.connector, row, 0, made))

    def here(self, row: dict[str, Any]) -> dict[str, bytes]:
        found = self.ctx.store.read_sync(lambda c: checkpoints.of_job(c, Scope(row["org_id"]), row["job_id"]))
        return {p: f.read_bytes() for r in found for p, f in self.checkpoints.store.files_of(r).items()}

    def step(self, row: dict[str, Any]) -> Any:
        (found,) = self.ctx.store.read_sync(lambda c: checkpoints.of_job(c, Scope(row["org_id"]), row["job_id"]))
        return found["step"]

    def stage(self, row: dict[str, Any]) -> dict[int, Any]:
        return asyncio.run(self.checkpoints.stage(self.connector, row, self.app))

    def kinds(self) -> list[str]:
        return [e["kind"] for e in self.ctx.store.read_sync(lambda c: events.after(c, Scope(None), 0, limit=100))]


@pytest.fixture
def world(store: Store, tmp_path: Path) -> World:
    return World(store, tmp_path)


def test_a_checkpoint_comes_home_and_goes_where_the_job_goes_on(world: World) -> None:
    a = world.attempt()
    world.produce(a, n_cpt=b"7", count_log=b"step 7\nst")
    assert world.copy(a)
    assert world.here(a) == {"n.cpt": b"7", "count.log": b"step 7\nst"} and world.step(a) == 7
    b = world.later(a)
    assert world.stage(b)[0]["attempt_id"] == a["id"]
    there = Path(world.files.root, b["directory"], "ckpt", "0")
    assert {p.name: p.read_bytes() for p in there.iterdir()} == {"n.cpt": b"7", "count.log": b"step 7\nst"}
    rows = world.ctx.store.read_sync(lambda c: transfers.of_attempt(c, Scope(a["org_id"]), b["id"], "in"))
    assert {(r["path"], r["state"]) for r in rows} == {("ckpt/0/n.cpt", "done"), ("ckpt/0/count.log", "done")}


def test_what_is_here_already_is_not_copied_again(world: World) -> None:
    a = world.attempt()
    world.produce(a, n_cpt=b"7", count_log=b"x")
    assert world.copy(a)
    count = len(world.files.gets)
    assert not world.copy(a) and len(world.files.gets) == count
    world.produce(a, n_cpt=b"8")
    assert world.copy(a) and world.here(a)["n.cpt"] == b"8"
    assert len(list((world.home / "checkpoints").glob("*/*/*"))) == 1, "the former one is gone"


def test_a_file_that_grows_is_fetched_from_where_its_last_copy_ended(world: World) -> None:
    a = world.attempt()
    world.produce(a, n_cpt=b"1", count_log=b"a" * 1000)
    assert world.copy(a)
    world.produce(a, n_cpt=b"2", count_log=b"a" * 1000 + b"b" * 10)
    world.files.gets.clear()
    assert world.copy(a)
    assert ("count.log", 1000) in world.files.gets
    assert world.here(a)["count.log"] == b"a" * 1000 + b"b" * 10
    world.produce(a, n_cpt=b"3", count_log=b"c" * 1500)  # written anew after all
    assert world.copy(a) and world.here(a)["count.log"] == b"c" * 1500


def test_a_transfer_that_broke_off_goes_on_and_the_former_checkpoint_stays_until_then(world: World) -> None:
    a = world.attempt()
    old, new = b"1" * (5 << 20), b"2" * (5 << 20)
    world.produce(a, n_cpt=old)
    assert world.copy(a)
    world.produce(a, n_cpt=new)
    world.files.cuts = 1
    world.files.gets.clear()
    with pytest.raises(SiteUnsure):
        world.copy(a)
    assert world.here(a)["n.cpt"] == old
    world.restarted()
    assert world.copy(a)
    assert world.here(a)["n.cpt"] == new
    assert world.files.gets == [("n.cpt", 0), ("n.cpt", 1 << 20)]


def test_a_file_that_changes_while_it_is_copied_never_takes_the_former_ones_place(world: World) -> None:
    """Two files are one checkpoint: written anew half-way, they would not belong together."""
    both = Restart(checkpoint=("n.cpt", "m.cpt"), atomic=True, arguments=("x",))
    a = world.attempt()
    world.produce(a, n_cpt=b"1", m_cpt=b"1")
    assert world.copy(a, both)
    world.produce(a, n_cpt=b"2", m_cpt=b"2")

    def newer(path: str) -> None:
        world.files.before_get = lambda _: None
        world.produce(a, n_cpt=b"3", m_cpt=b"3")

    world.files.before_get = newer
    with pytest.raises(Broken) as e:
        world.copy(a, both)
    assert e.value.code == "staging.changed" and world.here(a) == {"n.cpt": b"1", "m.cpt": b"1"}
    assert world.copy(a, both) and world.here(a) == {"n.cpt": b"3", "m.cpt": b"3"}


def test_a_file_written_slowly_in_place_is_not_taken_half(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Restart(checkpoint=("s.*",), step=r"s\.(\d+)", arguments=("x",))
    a = world.attempt()
    world.produce(a, s_1=b"whole")
    real = asyncio.sleep

    async def writes(seconds: float) -> None:
        if seconds == slow.settle_s:
            world.produce(a, s_2=b"whol")
        await real(0)

    monkeypatch.setattr(asyncio, "sleep", writes)
    world.produce(a, s_2=b"wh")
    assert world.copy(a, slow)
    assert world.here(a) == {"s.1": b"whole"} and world.step(a) == 1


def test_an_older_attempt_does_not_replace_what_a_later_one_has_saved(world: World) -> None:
    a = world.attempt()
    b = world.later(a)
    world.produce(b, n_cpt=b"9")
    assert world.copy(b)
    world.produce(a, n_cpt=b"3")
    assert not world.copy(a)
    assert world.here(a)["n.cpt"] == b"9"
    assert len(list((world.home / "checkpoints").glob("*/*/*"))) == 1


def test_a_damaged_checkpoint_is_dropped_and_told(world: World) -> None:
    a = world.attempt()
    world.produce(a, n_cpt=b"7")
    assert world.copy(a)
    (file,) = world.home.glob("checkpoints/*/*/*/n.cpt")
    file.write_bytes(b"8")
    assert world.stage(world.later(a)) == {}
    assert world.here(a) == {} and "checkpoint.damaged" in world.kinds()


def test_one_that_is_too_large_stays_at_its_site_and_is_told_once(store: Store, tmp_path: Path) -> None:
    world = World(store, tmp_path, checkpoint_limit=10)
    a = world.attempt()
    world.produce(a, n_cpt=b"x" * 11)
    assert not world.copy(a) and not world.copy(a)
    assert world.here(a) == {} and world.kinds().count("checkpoint.too_large") == 1


def test_a_full_disk_keeps_the_former_one(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    a = world.attempt()
    world.produce(a, n_cpt=b"1")
    assert world.copy(a)
    world.produce(a, n_cpt=b"22")
    with monkeypatch.context() as m:
        m.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))  # type: ignore[attr-defined]
        with pytest.raises(NoSpace):
            world.copy(a)
    assert world.here(a)["n.cpt"] == b"1"


def test_a_job_that_is_over_keeps_none(world: World) -> None:
    a = world.attempt()
    world.produce(a, n_cpt=b"1")
    assert world.copy(a)
    world.ctx.store.write_sync(lambda c: jobs.update_job(c, a["job_id"], open=False))
    asyncio.run(world.checkpoints.store.sweep())
    assert world.here(a) == {} and not list(world.home.glob("checkpoints/*/*/*"))
    world.produce(a, n_cpt=b"2")
    world.restarted()
    assert not world.copy(a), "a copy that was under way when it ended"
    assert not list(world.home.glob("checkpoints/*/*/*"))


def test_a_path_that_leaves_the_directory_is_not_taken(world: World) -> None:
    a = world.attempt()
    world.produce(a, n_cpt=b"1")
    outside = Path(world.files.root, "secret")
    outside.write_bytes(b"secret")
    work = Path(world.files.root, a["directory"], "work")
    with contextlib.suppress(FileNotFoundError):
        (work / "n.cpt").unlink()
    (work / "n.cpt").symlink_to(outside)
    assert not world.copy(a) and world.here(a) == {}


def test_the_transfers_of_a_checkpoint_are_rows_and_do_not_pile_up(world: World) -> None:
    a = world.attempt()
    for n in range(3):
        world.produce(a, n_cpt=str(n).encode(), count_log=b"x" * n)
        assert world.copy(a)
    rows = world.ctx.store.read_sync(lambda c: transfers.of_attempt(c, Scope(a["org_id"]), a["id"], "checkpoint"))
    assert [(r["path"], r["state"]) for r in rows] == [("0/n.cpt", "done"), ("0/count.log", "done")]
    found = world.ctx.store.read_sync(lambda c: checkpoints.of_job(c, Scope(a["org_id"]), a["job_id"]))
    assert {f["path"]: f["sha256"] for f in found[0]["files"]} == {r["path"][2:]: r["sha256"] for r in rows}
    assert json.dumps(found[0]["files"])
