"""Data that users bring: resumed, never half visible, counted, kept apart, and sent to a site once."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import subprocess
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.integration.test_staging import World, stream

from tidegrid.control import bringing, uploads
from tidegrid.control.bringing import cache_of
from tidegrid.domain.errors import Conflict, InvalidInput, NoSpace, NotFound
from tidegrid.domain.job import InputFile, JobSpec
from tidegrid.domain.tree import TreeFile, decode, encode
from tidegrid.store import blobs, site_data
from tidegrid.store import uploads as upload_rows
from tidegrid.store.engine import Store
from tidegrid.store.scope import Scope

DATA = bytes(range(256)) * 4096  # 1 MiB
SHA = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def world(store: Store, tmp_path: Path) -> World:
    return World(store, tmp_path)


def begin(world: World, sha: str = SHA, size: int = len(DATA), tenant: Any = None) -> dict[str, Any]:
    t = tenant or world.tenant
    return asyncio.run(world.staging.uploads.begin(t.org_id, 1, sha, size))


def append(world: World, upload: str, offset: int, data: bytes, tenant: Any = None) -> dict[str, Any]:
    t = tenant or world.tenant
    return asyncio.run(world.staging.uploads.append(t.org_id, upload, offset, stream(data)))


def kept(world: World) -> list[str]:
    return sorted(p.name for p in (world.home / "blobs").rglob("*") if p.is_file())


def has(world: World, sha: str, tenant: Any = None) -> bool:
    scope = Scope((tenant or world.tenant).org_id)
    return world.ctx.store.read_sync(lambda c: blobs.get(c, scope, sha)) is not None


# Piece by piece -----------------------------------------------------------------------------------------------------------


def test_an_upload_goes_on_where_the_connection_broke(world: World) -> None:
    up = begin(world)["id"]

    async def cut() -> AsyncIterator[bytes]:
        yield DATA[:300_000]
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        asyncio.run(world.staging.uploads.append(world.tenant.org_id, up, 0, cut()))
    assert not has(world, SHA) and begin(world) == {"id": up, "sha256": SHA, "size": len(DATA), "offset": 300_000, "done": False}
    with pytest.raises(Conflict) as e:
        append(world, up, 0, DATA)
    assert (e.value.code, e.value.details["offset"]) == ("upload.offset", 300_000)
    assert append(world, up, 300_000, DATA[300_000:])["done"] and has(world, SHA)
    assert kept(world) == [SHA] and begin(world)["done"]
    with pytest.raises(NotFound):
        append(world, up, len(DATA), b"")


def test_what_has_another_hash_is_never_there(world: World) -> None:
    up = begin(world)["id"]
    with pytest.raises(InvalidInput) as e:
        append(world, up, 0, b"x" * len(DATA))
    assert e.value.code == "blob.corrupt" and kept(world) == [] and not has(world, SHA)
    with pytest.raises(InvalidInput) as e:
        append(world, begin(world)["id"], 0, DATA + b"more")
    assert e.value.code == "upload.too_long" and not has(world, SHA)


def test_a_crash_before_the_last_commit_leaves_an_upload_that_completes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    up = begin(world)["id"]

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as m:
        m.setattr(upload_rows, "end", crash)
        with pytest.raises(KeyboardInterrupt):
            append(world, up, 0, DATA)
    assert not has(world, SHA) and begin(world)["offset"] == len(DATA)
    assert append(world, up, len(DATA), b"")["done"] and has(world, SHA) and kept(world) == [SHA]


def test_a_full_disk_loses_nothing_that_has_arrived(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    up = begin(world)["id"]
    append(world, up, 0, DATA[:500_000])
    real = os.pwrite

    def full(fd: int, data: Any, offset: int) -> int:
        if offset >= 600_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(fd, data, offset)

    with monkeypatch.context() as m:
        m.setattr(uploads.os, "pwrite", full)
        with pytest.raises(NoSpace) as e:
            append(world, up, 500_000, DATA[500_000:])
    assert e.value.code == "staging.no_space" and e.value.details["needed"] > 0
    at = begin(world)["offset"]
    assert 600_000 <= at < len(DATA) and not has(world, SHA)
    assert append(world, up, at, DATA[at:])["done"]
    monkeypatch.setattr("tidegrid.control.blobstore.shutil.disk_usage", lambda _: os.terminal_size((0, 0)) and type("U", (), {"free": 5})())
    with pytest.raises(NoSpace):
        begin(world, "0" * 64, 10)
    assert world.ctx.store.read_sync(lambda c: upload_rows.promised(c, Scope(world.tenant.org_id))) == (0, 0)


def test_one_request_writes_to_an_upload_at_a_time(world: World) -> None:
    up = begin(world)["id"]

    async def main() -> None:
        go = asyncio.Event()

        async def slow() -> AsyncIterator[bytes]:
            yield DATA[:1000]
            await go.wait()
            yield DATA[1000:]

        first = asyncio.create_task(world.staging.uploads.append(world.tenant.org_id, up, 0, slow()))
        while (await world.staging.uploads.state(world.tenant.org_id, up))["offset"] < 1000:
            await asyncio.sleep(0.005)
        with pytest.raises(Conflict) as e:
            await world.staging.uploads.append(world.tenant.org_id, up, 1000, stream(DATA[1000:]))
        assert e.value.code == "upload.busy"
        go.set()
        assert (await first)["done"]

    asyncio.run(main())


def test_others_content_has_to_be_sent_like_any_other(world: World) -> None:
    other = world.add_tenant("other")
    world.upload(DATA, other)
    state = begin(world)
    assert not state["done"] and not has(world, SHA)
    with pytest.raises(NotFound):
        append(world, state["id"], 0, DATA, other)
    assert append(world, state["id"], 0, DATA)["done"] and has(world, SHA) and kept(world) == [SHA]


def test_uploads_that_nobody_goes_on_with_are_given_up(world: World) -> None:
    append(world, begin(world)["id"], 0, DATA[:10])
    assert asyncio.run(world.staging.uploads.sweep(86_400)) == 0
    assert asyncio.run(world.staging.uploads.sweep(-10.0)) == 1 and kept(world) == []


# Packs --------------------------------------------------------------------------------------------------------------------


def packed(*contents: bytes) -> bytes:
    return b"".join(f"{hashlib.sha256(c).hexdigest()} {len(c)}\n".encode() + c for c in contents)


def test_of_a_pack_that_breaks_off_what_came_whole_stays(world: World) -> None:
    contents = [bytes([i]) * (i * 100) for i in range(50)]
    whole = packed(*contents)
    assert asyncio.run(world.staging.uploads.pack(world.tenant.org_id, stream(whole, 777)))["stored"] == 50
    more = [bytes([i]) * 5000 for i in range(100, 110)]

    async def cut() -> AsyncIterator[bytes]:
        yield packed(*more)[:-100]
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        asyncio.run(world.staging.uploads.pack(world.tenant.org_id, cut()))
    assert [has(world, hashlib.sha256(c).hexdigest()) for c in more] == [True] * 9 + [False]
    for bad in (b"x" * 200, b"0" * 64 + b" 99999999999\n", packed(b"a")[:-1] + b"b"):
        with pytest.raises(InvalidInput):
            asyncio.run(world.staging.uploads.pack(world.tenant.org_id, stream(bad)))
    assert not [n for n in kept(world) if n.startswith(".")]


# Quotas -------------------------------------------------------------------------------------------------------------------


def test_quotas_count_bytes_files_and_what_is_under_way(world: World) -> None:
    org = world.tenant.org_id
    world.ctx.store.write_sync(lambda c: upload_rows.set_quota(c, org, 0, 2 * len(DATA), 3))
    world.upload(b"small")
    begin(world)
    with pytest.raises(NoSpace) as e:
        begin(world, "0" * 64, len(DATA))
    assert e.value.code == "staging.quota" and e.value.details == {
        "of": "the organisation", "what": "bytes", "limit": 2 * len(DATA), "used": len(DATA) + 5, "needed": len(DATA),
    }  # fmt: skip
    assert "2,097,152 bytes; 1,048,581 are in use" in e.value.message
    begin(world, "1" * 64, 1)
    with pytest.raises(NoSpace) as e:
        asyncio.run(world.staging.uploads.pack(org, stream(packed(b"one", b"two"))))
    assert e.value.details["what"] == "files"


# Directories --------------------------------------------------------------------------------------------------------------


def tree(world: World, files: dict[str, bytes], tenant: Any = None) -> str:
    rows = [TreeFile(p, world.upload(d, tenant), len(d)) for p, d in files.items()]
    return world.upload(encode(rows), tenant)


@pytest.mark.parametrize(
    "text", [b"", b"[]", b'{"tree":1}', b'{"tree":1,"files":[["../x","' + b"0" * 64 + b'",1]]}', b'{"tree":2,"files":[]}',
             b'{"tree":1,"files":[["a","' + b"0" * 64 + b'",1],["a/b","' + b"0" * 64 + b'",1]]}',
             b'{"tree":1,"files":[["b","' + b"0" * 64 + b'",1],["a","' + b"0" * 64 + b'",1]]}',
             b'{"tree":1,"files":[["a","x",1]]}', b'{"tree":1,"files":[["a","' + b"0" * 64 + b'",-1]]}', b"\xff" * 9, b"[" * 99999],
)  # fmt: skip
def test_what_is_no_directory_is_told(text: bytes) -> None:
    with pytest.raises(InvalidInput):
        decode(text)


def test_a_directory_goes_to_a_site_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bringing, "PACK_FILES", 7)
    files = {f"d{i % 3}/f{i}": bytes([i]) * (1000 + i) for i in range(30)} | {"same": bytes([3]) * 1003, "empty": b""}
    sha = tree(world, files)
    sent: list[int] = []
    real = world.files.cache

    async def counted(at: str, contents: Any) -> set[str]:
        sent.extend(c[2] for c in contents)
        return await real(at, contents)

    world.files.cache = counted  # type: ignore[method-assign]
    first, second = world.attempt(), world.attempt()
    world.stage_in(first, InputFile("mesh", sha, tree=True), InputFile("one", hashlib.sha256(files["same"]).hexdigest()))
    assert {str(p.relative_to(world.site(first, "in"))): p.read_bytes() for p in world.site(first, "in").rglob("*") if p.is_file()} == {
        **{f"mesh/{k}": v for k, v in files.items()}, "one": files["same"],
    }  # fmt: skip
    assert len(sent) == 31  # `same` is f3's content
    world.stage_in(second, InputFile("mesh", sha, tree=True))
    assert len(sent) == 31 and world.site(second, "in/mesh/empty").read_bytes() == b""
    assert world.site(second, "in/mesh/d0/f3").stat().st_mode & 0o777 == 0o400
    rows = world.ctx.store.read_sync(lambda c: site_data.of_cluster(c, "east", world.tenant.org_id, ""))
    assert {r["sha256"]: r["size"] for r in rows}[sha] == sum(map(len, files.values()))


def test_what_a_job_did_to_a_file_is_not_used_again(world: World) -> None:
    sha = tree(world, {"a": b"good", "b": b"fine"})
    first, second = world.attempt(), world.attempt()
    world.stage_in(first, InputFile("x", sha, tree=True))
    target = world.site(first, "in/x/a")
    target.chmod(0o600)
    target.write_bytes(b"evil")
    world.stage_in(second, InputFile("x", sha, tree=True))
    assert world.site(second, "in/x/a").read_bytes() == b"good" and world.site(second, "in/x/b").read_bytes() == b"fine"


def test_a_cache_gives_up_what_was_wanted_longest_ago(world: World) -> None:
    old, common, new = (tree(world, {"shared": b"s" * 10, n: n.encode() * 1000}) for n in "abc")
    for sha in (old, common, new):
        world.stage_in(world.attempt(), InputFile("x", sha, tree=True))
    cache = Path(world.files.root, cache_of("x", world.tenant.org_id))
    assert len([p for p in cache.rglob("*") if p.is_file()]) == 4
    world.ctx.settings = replace(world.ctx.settings, cache_bytes=2500)
    last = world.attempt()
    world.stage_in(last, InputFile("x", common, tree=True))
    names = {p.name for p in cache.rglob("*") if p.is_file()}
    assert names == {hashlib.sha256(c).hexdigest() for c in (b"s" * 10, b"b" * 1000, b"c" * 1000)}
    world.ctx.settings = replace(world.ctx.settings, cache_days=0.0)
    world.stage_in(world.attempt(), InputFile("x", old, tree=True))
    assert {p.name for p in cache.rglob("*") if p.is_file()} == {hashlib.sha256(c).hexdigest() for c in (b"s" * 10, b"a" * 1000)}
    assert world.site(last, "in/x/b").read_bytes() == b"b" * 1000, "what a job has stays"


def test_of_all_that_is_new_unchanged_inputs_are_none(world: World) -> None:
    sha = tree(world, {"a": b"as given", "b": b"to change"})
    a = world.attempt()
    world.stage_in(a, InputFile("x", sha, tree=True))
    work = world.site(a, "work")
    subprocess.run(["cp", "-Rp", f"{world.site(a, 'in')}/.", work], check=True)
    subprocess.run(["chmod", "-R", "u+w", work], check=True)
    (work / "x" / "b").write_bytes(b"changed..")
    (work / "new").write_bytes(b"new")
    world.fetch(a, JobSpec(app="command", app_version="v", outputs=("**",), inputs=(InputFile("x", sha, tree=True),)))
    assert world.results(a) == {"new": b"new", "x/b": b"changed.."}


def test_organisations_share_nothing_at_a_site(world: World) -> None:
    other = world.add_tenant("other")
    sha, theirs = tree(world, {"a": b"same"}), tree(world, {"a": b"same"}, other)
    assert sha == theirs
    mine, its = world.attempt(), world.attempt(other)
    world.stage_in(mine, InputFile("x", sha, tree=True))
    world.stage_in(its, InputFile("x", sha, tree=True))
    one, two = world.site(mine, "in/x/a").stat(), world.site(its, "in/x/a").stat()
    assert one.st_ino != two.st_ino
    assert cache_of(mine["directory"], mine["org_id"]) != cache_of(its["directory"], its["org_id"])
    alone = tree(world, {"a": b"only theirs"}, other)
    with pytest.raises(NotFound):
        world.stage_in(world.attempt(), InputFile("x", alone, tree=True))


def test_a_directory_whose_files_are_missing_is_told(world: World) -> None:
    sha = world.upload(encode([TreeFile("a", "0" * 64, 1), TreeFile("b", "1" * 64, 1)]))
    with pytest.raises(NotFound) as e:
        asyncio.run(world.staging.tree(Scope(world.tenant.org_id), sha))
    assert "2 of the directory's 2 files are not uploaded, 'a' first" in e.value.message
