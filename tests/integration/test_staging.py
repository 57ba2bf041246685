"""Files there and back: resumed where they stopped, checked at both ends, never another organisation's."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import shutil
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.parts.stores import Tenant, Ticks, add_attempt, add_tenant, make_ids

from tidegrid import apps
from tidegrid.catalog.document import Application
from tidegrid.connectors.contract import SiteUnsure
from tidegrid.connectors.files import LocalFiles
from tidegrid.control import blobstore, bringing, catalogue, moving, staging
from tidegrid.control.bringing import cache_of
from tidegrid.control.context import Context, Settings
from tidegrid.control.results import job_directory
from tidegrid.control.staging import Fetched, Staging
from tidegrid.domain.errors import Broken, InvalidInput, NoSpace, NotFound
from tidegrid.domain.ids import b32
from tidegrid.domain.job import InputFile, JobSpec
from tidegrid.store import attempts, transfers, uploads
from tidegrid.store.engine import Store
from tidegrid.store.scope import Scope

BIG = bytes(range(256)) * 4096 * 5  # 5 MiB
SPEC = JobSpec(app="command", app_version="v", outputs=("*.txt", "sub/**"))


class Flaky(LocalFiles):
    """A site whose transfers break off after `part` bytes, `cuts` times."""

    def __init__(self, root: str, *, part: int = 1 << 20, cuts: int = 0) -> None:
        super().__init__(root)
        self.part, self.cuts, self.offsets = part, cuts, list[int]()

    async def put(self, local: str, path: str, *, offset: int = 0) -> int:
        return await self._cut(super().put, local, path, offset, Path(self.root, path))

    async def get(self, path: str, local: str, *, offset: int = 0) -> int:
        return await self._cut(super().get, path, local, offset, Path(local))

    async def _cut(self, do: Callable[..., Coroutine[Any, Any, int]], a: str, b: str, offset: int, target: Path) -> int:
        self.offsets.append(offset)
        there = await do(a, b, offset=offset)
        if self.cuts and there > offset + self.part:
            self.cuts -= 1
            os.truncate(target, offset + self.part)
            raise SiteUnsure("the line went dead")
        return there


class World:
    """A server's home, a site, an organisation."""

    def __init__(self, store: Store, tmp_path: Path) -> None:
        self.ids = make_ids()
        self.home = tmp_path / "home"
        self.home.mkdir()
        self.ctx = Context(store, Ticks(), self.ids, self.home, Settings())
        self.staging = Staging(self.ctx)
        self.files = Flaky(str(tmp_path / "site"))
        self.files.make_root()
        self.connector: Any = SimpleNamespace(cluster="east", files=self.files)
        self.tenant = self.add_tenant("acme")

    def add_tenant(self, name: str) -> Tenant:
        return self.ctx.store.write_sync(lambda c: add_tenant(c, self.ids, name))

    def attempt(self, tenant: Tenant | None = None, **cols: Any) -> dict[str, Any]:
        row = self.ctx.store.write_sync(lambda c: add_attempt(c, self.ids, tenant or self.tenant, **cols))
        return self.placed(row)

    def second_attempt(self, first: dict[str, Any]) -> dict[str, Any]:
        row = {**first, "id": self.ids.new(), "state": "SUBMITTING"}

        def write(conn: Any) -> None:
            attempts.update_row(conn, first["id"], state="ENDED", reason="node_fail")
            attempts.add(conn, [{k: v for k, v in row.items() if k != "directory"}])

        self.ctx.store.write_sync(write)
        return self.placed(row)

    def placed(self, row: dict[str, Any]) -> dict[str, Any]:
        directory = f"{b32(row['org_id'])}/00/{b32(row['job_id'])}/{b32(row['id'])}"
        self.ctx.store.write_sync(lambda c: attempts.update_row(c, row["id"], directory=directory))
        return {**row, "directory": directory}

    def site(self, attempt: dict[str, Any], *path: str) -> Path:
        return Path(self.files.root, attempt["directory"], *path)

    def produce(self, attempt: dict[str, Any], files: dict[str, bytes]) -> None:
        for name, data in files.items():
            path = self.site(attempt, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)

    def results(self, attempt: dict[str, Any]) -> dict[str, bytes]:
        top = job_directory(self.home, attempt["org_id"], attempt["job_id"])
        return {str(p.relative_to(top)): p.read_bytes() for p in top.rglob("*") if p.is_file()}

    def upload(self, data: bytes, tenant: Tenant | None = None) -> str:
        view = asyncio.run(self.staging.uploads.put((tenant or self.tenant).org_id, stream(data)))
        assert view["size"] == len(data)
        return str(view["sha256"])

    def stage_in(self, attempt: dict[str, Any], *inputs: InputFile, app: Application | None = None) -> None:
        spec = JobSpec(app="command", app_version="v", inputs=inputs)
        asyncio.run(self.staging.stage_in(self.connector, attempt, spec, app or plain_app()))

    def fetch(self, attempt: dict[str, Any], spec: JobSpec = SPEC) -> Fetched:
        return asyncio.run(self.staging.fetch_outputs(self.connector, attempt, spec))


