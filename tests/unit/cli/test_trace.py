"""`tide trace`: logs in, logs out, refusals with a status, nothing heavy for help."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tidegrid.cli.main import run
from tidegrid.lab import logs, parquet
from tidegrid.simulation.traces.plain import named
from tidegrid.simulation.traces.trace import COLUMNS

GOOD = "1 10 5 100 4 98.50 -1 4 200 -1 1 3 2 1 1 -1 -1 -1\n"
HEAD = "; MaxProcs: 64\n; UnixStartTime: 1000\n; Queue: 1 fast\n"


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "a.swf"
    path.write_text(HEAD + GOOD + GOOD.replace("1 10", "2 5") + GOOD)
    return path


def told(capsys, *arguments) -> dict:
    assert run([*map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys, status, *arguments) -> dict:
    assert run([*map(str, arguments), "--json"]) == status
    return json.loads(capsys.readouterr().err)["error"]


def same(a, b) -> bool:
    """The same values; where there are names, the same names: CSV keeps no codes."""
    return all(named(a, name) == named(b, name) for name in COLUMNS)


def test_info_says_what_a_log_holds(log, capsys):
    found = told(capsys, "trace", "info", log)
    assert (found["jobs"], found["usable"], found["processors"], found["processors_from"], found["unsorted"]) == (3, 3, 64, "header", 1)
    assert found["load"] == pytest.approx(3 * 400 / 64 / 5) and found["queues"] == [{"code": 1, "name": "fast", "jobs": 3, "processor_s": 1200}]
    assert run(["trace", "info", str(log)]) == 0
    assert "3 of them usable" in capsys.readouterr().out


def test_a_machine_given_counts_and_without_one_there_is_no_load(tmp_path, capsys):
    path = tmp_path / "b.swf"
    path.write_text(GOOD + GOOD.replace("10 5", "20 5"))
    assert told(capsys, "trace", "info", path)["load"] is None
    assert told(capsys, "trace", "info", path, "--processors", 8)["load"] == pytest.approx(800 / 8 / 10)
    error = refused(capsys, 2, "trace", "info", path, "--processors", 3)
    assert error["code"] == "trace.too_wide" and error["details"]["line"] == 1
    (tmp_path / "b.swf.machines").write_text("0 thin 2 8 1 1048576\n")
    assert told(capsys, "trace", "info", path)["processors"] == 16


@pytest.mark.parametrize("names", [("b.swf",), ("b.swf.gz",), ("b.csv", "c.swf"), ("b.csv.gz",), ("b.parquet", "c.swf.gz")])
def test_a_log_comes_back_the_same_through_every_format(log, names, capsys):
    at = log
    for name in names:
        found = told(capsys, "trace", "convert", at, log.with_name(name))
        at = log.with_name(name)
        assert found["jobs"] == 3 and found["bytes"] == at.stat().st_size
    again = logs.load(at)
    assert same(logs.load(log), again) and (names[0].startswith("b.csv") or again.header.start == 1000)
    assert sorted(p.name for p in log.parent.iterdir()) == sorted({"a.swf", *names})


def test_a_bad_log_is_refused_with_its_line_and_converted_only_when_repair_is_asked(log, capsys):
    log.write_text(HEAD + GOOD + GOOD.replace(" 100 ", " NaN "))
    out = log.with_name("b.swf")
    error = refused(capsys, 2, "trace", "convert", log, out)
    assert error["code"] == "trace.number" and error["details"]["line"] == 5 and str(log) in error["message"] and "--repair" in error["hint"]
    assert not out.exists()
    found = told(capsys, "trace", "convert", log, out, "--repair")
    assert found["jobs"] == 1 and found["repairs"] == {"number": 1}
    assert run(["trace", "convert", str(log), str(out)]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_part_of_a_log_is_taken_by_partition(tmp_path, capsys):
    log, out = tmp_path / "a.csv", tmp_path / "b.swf"
    log.write_text("submit,run,processors,partition\n0,5,1,cpu\n1,6,2,gpu\n2,7,3,fat\n3,8,4,gpu\n")
    assert told(capsys, "trace", "convert", log, out, "--partition", "gpu", "--partition", "fat")["jobs"] == 3
    part = logs.load(out)
    assert part.run.tolist() == [6, 7, 8] and named(part, "partition") == ["gpu", "fat", "gpu"]
    assert refused(capsys, 2, "trace", "convert", log, out, "--partition", "tpu")["code"] == "trace.partition"


@pytest.mark.parametrize(("arguments", "code"), [
    (("info", "nowhere.swf"), "trace.not_found"), (("info", "."), "trace.directory"), (("info", "{log}", "--from", "xml"), "trace.format"),
    (("convert", "{log}", "out.txt"), "trace.format"), (("convert", "{log}", "out.swf", "--to", "xml"), "trace.format"),
    (("generate", "-o", "x.txt"), "trace.format"), (("generate", "-o", "x.swf", "--model", "other"), "trace.model"),
    (("generate", "-o", "x.swf", "--load", "-1"), "trace.generate"), (("generate", "-o", "x.swf", "--start", "soon"), "time.malformed"),
    (("generate", "-o", "x.swf", "--model", "network", "--processors", "9"), "trace.generate"), (("generate", "-o", "x.swf", "--jobs", "0"), "usage"),
])  # fmt: skip
def test_wrong_use_has_a_stable_code(log, arguments, code, capsys, monkeypatch):
    monkeypatch.chdir(log.parent)
    assert refused(capsys, 2, "trace", *(str(a).replace("{log}", str(log)) for a in arguments))["code"] == code
    assert [p.name for p in log.parent.iterdir()] == ["a.swf"]


def test_parquet_that_is_none_is_refused(log, capsys):
    log.write_bytes(b"PAR1" + b"junk" * 100)
    assert refused(capsys, 2, "trace", "info", log)["code"] == "trace.parquet"


def test_a_generated_log_depends_on_its_seed_alone(tmp_path, capsys):
    a, b, c = (tmp_path / name for name in ("a.swf.gz", "b.swf.gz", "c.swf.gz"))
    for out, seed in ((a, 4), (b, 4), (c, 5)):
        found = told(capsys, "trace", "generate", "-o", out, "--jobs", 400, "--processors", 64, "--load", 0.9, "--seed", seed)
        assert found["jobs"] == 400 and found["load"] == pytest.approx(0.9, rel=0.02)
    assert a.read_bytes() == b.read_bytes() != c.read_bytes()
    assert logs.load(a).header.processors == 64


def test_a_generated_network_has_its_machines_beside_it(tmp_path, capsys):
    out = tmp_path / "n.parquet"
    found = told(capsys, "trace", "generate", "--model", "network", "-o", out, "--jobs", 3000, "--partitions", 5, "--gpu-part", 0.5, "--seed", 2)
    groups = logs.machines(out)
    assert len(groups) == 5 and sum(g.nodes * g.processors for g in groups) == found["processors"]
    assert sum(g.nodes * g.gpus for g in groups) == found["gpus"] > 0
    trace = logs.load(out)
    assert len(trace) == 3000 and trace.labels["partition"] == {i: g.name for i, g in enumerate(groups)}
    rows, meta = parquet.read(out)
    assert len(rows["submit"]) == 3000 and meta["header"]["processors"] == found["processors"]


def test_help_imports_nothing_heavy():
    code = ("import sys; from tidegrid.cli.main import run; run(['trace', '--help']); run(['trace', 'generate', '--help']);"
            "print(sorted({m.split('.')[0] for m in sys.modules} & {'numpy', 'duckdb', 'numba', 'fastapi', 'sqlalchemy', 'jinja2'}))")  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
