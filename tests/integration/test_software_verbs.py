"""The verbs of installations, machine cards and the porting board, typed at a running network: text, JSON, exit status."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.parts.served_platform import World, served_platform

from tidegrid.cli import main

Tide = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    home = Path(tempfile.mkdtemp(prefix="tide-"))
    try:
        with served_platform(home) as made:
            made.tokens = {"operator": made.token("operator", "oper", "operator"), "user": made.token("acme", "ada-2", "user")}
            yield made
    finally:
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def tide(world: World, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Tide:
    monkeypatch.setenv("TIDE_URL", world.url)
    monkeypatch.setenv("COLUMNS", "300")

    def call(*arguments: str, who: str = "operator") -> tuple[int, str, str]:
        monkeypatch.setenv("TIDE_TOKEN", world.tokens[who])
        capfd.readouterr()
        status = main.run(arguments)
        out, err = capfd.readouterr()
        return status, out, err

    return call


def told(found: tuple[int, str, str]) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(found[2].splitlines()[-1])["error"]
    return value


def test_an_application_is_verified_and_its_state_and_speed_are_shown(tide: Tide) -> None:
    status, out, err = tide("apps", "verify", "md-lj", "--partition", "north", "--timeout", "2m")
    assert status == 0, err
    assert "north/cpu: tiny box keeps its energy: passed in" in err
    assert [line.split()[:2] for line in out.splitlines() if line.startswith("north/cpu")] == [["north/cpu", "verified"]]
    rows = json.loads(tide("apps", "installed", "md-lj", "--json", who="user")[1])
    state = {r["partition"]: (r["state"], (r["speed"] or {}).get("n"), r["changed_by"]) for r in rows}
    assert state == {"north/cpu": ("verified", 1, None), "east/cpu": ("installed", None, None)}
    assert tide("apps", "install-state", "md-lj", "north/cpu", "tuned")[1] == "md-lj at north/cpu: tuned\n"
    history = tide("apps", "history", "md-lj", "north/cpu")[1]
    assert history.index("tuned") < history.index("verified") and "oper" in history


@pytest.mark.parametrize(
    ("arguments", "status", "code"),
    [
        (["apps", "verify", "nothing"], 2, "app.unknown"),
        (["apps", "verify", "md-lj", "--test", "another"], 2, "app.test_unknown"),
        (["apps", "verify", "md-lj", "--partition", "south"], 2, "partition.unknown"),
        (["apps", "install-state", "md-lj", "north/cpu", "verified"], 4, "installation.by_test"),
        (["apps", "install-state", "lammps-melt", "north/cpu", "withdrawn"], 4, "installation.not_listed"),
        (["apps", "install-state", "md-lj", "north/gpu", "wanted"], 2, "partition.unknown"),
        (["machine-card", "--partition", "north"], 2, "partition.malformed"),
        (["machine-card", "--partition", "north/gpu"], 2, "partition.unknown"),
        (["machine-card", "--partition", "east/cpu", "--kept"], 2, "card.none"),
        (["machine-card", "--kept"], 2, "card.whose"),
        (["porting", "add", "md-lj", "aarch64"], 2, "porting.effort"),
        (["porting", "add", "nothing", "aarch64", "--effort", "2"], 2, "app.unknown"),
        (["porting", "move", "port-0000000000001", "testing"], 2, "porting.unknown"),
        (["porting", "move", "port-0000000000001"], 2, "porting.nothing"),
        (["porting", "move", "port-0000000000001", "flying"], 2, "request.invalid"),
        (["submit", "md-lj", "--work", "training"], 2, "work.gpus"),
        (["submit", "md-lj", "--work", "dreaming"], 2, "request.invalid"),
    ],
)
def test_what_cannot_be_done_says_why_and_leaves_with_the_right_status(tide: Tide, arguments: list[str], status: int, code: str) -> None:
    found = tide(*arguments, "--json")
    assert found[0] == status and told(found)["code"] == code, found
    assert told(found)["hint"] or code == "request.invalid"


def test_users_read_where_applications_run_and_change_nothing(tide: Tide) -> None:
    assert tide("apps", "installed", who="user")[0] == 0
    for arguments in (["apps", "verify", "md-lj"], ["apps", "install-state", "md-lj", "north/cpu", "withdrawn"], ["porting", "list"],
                      ["machine-card", "--partition", "north/cpu"]):  # fmt: skip
        found = tide(*arguments, "--json", who="user")
        assert (found[0], told(found)["code"]) == (4, "auth.forbidden"), arguments


def test_the_board_is_kept_by_verbs(tide: Tide) -> None:
    item = tide("porting", "add", "lammps-melt", "aarch64", "--effort", "5", "--note", "asked for by acme")[1].strip()
    assert tide("porting", "move", item, "testing", "--note", "two of three pass")[1] == f"{item}: lammps-melt on aarch64: testing\n"
    found = tide("porting", "move", item, "serving", "--json")
    assert found[0] == 4 and told(found)["code"] == "porting.not_installed"
    shown = json.loads(tide("porting", "show", item, "--json")[1])
    assert [(h["state"], h["note"]) for h in shown["history"]] == [("planned", "asked for by acme"), ("testing", "two of three pass")]
    assert "two of three pass" in tide("porting", "show", item)[1]
    listed = tide("porting", "list")[1]
    assert item in listed and "lammps-melt" in listed


def test_a_job_says_what_kind_of_work_it_is_and_is_placed_by_that(tide: Tide) -> None:
    job = json.loads(tide("submit", "script", "-p", "script=true", "--work", "may_wait", "--json")[1])
    assert job["objective"] == "patient"
    named = json.loads(tide("submit", "script", "-p", "script=true", "--work", "may_wait", "-o", "fastest", "--json")[1])
    assert named["objective"] == "fastest"
