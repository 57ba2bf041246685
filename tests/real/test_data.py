"""A directory of many files to a site over a real sshd: cut off, resumed, verified; a second time nothing travels."""


from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import pytest
from benchmarks.data import AT, Counter, Way, arrived, bringer, check, make
from tests.parts.slurm_site import SlurmSite

from tidegrid.connectors.contract import SiteUnsure
from tidegrid.control import bringing
from tidegrid.control.bringing import Source
from tidegrid.domain.errors import Broken, NoSpace
from tidegrid.launch.testbed import Testbed


def test_many_files_cut_off_resumed_verified_and_known(
    slurm: Testbed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bringing, "PACK_FILES", 20)
    monkeypatch.setattr(bringing, "LARGE", 512 << 10)
    site, root = SlurmSite(tmp_path, slurm.clusters[0], ssh=True), tmp_path / "root"
    sources = make(tmp_path / "source", 200, 20_000_000)
    total = sum(s.size for s in sources)
    strange = tmp_path / "source" / "strange"
    strange.write_bytes(b"strange")
    sources += [
        Source(name, strange, hashlib.sha256(b"strange").hexdigest(), 7) for name in ("-a b'c\"d", "海/浪 $(x)", "l" * 200 + "/" + "m" * 200)
    ]

    async def main() -> None:
        work = bringer(tmp_path)
        async with Way(site, root) as files:
            way = asyncio.create_task(work.bring(files, AT, "a/in", sources))
            while arrived(root) < total * 0.3:
                await asyncio.sleep(0.005)
                assert not way.done(), "too quick to be cut off"
            files._link.drop()
            with pytest.raises(SiteUnsure):
                await way
        assert not (root / "a/in").exists(), "nothing bears its name before all are there"
        async with Way(site, root) as files:
            again = await work.bring(files, AT, "a/in", sources)
            assert 0 < again.sent_bytes < total and again.known_bytes > 0
            assert check(root / "a/in", sources) == 0
            assert not [p for p in (root / AT).iterdir() if p.name.startswith(".")]
        counter = Counter(site.target().port)
        async with Way(site, root, await counter.start()) as files:
            second = await work.bring(files, AT, "b/in", sources)
            assert (second.sent_files, second.sent_bytes, check(root / "b/in", sources)) == (0, 0, 0)
            assert counter.bytes < total / 50
            spoilt = root / "b/in" / sources[0].path
            spoilt.chmod(0o600)
            spoilt.write_bytes(b"spoilt")
            third = await work.bring(files, AT, "c/in", sources)
            assert third.sent_files == 1 and check(root / "c/in", sources) == 0
            await files.uncache(AT, [s.sha256 for s in sources])
            assert arrived(root) == 0 and check(root / "c/in", sources) == 0
            lie = Source("lie", strange, "0" * 64, 7)
            with pytest.raises(Broken):
                await work.bring(files, AT, "d/in", [lie])

    asyncio.run(main())


def test_a_full_disk_at_the_site_is_told_and_what_arrived_stays(slurm: Testbed, tmp_path: Path) -> None:
    """A real small filesystem."""
    import subprocess

    root = tmp_path / "small"
    root.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(root)], capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip("no file system can be mounted here")
    try:
        site = SlurmSite(tmp_path, slurm.clusters[0], ssh=True)
        sources = make(tmp_path / "source", 60, 16_000_000)

        async def main() -> None:
            async with Way(site, root) as files:
                with pytest.raises(NoSpace) as e:
                    await bringer(tmp_path).bring(files, AT, "a/in", sources)
                assert e.value.code == "staging.no_space" and str(root) in e.value.message
            subprocess.run(["mount", "-o", "remount,size=64m", str(root)], check=True)  # noqa: ASYNC221
            async with Way(site, root) as files:
                again = await bringer(tmp_path).bring(files, AT, "a/in", sources)
                assert 0 < again.known_files < len(sources) and check(root / "a/in", sources) == 0

        asyncio.run(main())
    finally:
        subprocess.run(["umount", "-l", str(root)], check=False)
