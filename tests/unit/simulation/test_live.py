"""A record of a live queue is held against the simulator; what differs, or is no record, is told."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from tidegrid.domain.errors import InvalidInput, NotFound
from tidegrid.lab.live import check_file
from tidegrid.simulation.live import check

HEAD: dict[str, Any] = {"policy": "easy", "capacity": [4, 100, 0], "held": [["1.0", 50, 2, 10, 0]]}
# 1.0 holds two cores; 2.0 starts, 3.0 needs all of them, 4.0 fills the gap until then, 5.0 would not end in time
PASSES: list[dict[str, Any]] = [
    {"t": 10, "came": [["2.0", 30, 1, 10, 0]], "gone": [], "freed": [], "started": ["2.0"]},
    {"t": 11, "came": [["3.0", 30, 4, 10, 0], ["4.0", 20, 1, 10, 0], ["5.0", 60, 1, 10, 0]], "gone": [], "freed": [], "started": ["4.0"]},
    {"t": 20, "came": [], "gone": ["5.0"], "freed": ["1.0", "4.0"], "started": []},
    {"t": 25, "came": [], "gone": [], "freed": ["2.0"], "started": ["3.0"]},
]


def test_the_same_choices_agree():
    found = check([HEAD, *PASSES])
    assert found.agrees and (found.passes, found.jobs, found.starts) == (4, 5, 3)


def test_another_choice_is_told_and_the_rest_is_judged_by_itself():
    rows = copy.deepcopy(PASSES)
    rows[1]["started"] = ["5.0"]  # a backfill that holds up the head
    rows[2] = {**rows[2], "gone": ["4.0"], "freed": ["1.0", "5.0"]}
    found = check([HEAD, *rows])
    assert (found.same, found.first) == (3, {"pass": 2, "at_s": 11, "live": ["5.0"], "simulated": ["4.0"]})
    assert not check([HEAD, *PASSES], policy="fcfs").agrees


@pytest.mark.parametrize("spoil", [lambda r: [], lambda r: [HEAD, {"t": 1}], lambda r: [{**HEAD, "policy": "none"}, *r],
                                   lambda r: [HEAD, {**r[0], "freed": ["9.9"]}], lambda r: [HEAD, {**r[0], "came": [["2.0", 30, 1]]}]])  # fmt: skip
def test_what_is_no_record_is_refused(spoil: Any):
    with pytest.raises(InvalidInput):
        check(spoil(PASSES))


def test_a_file_is_read_to_its_last_whole_line(tmp_path: Path):
    path = tmp_path / "passes.cpu.jsonl"
    text = "".join(json.dumps(row) + "\n" for row in [HEAD, *PASSES])
    path.write_text(text + '{"t": 26, "ca')
    assert check_file(path).passes == 4
    path.write_text(text.replace('"t": 11', '"t": ,'))
    with pytest.raises(InvalidInput, match="line 3"):
        check_file(path)
    with pytest.raises(NotFound):
        check_file(tmp_path / "nowhere")
