"""Every verb: what it prints, its JSON, its exit status."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.parts.api import Api

from tidegrid.cli import main

Tide = Callable[..., tuple[int, str, str]]


@pytest.fixture
def tide(api: Api, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Tide:
    """Run one command line: (exit status, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TIDE_URL", api.url)
    monkeypatch.setenv("COLUMNS", "300")

    def call(*arguments: str, who: str = "ada") -> tuple[int, str, str]:
        monkeypatch.setenv("TIDE_TOKEN", api.tokens.get(who, ""))
        capfd.readouterr()
        status = main.run(arguments)
        out, err = capfd.readouterr()
        return status, out, err

    return call


def _submit(tide: Tide, *more: str) -> str:
    status, out, err = tide("submit", "echo", "-p", "text=hi", *more)
    assert status == 0, err
    return out.strip()


def test_submit_prints_the_id_and_nothing_else(tide: Tide, api: Api) -> None:
    job = _submit(tide, "-p", "times=3", "-c", "2", "-m", "2G", "-t", "1h30m", "--on", "east", "-e", "A=b=c", "--name", "初试")
    body = api.platform.rows[job]["body"]
    assert body["params"] == {"text": "hi", "times": 3}
    assert body["resources"] == {"cores": 2, "memory_mib": 2048, "wall_s": 5400}
    assert (body["constraints"], body["env"], body["name"]) == ({"any_of": ["east"]}, {"A": "b=c"}, "初试")


def test_texts_stay_texts_where_the_application_says_so(tide: Tide, api: Api) -> None:
    _, out, _ = tide("submit", "echo", "-p", "text=007")
    assert api.platform.rows[out.strip()]["body"]["params"] == {"text": "007"}


def test_a_script_and_its_files_go_up(tide: Tide, api: Api, tmp_path: Path) -> None:
    (tmp_path / "run.sh").write_text("cat data.txt\n")
    (tmp_path / "local.txt").write_text("x")
    earlier = _submit(tide)
    status, out, err = tide("submit", "--script", "run.sh", "-i", "data.txt=local.txt", "-i", "local.txt",
                            "-i", f"b={earlier}:out.txt", "--after-any", earlier)  # fmt: skip
    assert status == 0, err
    body = api.platform.rows[out.strip()]["body"]
    assert body["app"] == "script" and body["params"] == {"script": "cat data.txt\n"} and body["name"] == "run.sh"
    assert [i["path"] for i in body["inputs"]] == ["data.txt", "local.txt", "b"]
    assert body["inputs"][2] == {"path": "b", "job": earlier, "source": "out.txt"}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["submit"], "submit.what"),
        (["submit", "echo", "--script", "x"], "submit.what"),
        (["submit", "echo", "-m", "much"], "memory.malformed"),
        (["submit", "echo", "-t", "soon"], "duration.malformed"),
        (["submit", "echo", "-a", "9-0"], "array.malformed"),
        (["submit", "echo", "-p", "text"], "option.malformed"),
        (["submit", "echo", "--after", "1"], "id.malformed"),
        (["submit", "echo", "-i", "missing.txt"], "file.missing"),
        (["submit", "echo", "--env", "SURELY_NOT_SET_HERE"], "env.missing"),
        (["submit", "--script", "missing.sh"], "file.failed"),
        (["submit", "nothing"], "app.unknown"),
        (["submit", "echo", "-o", "best"], "request.invalid"),
        (["show", "job-1"], "request.invalid"),
        (["show", "job-0000000000001"], "job.unknown"),
        (["cancel", "nonsense"], "id.malformed"),
        (["wait", "job-0000000000001", "--timeout", "x"], "duration.malformed"),
        (["cluster", "dead", "east"], "confirm.missing"),
        (["network", "apply", "missing.yaml"], "file.failed"),
        (["deposit", "acme", "much"], "money.malformed"),
        (["nothing"], "usage"),
        (["submit", "--nothing"], "usage"),
        (["ps", "-n", "0"], "usage"),
    ],
)
def test_wrong_use_exits_2_with_a_code(tide: Tide, arguments: list[str], code: str) -> None:
    status, out, err = tide(*arguments, "--json")
    assert status == 2 and out == ""
    error = json.loads(err)["error"]
    assert error["code"] == code and error["exit_status"] == 2
    status, out, err = tide(*arguments)
    assert status == 2 and out == "" and err.startswith("error: ") and code in err and "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "who", "code"),
    [
        (["submit", "echo", "-c", "5000"], "ada", "balance.insufficient"),
        (["network", "show"], "ada", "auth.forbidden"),
        (["ps"], "", "token.missing"),
        (["token", "create", "--user", "adam"], "ada", "token.other"),
    ],
)
def test_refused_exits_4(tide: Tide, arguments: list[str], who: str, code: str) -> None:
    status, _, err = tide(*arguments, "--json", who=who)
    assert status == 4 and json.loads(err)["error"]["code"] == code


