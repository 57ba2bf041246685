"""Applications published, versioned, tested, sized and watched: the whole way, by the command line against a real server."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.parts.platform import NETWORK
from tests.parts.served_platform import World, served_platform

from tidegrid.apps import documents
from tidegrid.cli import main
from tidegrid.client import Tide
from tidegrid.control import catalogue
from tidegrid.domain.errors import Conflict, InvalidInput, NotFound

DOCUMENT = """\
id: mine
title: {en: Mine, zh: 我的}
summary: {en: Sums a table, zh: 求和}
params:
  type: object
  properties:
    factor: {type: integer, minimum: 1, default: 1}
    pause: {type: number, default: 0}
  additionalProperties: false
ui:
  factor: {label: {en: Factor, zh: 因子}}
  pause: {label: {en: Pause, zh: 停顿}}
resources:
  cores: 1
  memory: '= 64 + 10 * factor + input_bytes / 1048576 * 4'
  wall: '= 60 * factor'
  max: {memory: 1 GiB}
files: [{path: data/table.txt, package: table.txt}, {path: .mpi, package: mpi.in}]
script: |
  . ./.mpi
  echo 'step 3 of 8'
  sleep {{ pause }}
  awk -v f={{ factor }} '{ s += $1 } END { printf "{\\"sum\\": %d}\\n", f * s }' data/table.txt > result.json
progress: 'step (\\d+) of (\\d+)'
inputs: ['**']
outputs: [result.json]
tests:
  - {name: the sum, params: {factor: 2}, expect: [{file: result.json, path: $.sum, equals: 12}]}