def plain_app() -> Application:
    return next(a for a in apps.documents() if a.id == "command")


async def stream(data: bytes, chunk: int = 70_000) -> AsyncIterator[bytes]:
    for i in range(0, len(data), chunk):
        yield data[i : i + chunk]


@pytest.fixture
def world(store: Store, tmp_path: Path) -> World:
    return World(store, tmp_path)


# Uploads ----------------------------------------------------------------------------------------------------------------


def test_an_upload_is_kept_once_under_its_hash(world: World) -> None:
    sha = world.upload(b"hello")
    assert sha == hashlib.sha256(b"hello").hexdigest() == world.upload(b"hello")
    kept = [p for p in (world.home / "blobs").rglob("*") if p.is_file()]
    assert [p.read_bytes() for p in kept] == [b"hello"]
    assert kept[0].stat().st_mode & 0o077 == 0 or kept[0].parent.stat().st_mode & 0o077 == 0


def test_an_upload_beyond_the_quota_is_refused_and_leaves_nothing(world: World) -> None:
    world.ctx.store.write_sync(lambda c: uploads.set_quota(c, world.tenant.org_id, 0, 100_000, None))
    world.upload(b"a" * 90_000)
    with pytest.raises(NoSpace) as e:
        world.upload(b"b" * 90_000)
    assert e.value.code == "staging.quota"
    assert e.value.details["used"] == 90_000
    assert len([p for p in (world.home / "blobs").rglob("*") if p.is_file()]) == 1


def test_an_upload_that_breaks_off_leaves_nothing(world: World) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"part"
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        asyncio.run(world.staging.uploads.put(world.tenant.org_id, broken()))
    assert [p for p in (world.home / "blobs").rglob("*") if p.is_file()] == []


def test_what_a_crash_left_of_an_upload_is_swept(world: World) -> None:
    world.upload(b"whole")
    (world.home / "blobs" / ".put-1-x").write_bytes(b"half")
    assert world.staging.blobs.sweep() == 1
    assert world.staging.blobs.has(hashlib.sha256(b"whole").hexdigest())


# In ---------------------------------------------------------------------------------------------------------------------


def test_inputs_and_the_applications_files_are_staged(world: World) -> None:
    asyncio.run(catalogue.install_packaged(world.ctx))
    a = world.attempt()
    app = next(x for x in apps.documents() if x.id == "md-lj")
    world.stage_in(a, InputFile("data/small.txt", world.upload(b"x")), InputFile("big", world.upload(BIG)), app=app)
    assert world.site(a, "in/data/small.txt").read_bytes() == b"x"
    assert world.site(a, "in/big").read_bytes() == BIG
    assert world.site(a, "in/md_lj.py").read_bytes() == apps.content("md_lj.py")


def test_installing_the_packaged_applications_again_changes_nothing(world: World) -> None:
    assert set(asyncio.run(catalogue.install_packaged(world.ctx))) == {a.id for a in apps.documents()}
    assert asyncio.run(catalogue.install_packaged(world.ctx)) == []


def test_sending_goes_on_where_it_stopped(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bringing, "LARGE", 1 << 20)
    a, big = world.attempt(), InputFile("big", world.upload(BIG))
    world.files.cuts = 2
    for _ in range(2):
        with pytest.raises(SiteUnsure):
            world.stage_in(a, big)
    world.stage_in(a, big)
    assert world.files.offsets == [0, 1 << 20, 2 << 20]
    assert world.site(a, "in/big").read_bytes() == BIG
    world.stage_in(a, big)  # done: nothing is sent again
    assert len(world.files.offsets) == 3