def test_no_server_exits_3(tide: Tide, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TIDE_URL", "http://127.0.0.1:1")
    status, _, err = tide("ps", "--json")
    assert status == 3 and json.loads(err)["error"]["code"] == "server.unreachable"
    monkeypatch.delenv("TIDE_URL")
    status, _, err = tide("--home", str(tmp_path / "none"), "ps", "--json")
    assert status == 3 and json.loads(err)["error"]["code"] == "server.unknown"


def test_the_homes_server_is_found_with_its_token(tide: Tide, api: Api, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "server.json").write_text(json.dumps({"url": api.url}))
    (tmp_path / "admin.token").write_text(api.tokens["operator"] + "\n")
    monkeypatch.delenv("TIDE_URL")
    assert tide("--home", str(tmp_path), "org", "list", who="")[0] == 0
    monkeypatch.setenv("TIDE_URL", api.url)
    assert tide("--home", str(tmp_path), "ps", who="")[0] == 4, "the home's token is not sent to another address"


def test_failed_work_exits_1(tide: Tide, api: Api) -> None:
    job, other = _submit(tide), _submit(tide)
    api.platform.finish(job, "failed", "exit status 3")
    api.platform.finish(other)
    status, out, _ = tide("wait", job, other)
    assert status == 1 and out.splitlines() == [f"{job} failed (exit status 3)", f"{other} succeeded"]
    assert tide("wait", other)[0] == 0


def test_waiting_may_end_before_the_job(tide: Tide) -> None:
    job = _submit(tide)
    status, _, err = tide("wait", job, "--timeout", "0s", "--json")
    assert status == 1 and json.loads(err)["error"]["code"] == "wait.timeout"


def test_run_shows_what_the_job_writes(tide: Tide, api: Api) -> None:
    def end() -> None:
        while not api.platform.rows:
            time.sleep(0.01)
        job = next(iter(api.platform.rows))
        api.platform.log[f"{job}.out"] = b"hello\n"
        api.platform.finish(job)

    threading.Thread(target=end).start()
    status, out, err = tide("run", "echo", "-p", "text=hi")
    assert status == 0 and out == "hello\n" and "succeeded" in err


def _everything(job: str) -> list[list[str]]:
    return [
        ["ps"], ["ps", "--all", "--state", "succeeded"], ["show", job], ["explain", job], ["offers", "echo", "-p", "text=x"],
        ["logs", job], ["events"], ["fetch", job, "--list"], ["fetch", job], ["usage"], ["usage", "--corrections"], ["balance"], ["apps"],
        ["apps", "show", "echo"], ["cluster", "list"], ["hold", job], ["release", job], ["cancel", job], ["org", "list"],
        ["project", "list"], ["user", "list"], ["token", "list"], ["token", "create", "--label", "x"],
        ["user", "create", "new"], ["project", "create", "new"],
    ]  # fmt: skip


OPERATORS = [
    ["network", "apply", "n.yaml"], ["network", "apply", "n.yaml", "--dry-run"], ["network", "show"],
    ["cluster", "drain", "east"], ["cluster", "resume", "east"], ["cluster", "dead", "east", "--yes"],
    ["deposit", "acme", "5"], ["usage", "--check"], ["usage", "reconcile", "east", "--correct"],
    ["site-account", "list"], ["site-account", "bind", "east/pool01", "acme"], ["site-account", "unbind", "east/pool01"],
    ["site-account", "history", "acct-0000000000001"], ["site-account", "retire", "acct-0000000000001"],
    ["site-account", "add", "east", "pool02", "--identity", "pool02-key", "--root", "/home/pool02/tide"], ["org", "create", "newco"],
]  # fmt: skip


def test_every_verb_speaks_to_people_and_to_programs(tide: Tide, api: Api, tmp_path: Path) -> None:
    (tmp_path / "n.yaml").write_text("clusters: {east: {}}\n")
    job = _submit(tide)
    api.platform.finish(job, outputs={"a/b.txt": b"x"})
    api.platform.log[f"{job}.out"] = b"log\n"
    for who, verbs in (("adam", _everything(job)), ("operator", OPERATORS)):
        for verb in verbs:
            status, out, err = tide(*verb, who=who)
            assert status == 0 and (out.strip() or verb[0] == "usage"), (verb, status, out, err)
            again = [f"{w}2" if w in ("new", "newco") else w for w in verb]
            status, out, err = tide(*again, "--json", who=who)
            assert status == 0, (again, err)
            for line in [out] if verb[0] != "events" else out.splitlines():
                json.loads(line)


def test_every_verb_has_json() -> None:
    import typer

    todo: list[Any] = [typer.main.get_command(main.app)]
    while todo:
        command = todo.pop()
        children = list(getattr(command, "commands", {}).values())
        todo += children
        if not children or command.name in ("apps", "usage"):
            assert any("--json" in p.opts for p in command.params), command.name


def test_fetch_writes_whole_files_where_it_is_told(tide: Tide, api: Api, tmp_path: Path) -> None:
    job = _submit(tide)
    api.platform.finish(job, outputs={"a/b.txt": b"x", "c": b"y"})
    assert tide("fetch", job, "c", "--to", "here")[1].strip() == "here/c"
    assert (tmp_path / "here/c").read_bytes() == b"y" and not (tmp_path / "here/a").exists()
    assert tide("fetch", job)[0] == 0 and (tmp_path / job / "a/b.txt").read_bytes() == b"x"


def test_text_from_elsewhere_is_no_markup(tide: Tide) -> None:
    _submit(tide, "--name", "[red]x[/red] [bold")
    assert "[red]x[/red] [bold" in tide("ps")[1]


def test_a_defect_leaves_a_log_and_no_traceback(tide: Tide, monkeypatch: pytest.MonkeyPatch) -> None:
    from tidegrid.client import Tide as Sdk

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(Sdk, "jobs", broken)
    status, out, err = tide("ps", "--json")
    error = json.loads(err)["error"]
    log = Path(error["details"]["log"])
    assert status == 1 and out == "" and "ZeroDivisionError" in log.read_text()
    log.unlink()


def _process(api: Api, *arguments: str) -> subprocess.Popen[str]:
    env = {**os.environ, "TIDE_URL": api.url, "TIDE_TOKEN": api.tokens["ada"], "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen([sys.executable, "-m", "tidegrid.cli.main", *arguments], env=env, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip


def test_ctrl_c_says_what_goes_on(api: Api) -> None:
    with _process(api, "run", "echo") as process:
        end = time.monotonic() + 20
        while not api.platform.rows and time.monotonic() < end:
            time.sleep(0.02)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 130 and out == ""
    job = next(iter(api.platform.rows))
    assert f"{job} goes on" in err and "Traceback" not in err


def test_a_reader_that_leaves_is_no_error(api: Api, tide: Tide) -> None:
    for _ in range(3):
        _submit(tide)
    with _process(api, "events", "--json") as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.wait(20) in (0, 1) and "Traceback" not in process.stderr.read()


def test_help_comes_without_the_heavy_libraries() -> None:
    code = (
        "import sys; from tidegrid.cli import main; main.run(['--help']); "
        "print([m for m in ('httpx','numpy','sqlalchemy','fastapi','pydantic','yaml','rich','asyncio') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_queue_is_steered_looked_at_and_given_back(tide: Tide) -> None:
    assert "alpha is steered by default" in tide("steer", "alpha", who="operator")[1]
    status, out, _ = tide("steer", "alpha", "--dry-run", "--json", who="operator")
    assert status == 0 and json.loads(out)[0]["order"][0]["to"] == -2
    assert "1 nice values would change" in tide("steer", "alpha", "--dry-run", "--partition", "long", who="operator")[1]
    status, out, _ = tide("steer", "alpha", "--on", "--bound", "9", "--json", who="operator")
    assert json.loads(out) | {"mode": "on", "bound": 9} == json.loads(out)
    assert "alpha is not steered" in tide("steer", "alpha", "--off", who="operator")[1]
    assert tide("steer", "alpha", "--on", "--off", who="operator")[0] == 2
    assert tide("steer", "embedded", "--on", who="operator")[0] == 4
    assert tide("steer", "alpha")[0] == 4


def test_decisions_that_come_out_otherwise_are_told_and_fail(tide: Tide) -> None:
    status, out, _ = tide("replay", "--hours", "2", who="operator")
    assert status == 1 and "4 gave the same answer" in out and "1 did not" in out and "555555555555" in out
    assert "2 were decided by another policy; 1 of them" in out
    status, out, _ = tide("replay", "--json", who="operator")
    assert status == 1 and json.loads(out)["calls"] == 7
    assert tide("replay")[0] == 4
    assert tide("replay", "--limit", "0", who="operator")[0] == 2


def test_servers_and_what_they_hold_are_listed_to_operators(tide: Tide) -> None:
    status, out, err = tide("server", "list", who="operator")
    assert status == 0 and "one-1" in out and "cluster:east" in out and "two-2" in out
    assert "cluster:south" in err
    status, out, _ = tide("server", "list", "--json", who="operator")
    assert [s["live"] for s in json.loads(out)["items"]] == [True, False]
    assert tide("server", "list")[0] == 4


def test_incidents_are_listed_and_shown_to_operators(tide: Tide) -> None:
    status, out, _ = tide("incident", "list", who="operator")
    assert status == 0 and "east/cpu" in out and "draining" in out and "2m00s" in out
    status, out, _ = tide("incident", "list", "--open", "--json", who="operator")
    (found,) = json.loads(out)
    status, out, _ = tide("incident", "show", found["id"], who="operator")
    assert status == 0 and "node_failed 5" in out and "3 jobs moved" in out and "still open" in out
    assert tide("incident", "show", "inc-7zzzzzzzzzzzz", who="operator")[0] == 2
    assert tide("incident", "list")[0] == 4


def test_a_cluster_is_looked_at_and_its_section_written(tide: Tide, api: Api, tmp_path: Path) -> None:
    status, _, err = tide("cluster", "add", "slurm", "ssh://tide@login", who="operator")
    assert status == 4 and "cluster.host_key_unknown" in err and "--accept-host-key" in err
    status, out, err = tide("cluster", "add", "slurm", "ssh://tide@login", "--accept-host-key", "--root", "/r", who="operator")
    assert status == 0 and "supply: FILL IN" in out and "note: one" in err
    status, out, _ = tide("cluster", "add", "slurm", "--name", "home", "--json", who="operator")
    assert status == 0 and json.loads(out)["asked"]["url"] == ""
    file = tmp_path / "network.yaml"
    assert tide("cluster", "add", "slurm", "--write", str(file), who="operator")[0] == 0
    assert tide("cluster", "add", "slurm", "--name", "home", "--write", str(file), who="operator")[0] == 0
    assert "  home:\n" in file.read_text() and "  west:\n" in file.read_text()
    assert tide("cluster", "add", "slurm", "--name", "home", "--write", str(file), who="operator")[0] == 4
    assert tide("cluster", "add", "pbs", who="operator")[0] == 2
    assert tide("cluster", "add", "slurm")[0] == 4  # users may not


def test_a_check_says_each_finding_and_ends_well_only_when_all_is(tide: Tide) -> None:
    status, out, err = tide("cluster", "check", "east", who="operator")
    assert status == 0 and out.startswith("ok      login") and "all is well" in err
    status, out, err = tide("cluster", "check", "broken", who="operator")
    assert status == 1 and "MISSING shared cpu" in out and "[cluster.root_unshared]" in out and "-> choose a root" in out
    status, out, _ = tide("cluster", "check", "broken", "--json", who="operator")
    assert status == 1 and json.loads(out)["findings"][1]["code"] == "cluster.root_unshared"
    status, _, err = tide("cluster", "check", "gone", who="operator")
    assert status == 2 and "cluster.unknown" in err


def test_secrets_are_local_and_never_shown(tide: Tide, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDE_HOME", str(tmp_path / "home"))
    status, out, _ = tide("secret", "new", "alpha-key")
    assert status == 0 and out.startswith("ssh-ed25519 ")
    private = (tmp_path / "home" / "secrets" / "alpha-key").read_text().splitlines()[3]
    copy = tmp_path / "copy"
    copy.write_text((tmp_path / "home" / "secrets" / "alpha-key").read_text())
    assert tide("secret", "put", "alpha-key", str(copy))[0] == 4
    assert tide("secret", "put", "other", str(copy), "--json")[0] == 0
    status, out, err = tide("secret", "list")
    assert status == 0 and "alpha-key" in out and "SHA256:" in out and private not in out + err
    assert tide("secret", "remove", "other")[0] == 0 and tide("secret", "remove", "other")[0] == 2