"""

Call = Callable[..., Any]


@dataclass
class Stage:
    world: World
    operator: str
    user: str


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with served_platform(tmp_path_factory.mktemp("apps"), network=NETWORK) as world:
        yield Stage(world, world.token("operator", "chief", "operator"), world.token("acme", "carol", "user"))


@pytest.fixture
def call(stage: Stage, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """A command line with `--json`: its answer; where another exit status than 0 is expected, its error."""
    monkeypatch.setenv("TIDE_URL", stage.world.url)

    def run(*arguments: str, operator: bool = False, status: int = 0) -> Any:
        monkeypatch.setenv("TIDE_TOKEN", stage.operator if operator else stage.user)
        capfd.readouterr()
        found = main.run([*arguments, "--json"])
        out, err = capfd.readouterr()
        assert found == status, (found, out, err)
        return json.loads(out) if out.strip() else json.loads(err.splitlines()[-1])["error"]

    return run


@pytest.fixture
def document(tmp_path: Path) -> Path:
    (tmp_path / "table.txt").write_text("1\n2\n3\n")
    (tmp_path / "mine.yaml").write_text(DOCUMENT)
    return tmp_path / "mine.yaml"


def renamed(document: Path, name: str) -> Path:
    document.write_text(DOCUMENT.replace("id: mine", f"id: {name}"))
    return document


def test_a_published_application_runs_with_its_files_and_each_job_keeps_its_version(stage: Stage, call: Call, document: Path) -> None:
    tried = call("apps", "publish", str(document), "--dry-run", operator=True)
    assert tried["new"] and tried["dry_run"] and call("apps", "show", "mine", status=2)["code"] == "app.unknown"
    one = call("apps", "publish", str(document), operator=True)
    assert one["new"] and one["version"] == tried["version"]
    assert [f["path"] for f in one["files"]] == ["data/table.txt", ".mpi"]
    assert "mine" in [a["id"] for a in call("apps", "list")]
    held = call("submit", "mine", "-p", "factor=3", "--held")

    (document.parent / "table.txt").write_text("10\n")
    two = call("apps", "publish", str(document), operator=True)
    assert two["new"] and two["version"] != one["version"], "another content of a file is another version"
    again = call("apps", "publish", str(document), operator=True)
    assert (again["new"], again["version"]) == (False, two["version"])
    listed = call("apps", "versions", "mine")
    assert [(v["version"], v["current"]) for v in listed] == [(two["version"], True), (one["version"], False)]
    assert "by" not in listed[0], "who published it is the operator's to see"
    assert [v["by"] for v in call("apps", "versions", "mine", operator=True)] == ["chief", "chief"]

    call("release", held["id"])
    new, old = call("submit", "mine"), call("submit", f"mine@{one['version'][:12]}")
    with Tide(stage.world.url, stage.user) as tide:
        found = {}
        for job in (held, new, old):
            ended = tide.wait(job["id"], timeout=60)
            assert ended.succeeded, ended.raw
            (path,) = tide.fetch(job["id"], document.parent / job["id"], only=["result.json"])
            found[job["id"]] = (json.loads(path.read_text())["sum"], ended.app_version)
    assert found == {held["id"]: (18, one["version"]), new["id"]: (10, two["version"]), old["id"]: (6, one["version"])}

    (document.parent / "table.txt").write_text("1\n2\n3\n")
    assert call("apps", "publish", str(document), operator=True)["new"] is False
    assert [v["current"] for v in call("apps", "versions", "mine")] == [True, False]
    assert call("apps", "show", "mine")["version"] == one["version"], "publishing the former one makes it current again"
    stage.world.call(catalogue.install_packaged(stage.world.running.platform.ctx))  # as every start does
    assert call("apps", "show", "mine")["version"] == one["version"]


def test_its_acceptance_tests_are_jobs_whose_numbers_are_checked(call: Call, document: Path) -> None:
    call("apps", "publish", str(renamed(document, "tested")), operator=True)
    (found,) = call("apps", "test", "tested", "--partition", "east/cpu")
    assert found["passed"] and found["where"] == "east/cpu" and found["values"] == {"sum": 12}
    document.write_text(document.read_text().replace("equals: 12", "equals: 13"))
    call("apps", "publish", str(document), operator=True)
    (found,) = call("apps", "test", "tested", status=1)
    assert not found["passed"] and found["failed"] == ["the sum: result.json $.sum: is 12, expected 13"]
    assert call("apps", "test", "tested", "--test", "another", status=2)["code"] == "app.test_unknown"


def test_only_an_operator_publishes(stage: Stage, document: Path) -> None:
    text = renamed(document, "others").read_text()
    for role in ("user", "project_admin", "provider", "auditor"):
        with stage.world.http(stage.world.token("acme", f"a-{role.replace('_', '-')}", role)) as http:
            answer = http.post("/apps", json={"document": text, "files": {}})
            assert (answer.status_code, answer.json()["code"]) == (403, "auth.forbidden")
    with stage.world.tide(stage.user) as tide, pytest.raises(NotFound):
        tide.app("others")


@pytest.mark.parametrize(
    ("change", "files", "code", "told"),
    [
        (("id: mine", "id: lammps-melt"), None, "app.packaged", "comes with the program"),
        (("id: mine", "id: Mine!"), None, "document.invalid", "id"),
        (("awk -v f={{ factor }}", "echo '{{ factor }}'"), None, "document.invalid", "script"),
        (("= 60 * factor", "= 60 * factors"), None, "document.invalid", "resources.wall"),
        (("package: table.txt", "package: other.txt"), None, "document.invalid", "files[0].package"),
        (None, {}, "document.invalid", "files[0].package"),
        (None, {"table.txt": b"1\n", "more.txt": b""}, "document.files", "more.txt"),
        (("package: table.txt", "package: table.txt, sha256: " + "ab" * 32), None, "document.files", "was not sent"),
        (None, {"table.txt": b"x" * (catalogue.MAX_FILES + 1)}, "document.too_large", "16777216 are possible"),
    ],
)
def test_what_cannot_be_published_is_told_and_changes_nothing(
    stage: Stage, change: tuple[str, str] | None, files: dict[str, bytes] | None, code: str, told: str
) -> None:
    with stage.world.tide(stage.operator) as tide:
        before = tide.apps()
        with pytest.raises((InvalidInput, Conflict)) as e:
            tide.publish_app(DOCUMENT.replace(*change) if change else DOCUMENT, {"table.txt": b"1\n"} if files is None else files)
        assert e.value.code == code
        assert told in e.value.message or told in [p["path"] for p in e.value.details.get("problems", [])], e.value
        assert tide.apps() == before


def test_more_than_the_limit_of_a_body_is_not_read(stage: Stage) -> None:
    with stage.world.http(stage.operator) as http:
        body = {"document": DOCUMENT, "files": {"table.txt": base64.b64encode(b"x" * (20 << 20)).decode()}}
        assert http.post("/apps", json=body).status_code == 413
        assert http.post("/apps", json={"document": DOCUMENT, "files": {"table.txt": "no base64!"}}).status_code == 422
        assert http.post("/apps", json={"document": DOCUMENT, "files": {"../x": ""}}).status_code == 422


def test_what_a_job_asks_for_follows_from_its_parameters_and_inputs(call: Call, document: Path, stage: Stage) -> None:
    call("apps", "publish", str(renamed(document, "sized")), operator=True)
    big = document.parent / "big.bin"
    big.write_bytes(b"\0" * (10 << 20))
    offered = call("offers", "sized", "-p", "factor=5")
    assert (offered["resources"]["memory_mib"], offered["resources"]["wall_s"]) == (114, 300)
    assert offered["formulas"]["wall_s"] == "= 60 * factor"
    assert call("offers", "sized", "-i", str(big))["resources"]["memory_mib"] == 114, "the input counts before it is uploaded"
    job = call("submit", "sized", "-p", "factor=5", "-i", str(big), "--held")
    assert (job["resources"]["memory_mib"], job["resources"]["wall_s"]) == (154, 300)
    small = call("submit", "sized", "-p", "factor=5", "-m", "100M", "--held")
    assert (small["resources"]["memory_mib"], small["resources"]["wall_s"]) == (100, 300), "the user's word goes first"
    cheap, dear = call("offers", "sized"), call("offers", "sized", "-p", "factor=20")
    assert float(dear["offers"][0]["at_most"]["amount"]) > 10 * float(cheap["offers"][0]["at_most"]["amount"])
    error = call("submit", "sized", "-p", "factor=200", status=2)
    assert error["code"] == "resources.over_limit" and "memory_mib 2064 is above 1024, by its formula" in error["message"]
    for j in (job, small):
        call("cancel", j["id"])


def test_how_far_a_running_job_is(call: Call, document: Path, stage: Stage) -> None:
    call("apps", "publish", str(renamed(document, "slow")), operator=True)
    job = call("submit", "slow", "-p", "pause=30")["id"]
    with Tide(stage.world.url, stage.user) as tide:
        deadline = time.monotonic() + 30
        while (far := tide.progress(job))["percent"] is None and time.monotonic() < deadline:
            time.sleep(0.1)
        assert (far["percent"], far["done"], far["of"], far["source"]) == (37.5, 3, 8, "log")
        assert call("show", job)["progress"]["percent"] == 37.5
        assert [j["progress"]["percent"] for j in call("ps", "--progress") if j["id"] == job] == [37.5]
        tide.cancel(job)
        assert tide.wait(job, timeout=30).state == "cancelled"
        assert tide.progress(job)["percent"] is None
        sweep = tide.submit("pendulum-sweep", array="0-2")
        assert tide.wait(sweep.id, timeout=60).succeeded and tide.progress(sweep.id)["percent"] == 100


def test_what_needs_no_installation_passes_its_own_tests(call: Call) -> None:
    """The others do in `make test-real`."""
    apps = [a.id for a in documents() if not a.software.needed and a.tests]
    assert {"command", "script", "python", "md-lj", "pendulum-sweep", "summarise"} <= set(apps)
    found = [o for name in apps for o in call("apps", "test", name)]
    assert [o for o in found if not o["passed"]] == []
    assert {o["app"] for o in found if o["values"]} >= set(apps) - {"sbatch"}, "a number of each is checked"
