"""A mounted site: complete files or none, claims that one wins, and no way out of the root."""
# ruff: noqa: ASYNC240 — what the files really are is looked at directly

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import pytest

from tidegrid.connectors.contract import SiteRefused, SiteUnsure, SpoolEntry
from tidegrid.connectors.files import LocalFiles
from tidegrid.domain.errors import InvalidInput, NoSpace, NotFound

pytestmark = pytest.mark.anyio


@pytest.fixture
def files(tmp_path: Path) -> LocalFiles:
    made = LocalFiles(str(tmp_path / "site"))
    made.make_root()
    return made


async def test_written_files_are_private_and_whole(files: LocalFiles) -> None:
    await files.write("a/b/script", b"one")
    await files.write("a/b/script", b"two")
    path = Path(files.root, "a/b/script")
    assert path.read_bytes() == await files.read("a/b/script") == b"two"
    assert path.stat().st_mode & 0o777 == 0o600 and path.parent.stat().st_mode & 0o777 == 0o700
    assert os.listdir(path.parent) == ["script"]


async def test_a_full_disk_is_named_and_leaves_nothing(files: LocalFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(NoSpace) as refused:
        await files.write("a/script", b"x")
    assert refused.value.code == "staging.no_space"
    assert os.listdir(Path(files.root, "a")) == []


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../x", "a/../../x", ".", "a/\0"])
async def test_paths_outside_the_root_are_refused(files: LocalFiles, path: str) -> None:
    for call in (files.read(path), files.write(path, b""), files.remove(path), files.claim(path, 0, 0, "x")):
        with pytest.raises(InvalidInput) as refused:
            await call
        assert refused.value.code == "staging.path"


async def test_links_that_a_job_made_lead_nowhere(files: LocalFiles, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    work = Path(files.root, "job/work")
    work.mkdir(parents=True)
    (work / "file").symlink_to(tmp_path / "secret")
    (work / "dir").symlink_to(tmp_path)
    os.mkfifo(work / "fifo")
    for path in ("job/work/file", "job/work/dir/secret", "job/work/fifo"):
        with pytest.raises(InvalidInput):
            await files.read(path)
        with pytest.raises(InvalidInput):
            await files.get(path, str(tmp_path / "here"))
    with pytest.raises(InvalidInput):
        await files.put(str(tmp_path / "secret"), "job/work/dir/other")
    assert await files.glob("job/work", ["**"]) == []
    await files.remove("job/work")
    assert (tmp_path / "secret").exists()


async def test_copies_go_on_where_they_stopped(files: LocalFiles, tmp_path: Path) -> None:
    local, back = tmp_path / "local", tmp_path / "back"
    local.write_bytes(b"0123456789")
    assert await files.put(str(local), "in/data") == 10
    Path(files.root, "in/data").write_bytes(b"01234")
    assert await files.put(str(local), "in/data", offset=5) == 10
    back.write_bytes(b"012")
    assert await files.get("in/data", str(back), offset=3) == 10
    assert back.read_bytes() == local.read_bytes()
    assert (await files.sha256("in/data")).startswith("84d89877")
    with pytest.raises(NotFound):
        await files.get("in/none", str(back))
    assert await files.read("in/none") == b"" and await files.read("in/data", offset=8) == b"89"


async def test_patterns_select_regular_files(files: LocalFiles) -> None:
    for path in ("a.dat", "b.txt", "deep/c.dat", "deep/er/d.dat", "out/x"):
        await files.write(f"job/work/{path}", b"12")

    async def found(*patterns: str) -> list[str]:
        return [f.path for f in await files.glob("job/work", patterns)]

    assert await found("*.dat") == ["a.dat"]
    assert await found("**/*.dat") == ["a.dat", "deep/c.dat", "deep/er/d.dat"]
    assert await found("out", "[!a].txt") == ["b.txt", "out/x"]
    assert await found("?.???") == ["a.dat", "b.txt"]
    assert await found() == []
    assert await files.glob("job/none", ["*"]) == []
    with pytest.raises(SiteRefused):
        await files.glob("job/work", ["**"], limit=2)


async def test_one_of_many_claims_wins_and_all_learn_who(files: LocalFiles) -> None:
    claims = await asyncio.gather(*(files.claim("org/job/attempt", 3, 0, f"server:{n}") for n in range(10)))
    assert sum(c.won for c in claims) == 1
    assert len({c.holder for c in claims}) == 1
    assert os.readlink(Path(files.root, "org/job/attempt/fence-3.0")) == claims[0].holder


async def test_the_spool_lists_complete_entries_only(files: LocalFiles) -> None:
    await files.write("spool/0000000000abc.7.1.mark", b"nonce 12 99 .\n")
    for half in (b"", b"nonce", b"nonce 12 9", b"nonce 12 99", b"nonce 12 99\n"):  # its prologue is still at it
        await files.write("spool/0000000000abc.9.1.mark", half)
        assert [e.task for e in await files.spool()] == [7]
    await files.write("spool/notes.txt", b"")
    assert await files.spool() == [SpoolEntry("0000000000abc.7.1.mark", "mark", "0000000000abc", 7, 1, "nonce 12 99")]
    assert await files.unspool(["0000000000abc.7.1.mark", "0000000000abc.8.0.mark"]) == ["0000000000abc.7.1.mark"]
    assert await files.unspool(["0000000000abc.9.1.mark"]) and await files.spool() == []
    with pytest.raises(InvalidInput):
        await files.unspool(["../lease"])


async def test_a_spool_that_is_gone_is_no_empty_spool(files: LocalFiles) -> None:
    Path(files.root, "spool").rmdir()
    with pytest.raises((NotFound, SiteUnsure)):
        await files.spool()