def test_a_damaged_part_at_the_site_is_sent_anew(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    a, big = world.attempt(), InputFile("big", world.upload(BIG))
    monkeypatch.setattr(bringing, "LARGE", 1 << 20)
    world.produce({"directory": cache_of(a["directory"], a["org_id"])}, {f".part-{big.sha256}": b"wrong" * 1000})
    world.stage_in(a, big)
    assert world.site(a, "in/big").read_bytes() == BIG


def test_an_input_of_another_organisation_does_not_exist(world: World) -> None:
    other = world.add_tenant("other")
    sha = world.upload(b"secret", other)
    theirs = world.attempt(other)
    world.produce(theirs, {"work/a.txt": b"secret"})
    world.fetch(theirs)
    mine = world.attempt()
    for i in (InputFile("x", sha), InputFile("x", job=theirs["job_id"], source="a.txt")):
        with pytest.raises(NotFound) as e:
            world.stage_in(mine, i)
        assert e.value.code == "input.missing"
    assert not world.site(mine, "in").exists()


def test_an_output_of_another_job_is_an_input(world: World) -> None:
    first = world.attempt()
    world.produce(first, {"work/sub/r.json": b"{}"})
    world.fetch(first)
    second = world.attempt()
    world.stage_in(second, InputFile("r.json", job=first["job_id"], source="sub/r.json"))
    assert world.site(second, "in/r.json").read_bytes() == b"{}"
    with pytest.raises(NotFound, match="nothing"):
        world.stage_in(world.attempt(), InputFile("r.json", job=first["job_id"], source="nothing"))


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../../x", "", "a\nb", "a//b"])
def test_an_input_cannot_leave_its_directory(world: World, path: str) -> None:
    with pytest.raises(InvalidInput):
        world.stage_in(world.attempt(), InputFile(path, world.upload(b"x")))


def test_a_blob_that_rotted_is_not_sent(world: World) -> None:
    sha = world.upload(b"good")
    world.staging.blobs.path(sha).write_bytes(b"evil")
    with pytest.raises(Broken) as e:
        world.stage_in(world.attempt(), InputFile("x", sha))
    assert e.value.code == "staging.corrupt"


# Out --------------------------------------------------------------------------------------------------------------------


def test_logs_always_and_outputs_that_match_come_home(world: World) -> None:
    a = world.attempt()
    world.produce(
        a, {"log/0.out": b"out", "log/0.err": b"", "work/a.txt": b"A", "work/sub/deep/b": b"B", "work/no": b"-"}
    )
    done = world.fetch(a)
    assert (done.files, done.bytes, done.failed) == (4, 5, ())
    assert world.results(a) == {"log/0.out": b"out", "log/0.err": b"", "a.txt": b"A", "sub/deep/b": b"B"}
    job = {"id": a["job_id"]}
    listed = asyncio.run(world.staging.list_outputs(Scope(a["org_id"]), job))
    assert [(f["path"], f["size"]) for f in listed] == [
        ("a.txt", 1),
        ("log/0.err", 0),
        ("log/0.out", 3),
        ("sub/deep/b", 1),
    ]
    assert asyncio.run(world.staging.output_path(Scope(a["org_id"]), job, "a.txt")).read_bytes() == b"A"
    assert asyncio.run(world.staging.read_log(a, "0.out", offset=1, limit=1)) == b"u"
    with pytest.raises(NotFound):
        asyncio.run(world.staging.output_path(Scope(world.add_tenant("other").org_id), job, "a.txt"))
    with pytest.raises(NotFound):
        asyncio.run(world.staging.output_path(Scope(a["org_id"]), job, "../../../../tidegrid.db"))


def test_an_arrays_files_lie_by_task_and_only_those_of_the_attempt(world: World) -> None:
    a = world.attempt(tasks="3-4")
    world.produce(a, {f"work/{t}/r.txt": str(t).encode() for t in (3, 4, 5)} | {"work/3/sub/r.txt": b"s"})
    world.produce(a, {"log/3.out": b"3", "log/4.out": b"4"})
    world.fetch(a, JobSpec(app="command", app_version="v", outputs=("*.txt",), array="3-5"))
    assert world.results(a) == {"3/r.txt": b"3", "4/r.txt": b"4", "log/3.out": b"3", "log/4.out": b"4"}


def test_fetching_again_fetches_nothing(world: World) -> None:
    a = world.attempt()
    world.produce(a, {"work/a.txt": b"A"})
    first = world.fetch(a)
    world.files.offsets.clear()
    assert world.fetch(a) == first
    assert world.files.offsets == []


def test_fetching_goes_on_where_it_stopped(world: World) -> None:
    a = world.attempt()
    world.produce(a, {"work/a.txt": b"A", "work/big.txt": BIG})
    world.files.cuts = 2
    for _ in range(2):
        with pytest.raises(SiteUnsure):
            world.fetch(a)
        assert set(world.results(a)) - {"a.txt"} <= {f".part-{b32(r['id'])}" for r in rows(world, a)}
    assert world.fetch(a).files == 2
    assert world.files.offsets == [0, 1 << 20, 2 << 20]  # of the big one; small ones come whole
    assert world.results(a) == {"a.txt": b"A", "big.txt": BIG}


def test_a_damaged_part_at_home_is_fetched_anew(world: World) -> None:
    a = world.attempt()
    world.produce(a, {"work/big.txt": BIG})
    world.files.cuts = 1
    with pytest.raises(SiteUnsure):
        world.fetch(a)
    part = next(job_directory(world.home, a["org_id"], a["job_id"]).glob(".part-*"))
    part.write_bytes(b"x" * (1 << 20))
    assert world.fetch(a).failed == ()
    assert world.results(a) == {"big.txt": BIG}


STEPS = [(1 << 20, "_keep"), (1 << 20, "_keep_all"), (1 << 20, "_close"), (0, "_sync_and_hash"), (0, "_name"), (0, "_close")]


@pytest.mark.parametrize(("small", "step"), STEPS)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_crash_at_any_step_costs_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, small: int, step: str, after: bool
) -> None:
    a = world.attempt()
    world.produce(a, {"work/a.txt": b"A", "work/b.txt": b"B", "log/0.out": b"o"})

    class Crash(BaseException):
        pass

    where: Any = Staging if step == "_close" else moving
    real = getattr(where, step)

    def crashing(*args: Any) -> Any:
        if after:
            real(*args)
        raise Crash

    async def crashing_async(*args: Any) -> Any:
        if after:
            await real(*args)
        raise Crash

    with monkeypatch.context() as m:
        m.setattr(where, step, crashing_async if step == "_close" else crashing)
        m.setattr(staging, "BATCH", 1)
        m.setattr(moving, "BATCH", 1)
        m.setattr(moving, "SMALL", small)
        with pytest.raises(Crash):
            world.fetch(a)
    world.staging = Staging(world.ctx)
    assert world.fetch(a).failed == ()
    assert world.results(a) == {"a.txt": b"A", "b.txt": b"B", "log/0.out": b"o"}
    assert {r["state"] for r in rows(world, a)} == {"done"}


