"""Data by the SDK over lines that break, and jobs on it: on the real platform and embedded clusters."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.parts.cutting import cutting
from tests.parts.served_platform import World, served_platform

from tidegrid.client import Tide
from tidegrid.client import uploads as client_uploads
from tidegrid.domain.errors import Conflict, InvalidInput, NotFound, Unreachable

MIB = 1 << 20


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with served_platform(tmp_path_factory.mktemp("data") / "home") as made:
        yield made


@pytest.fixture(scope="module")
def ada(world: World) -> str:
    return world.token("acme", "eve", "user")


def job(tide: Tide, script: str, **more: Any) -> Any:
    body = {"params": {"script": script}, "resources": {"memory_mib": 64, "wall_s": 60}, **more}
    return tide.wait(tide.submit("script", **body).id, timeout=60)


def test_a_large_file_arrives_over_a_line_that_breaks(
    world: World, ada: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_uploads, "PIECE", MIB)
    file = tmp_path / "big"
    file.write_bytes(os.urandom(6 * MIB + 5))
    with cutting(world.url, 5 * MIB // 2) as (url, line), Tide(url, ada, sleep=lambda s: None) as tide:
        found = tide.upload(file)
        assert line.cuts >= 2 and line.up < (7 + line.cuts) * MIB, (line.cuts, line.up)  # a cut loses a piece at most
        before = line.up
        assert tide.upload(file) == found and line.up - before < 20_000, "known: nothing travels"
    with world.tide(ada) as tide:
        done = job(tide, "sha256sum <big", inputs=[{"path": "big", "sha256": found["sha256"]}])
        assert done.state == "succeeded" and tide.logs(done.id)[0].startswith(found["sha256"].encode())


def test_an_upload_goes_on_in_another_process(world: World, ada: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_uploads, "PIECE", MIB)
    monkeypatch.setattr(client_uploads, "TRIES", 1)
    file = tmp_path / "big"
    file.write_bytes(os.urandom(4 * MIB))
    with cutting(world.url, 5 * MIB // 2) as (url, _), Tide(url, ada, sleep=lambda s: None) as tide, pytest.raises(Unreachable):
        tide.upload(file)
    with cutting(world.url, 0) as (url, line), Tide(url, ada) as tide:
        tide.upload(file)
        assert line.up < 3 * MIB
        with world.http(ada) as http:
            begun = http.post("/contents/pieces", json={"sha256": "0" * 64, "size": 10}).json()
            head = http.head(f"/uploads/{begun['id']}")
            assert (head.status_code, head.headers["upload-offset"], head.headers["upload-length"]) == (200, "0", "10")
            wrong = http.patch(f"/uploads/{begun['id']}", headers={"Upload-Offset": "3"}, content=b"x")
            assert (wrong.status_code, wrong.json()["code"]) == (409, "upload.offset")
            with world.http(world.token("rival", "bob", "user")) as other:
                assert other.head(f"/uploads/{begun['id']}").status_code == 404
            assert http.delete(f"/uploads/{begun['id']}").status_code == 204


def test_a_directory_over_a_line_that_breaks_and_a_job_on_it(
    world: World, ada: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_uploads, "PACK", MIB)
    top = tmp_path / "mesh"
    for i in range(120):
        path = top / f"d{i % 7}" / f"f{i}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(20_000 + i))
    with cutting(world.url, 3 * MIB // 2) as (url, line), Tide(url, ada, sleep=lambda s: None) as tide:
        found = tide.upload_directory(top)
        assert line.cuts >= 1 and (found.files, found.sent_files) == (120, 120)
        (top / "d0" / "f0").write_bytes(b"changed")
        again = tide.upload_directory(top)
        assert (again.sent_files, again.sent_bytes) == (1, 7) and again.sha256 != found.sha256
    with world.tide(ada) as tide:
        tide.name_dataset("mesh", found.sha256, regions=["cn-east"])
        script = "find mesh -type f | wc -l; echo x >> mesh/d1/f1; mkdir -p out; cp mesh/d2/f2 out/two"
        done = job(tide, script, inputs=[{"path": "mesh", "tree": found.sha256}], outputs=["**"])
        assert done.state == "succeeded" and tide.logs(done.id)[0].split() == [b"120"]
        assert done.cluster == "east", "where its data must stay"
        brought = {o.path for o in tide.outputs(done.id)}
        assert {"mesh/d1/f1", "out/two"} <= brought and not [p for p in brought if p.startswith("mesh/d2")]
        chained = tide.submit("script", params={"script": "wc -c <two"}, resources={"memory_mib": 64, "wall_s": 60},
                              inputs=[{"path": "two", "job": done.id, "source": "out/two"}])  # fmt: skip
        assert tide.wait(chained.id, timeout=60).cluster == "east", "a result stays where its data must"
        with pytest.raises(InvalidInput) as e:
            tide.submit("script", params={"script": "true"}, inputs=[{"path": "m", "tree": found.sha256}],
                        constraints={"residency": ["cn-north"]})  # fmt: skip
        assert e.value.code == "input.residency"
        with pytest.raises(InvalidInput) as e:
            tide.submit("script", params={"script": "true"}, constraints={"residency": ["mars"]})
        assert e.value.details["refusals"]["residency"] == 2
        held = tide.submit("script", params={"script": "true"}, inputs=[{"path": "m", "tree": found.sha256}], held=True)
        with pytest.raises(Conflict):
            tide.remove_dataset("mesh")
        tide.cancel(held.id)
        freed = tide.remove_dataset("mesh")
        assert freed["files"] == 121 and tide.datasets() == []
        with pytest.raises(NotFound):
            tide.submit("script", params={"script": "true"}, inputs=[{"path": "m", "tree": found.sha256}])


def test_results_come_home_over_a_line_that_breaks(world: World, ada: str, tmp_path: Path) -> None:
    with world.tide(ada) as tide:
        done = job(tide, "head -c 6000000 /dev/urandom >big; echo small >small", outputs=["big", "small"])
        whole = {p.name: p.read_bytes() for p in tide.fetch(done.id, tmp_path / "plain", only=["big", "small"])}
    target = tmp_path / "cut"
    with cutting(world.url, 5 * MIB // 2) as (url, line), Tide(url, ada, sleep=lambda s: None) as tide:
        tide.fetch(done.id, target, only=["big", "small"])
        assert line.cuts >= 2
    assert {p.name: p.read_bytes() for p in target.iterdir()} == whole
    part = target / f".big.{next(o.sha256 for o in tide_outputs(world, ada, done.id) if o.path == 'big')[:16]}.part"
    (target / "big").rename(part)
    os.truncate(part, 5_000_000)
    with cutting(world.url, MIB * 3 // 2) as (url, line), Tide(url, ada) as tide:
        tide.fetch(done.id, target, only=["big", "small"])
        assert line.cuts == 0, "only the last million bytes came"
    assert {p.name: p.read_bytes() for p in target.iterdir()} == whole


def tide_outputs(world: World, token: str, job_id: str) -> Any:
    with world.tide(token) as tide:
        return tide.outputs(job_id)
