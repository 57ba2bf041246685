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
from tidegrid.lab import logs, network_runs, parquet, plots, replaying, report, standings, sweep
from tidegrid.simulation.traces import lublin


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    path = tmp_path_factory.mktemp("log") / "small.swf.gz"
    logs.save(path, [lublin.generate(np.random.default_rng(1), 300, 64, 0.9)])
    return path


@pytest.fixture(scope="module", autouse=True)
def plain():
    """Here the kernel runs as plain Python: the logs are small, and compiling takes longer than all of this."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replaying, "compiled", lambda: None)
        patch.setattr(network_runs, "_compiled", lambda: False)
        yield


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


def test_logs_swept_as_a_network_show_each_sites_own_users_alone_and_in_it(tmp_path):
    paths = []
    for name, load, seed in (("busy", 1.1, 1), ("quiet", 0.3, 2)):
        paths.append(tmp_path / f"{name}.swf")
        logs.save(paths[-1], [lublin.generate(np.random.default_rng(seed), 300, 64, load)])
    runs = sweep.plan(paths, ["easy"], networks=["home", "earliest"], seeds=2)
    assert [r.label for r in runs] == ["home", "earliest"] * 2 and runs[0].processors == 128 and len({r.key for r in runs}) == 4
    home, earliest = (sweep.perform(r) for r in runs[:2])
    for o in (home, earliest):
        assert [s["alone"] for s in o["sites"]] == [s["alone"] for s in home["sites"]] and o["figures"]["jobs"] == 600
    assert home["figures"]["moved"] == 0 and all(s["alone"] == s["network"] for s in home["sites"])
    alone = [sweep.perform(r)["figures"]["mean_wait"] for r in sweep.plan(paths, ["easy"])]
    assert [s["alone"]["mean_wait"] for s in home["sites"]] == pytest.approx(alone)
    assert earliest["figures"]["moved"] > 0.1 and earliest["figures"]["mean_wait"] < home["figures"]["mean_wait"]
    assert earliest["sites"][0]["network"]["mean_wait"] < earliest["sites"][0]["alone"]["mean_wait"]
    text = report.page([home, earliest], ["home", "earliest"])
    assert "earliest: gains and losses by site" in text and "home: gains" not in text
    busy = [[] for _ in range(128)]
    for job, begin, end, at, n, _ in earliest["gantt"]["pieces"]:
        for lane in range(at, at + n):
            assert not any(begin < e and b < end for b, e, _ in busy[lane]), (job, lane)
            busy[lane].append((begin, end, job))


@pytest.mark.parametrize(("count", "policies", "networks"), [(2, ["easy"], ["best"]), (1, ["easy"], ["home"]), (2, ["easy", "sjf"], ["home"])])
def test_a_network_that_cannot_be_is_refused(log, count, policies, networks):
    with pytest.raises(InvalidInput) as caught:
        sweep.plan([log] * count, policies, networks=networks)
    assert caught.value.code == "sweep.network"


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
    assert plots.days(3 * 86400, 0, 100, 3600 * 7).ticks[0] == (3600 * 5, "01-01 12:00")


@pytest.mark.timeout(400)  # its processes compile, where that is not kept yet
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


@pytest.mark.timeout(400)
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_it_leaves_no_worker_and_no_half_file(log, tmp_path, sent):
    command = [sys.executable, "-m", "tidegrid.cli.main", "sweep", str(log), "-o", str(tmp_path), "-p", "easy", "--seeds", "300", "--workers", "2"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, start_new_session=True)
    try:
        deadline = time.monotonic() + 300
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


def _dies(pipe, parent):
    os._exit(9)


def test_a_process_that_dies_is_told_and_not_waited_for(log, tmp_path, monkeypatch):
    monkeypatch.setattr(sweep, "_serve", _dies)
    with pytest.raises(Broken) as caught:
        list(sweep.sweep(sweep.plan([log], ["easy"], seeds=3), tmp_path))
    assert caught.value.code == "sweep.worker" and "small, easy" in caught.value.message


def _alive(session: int) -> list[str]:
    """Processes of the session that still run."""
    out = subprocess.run(["ps", "-e", "-o", "sid=,stat=,pid="], capture_output=True, text=True, check=True).stdout
    return [line for line in out.splitlines() if line.split()[0] == str(session) and not line.split()[1].startswith("Z")]