def test_a_result_is_never_overwritten_by_another_attempt(world: World) -> None:
    first = world.attempt()
    world.produce(first, {"work/a.txt": b"first", "log/0.out": b"1"})
    world.fetch(first)
    second = world.second_attempt(first)
    world.produce(second, {"work/a.txt": b"second", "log/0.out": b"2", "work/only.txt": b"new"})
    assert world.fetch(second) == world.fetch(second)
    apart = f"attempts/{b32(second['id'])}"
    assert world.results(first) == {
        "a.txt": b"first", "log/0.out": b"1", f"{apart}/a.txt": b"second", f"{apart}/log/0.out": b"2", "only.txt": b"new",
    }  # fmt: skip
    assert asyncio.run(world.staging.read_log(second, "0.out")) == b"2"
    assert asyncio.run(world.staging.read_log(first, "0.out")) == b"1"


def test_a_foreign_file_in_the_results_stays_and_is_told(world: World) -> None:
    a = world.attempt()
    target = job_directory(world.home, a["org_id"], a["job_id"]) / "a.txt"
    target.parent.mkdir(parents=True)
    target.write_bytes(b"by hand")
    world.produce(a, {"work/a.txt": b"A", "work/b.txt": b"B"})
    done = world.fetch(a)
    assert done.files == 1 and [p for p, _ in done.failed] == ["a.txt"]
    assert target.read_bytes() == b"by hand"


