"""A sweep: every run once, what is finished kept, the page whole."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from html.parser import HTMLParser

import numpy as np
import pytest

from tidegrid.cli.main import run
from tidegrid.domain.errors import Broken, InvalidInput
from tidegrid.lab import logs, parquet, plots, report, standings, sweep
from tidegrid.simulation.traces import lublin


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    path = tmp_path_factory.mktemp("log") / "small.swf.gz"
    logs.save(path, [lublin.generate(np.random.default_rng(1), 300, 64, 0.9)])
    return path


@pytest.fixture(scope="module")
def outcomes(log):
    """Of two policies, two seeds, two loads, simulated here."""
    runs = sweep.plan([log], ["easy", "sjf"], seeds=2, loads=[0.7, 0.9], clairvoyant=True)
    return runs, [sweep.perform(r) for r in runs]


def test_a_plan_has_every_combination_once(log):
    runs = sweep.plan([log], ["easy", "fcfs"], seeds=3, loads=[0.5, 0.9], clairvoyant=True)
    assert len(runs) == 3 * 2 * 3 and len({r.key for r in runs}) == len(runs)  # fcfs plans nothing: it has no clairvoyant twin
    assert {r.label for r in runs} == {"easy", "easy clairvoyant", "fcfs"}


@pytest.mark.parametrize(("how", "code"), [
    ({"policies": ["best"]}, "policy.unknown"), ({"policies": ["easy"], "processors": [1, 2]}, "sweep.processors"),
    ({"policies": ["easy"], "loads": [0.5, -1.0]}, "sweep.load"), ({"policies": ["easy"], "loads": [float("nan")]}, "sweep.load"),
])  # fmt: skip
def test_a_sweep_that_cannot_be_is_refused_before_it_begins(log, how, code):
    with pytest.raises(InvalidInput) as caught:
        sweep.plan([log], how.pop("policies"), **how)
    assert caught.value.code == code


def test_a_key_changes_with_what_decides_a_run_and_not_with_where_the_log_lies(log, tmp_path):
    (first,) = sweep.plan([log], ["easy"])
    copy = tmp_path / log.name
    copy.write_bytes(log.read_bytes())
    assert sweep.plan([copy], ["easy"])[0].key == first.key
    assert len({first.key, *(r.key for how in ({"processors": [64 * 2]}, {"loads": [0.5]}) for r in sweep.plan([log], ["easy"], **how))}) == 3
    logs.save(copy, [lublin.generate(np.random.default_rng(2), 300, 64, 0.9)])
    assert sweep.plan([copy], ["easy"])[0].key != first.key


def test_what_is_finished_is_not_done_again(outcomes, tmp_path, monkeypatch):
    runs, found = outcomes
    (tmp_path / "runs").mkdir()
    for r, outcome in zip(runs, found, strict=True):
        sweep._keep(tmp_path / "runs" / f"{r.key}.json", outcome)
    monkeypatch.setattr(sweep, "_elsewhere", lambda todo, workers: iter([(r, pytest.fail("done again")) for r in todo]))
    again = list(sweep.sweep(runs, tmp_path))
    assert [o["figures"] for o in again] == [o["figures"] for o in found]
    (tmp_path / "runs" / f"{runs[0].key}.json").write_text('{"figures": ')
    with pytest.raises(Broken) as caught:
        list(sweep.sweep(runs, tmp_path))
    assert caught.value.code == "sweep.state" and runs[0].key in caught.value.message


def test_knowing_run_times_and_a_lower_load_both_help(outcomes):
    _, found = outcomes
    table = standings.standings(found, ["easy", "easy clairvoyant", "sjf", "sjf clairvoyant"])
    assert [g["load"] for g in table] == [0.7, 0.9] and all(row["seeds"] == 2 for g in table for row in g["policies"])
    wait = [[row["mean_wait"]["median"] for row in g["policies"]] for g in table]
    assert wait[0][0] < wait[1][0]
    (ratio, *_) = standings.over_logs(table, ["easy"])
    assert ratio == {"policy": "easy", "ratio": 1.0, "worst": 1.0, "best": 1.0, "of": 2}


def test_rows_are_in_parquet(outcomes, tmp_path):
    _, found = outcomes
    assert standings.write(tmp_path / "r.parquet", found) == len(found) == 16
    columns, _ = parquet.read(tmp_path / "r.parquet")
    assert sorted(columns["mean_wait"].tolist()) == sorted(o["figures"]["mean_wait"] for o in found)
    assert set(columns["policy"]) == {"easy", "easy clairvoyant", "sjf", "sjf clairvoyant"} and set(columns["load"].tolist()) == {0.7, 0.9}


class Page(HTMLParser):
    """Tags that are open and closed as they should be; what is fetched."""

    def __init__(self):
        super().__init__()
        self.open, self.fetched = [], []

    def handle_starttag(self, tag, attrs):
        self.fetched += [v for k, v in attrs if k in ("src", "href", "srcset")]
        if tag not in ("meta", "br", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag


def test_the_page_is_whole_fetches_nothing_and_shows_every_policy(outcomes):
    _, found = outcomes
    text = report.page(found, ["easy", "easy clairvoyant", "sjf", "sjf clairvoyant"], command="tide sweep <x>")
    page = Page()
    page.feed(text)
    assert not page.open and not page.fetched and "http" not in text and "url(" not in text and "<script" not in text
    assert "tide sweep &lt;x&gt;" in text and text.count("<figcaption>") == 3 + 2 + 2
    drawn = [float(n) for n in re.findall(r'(?:x|y|width|height)="(-?[\d.]+)"', text)]
    assert drawn and not re.search(r"nan|inf(?!o)", re.sub(r"<style.*?</style>", "", text, flags=re.S).lower().replace("infinite", ""))
    best = min((r for g in standings.standings(found, ["easy", "sjf"]) for r in g["policies"] if g["load"] == 0.9), key=lambda r: r["mean_wait"]["median"])
    assert f'class="best">{report.duration(best["mean_wait"]["median"])}' in text


def test_gains_and_losses_by_site_are_shown_where_there_are_sites(outcomes):
    _, found = outcomes
    sites = [{"name": "north", "alone": {"mean_wait": 4000}, "network": {"mean_wait": 1000}}, {"name": "<south>", "alone": {"mean_wait": 100}, "network": {"mean_wait": 150}}]
    text = report.page([{**o, "sites": sites} for o in found], ["easy", "sjf"])
    assert 'class="gain"' in text and 'class="loss"' in text and "&lt;south&gt;" in text and "1.1 h → 17 min" in text


def test_axes_have_round_ticks_that_lie_inside():
    axis = plots.linear(0, 97, 0, 100, "", str)
    assert [v for v, _ in axis.ticks] == [0, 20, 40, 60, 80]
    assert [t for _, t in plots.decades(3, 70, 0, 1, "").ticks] == ["1", "2", "5", "10", "20", "50"]
    assert plots.days(3 * 86400, 0, 100, 0).ticks[1] == (43200, "01-01 12:00")


def test_the_command_runs_workers_and_goes_on_where_it_was(log, tmp_path, capsys):
    arguments = ["sweep", str(log), "-o", str(tmp_path), "-p", "easy", "-p", "sjf", "--workers", "2", "--json"]
    assert run(arguments) == 0
    first = json.loads(capsys.readouterr().out)
    kept = {p: p.stat().st_mtime_ns for p in (tmp_path / "runs").iterdir()}
    assert first["runs"] == len(kept) == 2 and (tmp_path / "report.html").stat().st_size > 10_000
    assert run([*arguments, "-p", "saf"]) == 0
    assert json.loads(capsys.readouterr().out)["runs"] == 3
    assert {p: p.stat().st_mtime_ns for p in kept} == kept and len(list((tmp_path / "runs").iterdir())) == 3
    by_policy = {r["policy"]: r["mean_wait"]["median"] for r in first["standings"][0]["policies"]}
    assert by_policy["easy"] == sweep.perform(sweep.plan([log], ["easy"])[0])["figures"]["mean_wait"]


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_it_leaves_no_worker_and_no_half_file(log, tmp_path, sent):
    command = [sys.executable, "-m", "tidegrid.cli.main", "sweep", str(log), "-o", str(tmp_path), "-p", "easy", "--seeds", "300", "--workers", "2"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, start_new_session=True)
    try:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob("runs/*.json")) and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(process.pid, sent)
        _, said = process.communicate(timeout=30)
        deadline = time.monotonic() + 15
        while _alive(process.pid) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not _alive(process.pid)
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    files = list(tmp_path.glob("runs/*.json"))
    assert 0 < len(files) < 300 and all(json.loads(p.read_text())["figures"]["jobs"] == 300 for p in files)
    if sent == signal.SIGINT:
        assert process.returncode == 130 and "the same command goes on" in said and "Traceback" not in said


def _alive(session: int) -> list[str]:
    """Processes of the session that still run."""
    out = subprocess.run(["ps", "-e", "-o", "sid=,stat=,pid="], capture_output=True, text=True, check=True).stdout
    return [line for line in out.splitlines() if line.split()[0] == str(session) and not line.split()[1].startswith("Z")]