def test_links_and_odd_names_of_a_job_do_no_harm(world: World) -> None:
    a = world.attempt()
    world.produce(
        a, {"work/ok.txt": b"ok", "work/new\nline.txt": b"x", "work/.part-0.txt": b"x", "work/sub/log/0.out": b"n"}
    )
    world.site(a, "work/passwd.txt").symlink_to("/etc/passwd")
    world.site(a, "work/sub/etc").symlink_to("/etc")
    done = world.fetch(a)
    assert world.results(a) == {"ok.txt": b"ok", "sub/log/0.out": b"n"}
    assert {p for p, _ in done.failed} == {"new\nline.txt", ".part-0.txt"}


def test_a_job_cannot_pass_a_file_off_as_its_log(world: World) -> None:
    a = world.attempt()
    world.produce(a, {"log/0.out": b"true log", "work/log/0.out": b"false"})
    world.fetch(a, JobSpec(app="command", app_version="v", outputs=("**",)))
    assert world.results(a) == {"log/0.out": b"true log", "work/log/0.out": b"false"}


def test_a_file_that_goes_while_it_is_fetched_is_told_and_the_others_come(world: World) -> None:
    a = world.attempt()
    world.produce(a, {"work/a.txt": b"A", "work/b.txt": b"B"})
    listing = world.files.glob

    async def glob_then_lose(directory: str, *args: Any, **kw: Any) -> Any:
        found = await listing(directory, *args, **kw)
        if directory.endswith("/work"):
            world.site(a, "work/a.txt").unlink()
        return found

    world.files.glob = glob_then_lose  # type: ignore[method-assign]
    done = world.fetch(a)
    assert [p for p, _ in done.failed] == ["a.txt"]
    assert world.results(a) == {"b.txt": b"B"}


def test_a_job_without_any_file_is_fetched(world: World) -> None:
    assert world.fetch(world.attempt()) == Fetched(0, 0)


# A full disk --------------------------------------------------------------------------------------------------------------


def full(*args: Any) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_stops_an_upload_with_path_and_bytes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blobstore.os, "fsync", full)
    with pytest.raises(NoSpace) as e:
        world.upload(b"x" * 100_000)
    assert e.value.code == "staging.no_space" and e.value.exit_status == 4
    assert e.value.details["needed"] == 100_000
    assert str(world.home) in e.value.message
    assert [p for p in (world.home / "blobs").rglob("*") if p.is_file()] == []


def test_too_little_room_at_home_is_told_before_the_first_byte(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    a = world.attempt()
    world.produce(a, {"work/big.txt": BIG})
    with monkeypatch.context() as m:
        m.setattr(blobstore.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))  # type: ignore[attr-defined]
        with pytest.raises(NoSpace) as e:
            world.fetch(a)
    assert e.value.details["needed"] == len(BIG)
    assert world.files.offsets == []
    assert world.fetch(a).files == 1  # room was made: it goes on


def test_a_disk_that_fills_while_fetching_keeps_what_came(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    a = world.attempt()
    world.produce(a, {"work/a.txt": b"A", "work/big.txt": BIG})
    real = world.files.get

    async def get(path: str, local: str, *, offset: int = 0) -> int:
        if path.endswith("big.txt"):
            raise NoSpace("staging.no_space", "no space left on device")
        return await real(path, local, offset=offset)

    with monkeypatch.context() as m:
        m.setattr(world.files, "get", get)
        with pytest.raises(NoSpace) as e:
            world.fetch(a)
    assert e.value.details["needed"] == len(BIG)
    assert [r["path"] for r in rows(world, a) if r["state"] == "done"] == ["a.txt"]
    assert world.fetch(a).files == 2


def rows(world: World, attempt: dict[str, Any]) -> list[Any]:
    return list(
        world.ctx.store.read_sync(lambda c: transfers.of_attempt(c, Scope(attempt["org_id"]), attempt["id"], "out"))
    )
