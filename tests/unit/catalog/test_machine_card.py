"""Machine cards: what the probe prints, and what is taken for a card."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tidegrid import apps
from tidegrid.catalog import machine_card
from tidegrid.domain.errors import InvalidInput

CARD: dict[str, Any] = {
    "schema": 1,
    "host": {"arch": "x86_64", "cores": 4},
    "cpu_s": 8.5,
    "values": {
        "peak_dp_core": {"value": 58.2, "unit": "GF/s", "tier": "measured", "error": 0.5, "n": 5, "note": "one core, avx512"},
        "gpu_count": {"value": None, "unit": "", "tier": "unavailable", "error": None, "n": 0, "note": "no nvidia-smi"},
    },
}


def changed(name: str, **value: Any) -> dict[str, Any]:
    return {**CARD, "values": {**CARD["values"], name: {**CARD["values"][name], **value}}}


def test_what_is_unavailable_is_nan_and_never_zero() -> None:
    card = machine_card.parse(CARD)
    assert card.number("peak_dp_core") == 58.2
    assert math.isnan(card.number("gpu_count")) and math.isnan(card.number("of what nobody has heard"))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({**CARD, "schema": 9}, "schema is 9"),
        ([], "schema is None"),
        ({**CARD, "values": {}}, "1 to 2000 values"),
        (changed("gpu_count", value=0), "gpu_count: a value is null exactly where"),
        (changed("peak_dp_core", value=None), "peak_dp_core: a value is null exactly where"),
        (changed("peak_dp_core", value=float("nan")), "peak_dp_core: value nan"),
        (changed("peak_dp_core", tier="guessed"), "tier 'guessed' is none of"),
        (changed("peak_dp_core", error=-1), "error -1"),
    ],
)
def test_a_card_that_is_wrong_is_refused_with_the_value_named(body: Any, said: str) -> None:
    with pytest.raises(InvalidInput) as e:
        machine_card.parse(body)
    assert e.value.code == "card.invalid" and said in e.value.message


def test_cards_with_the_same_content_have_the_same_hash() -> None:
    assert machine_card.parse(CARD).hash == machine_card.parse(json.loads(json.dumps(CARD))).hash
    assert machine_card.parse(CARD).hash != machine_card.parse(changed("peak_dp_core", value=58.3)).hash


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The probe run once, without a compiler: what a bare site gets."""
    where = tmp_path_factory.mktemp("probe")
    for name in ("machine_card.py", "machine_card.c"):
        (where / name).write_bytes(apps.content(name))
    tools = where / "bin"
    tools.mkdir()
    environment = {**os.environ, "PATH": str(tools), "CC": ""}
    subprocess.run([sys.executable, where / "machine_card.py", "--out", where / "card.json"], cwd=where, env=environment, check=True)
    found: dict[str, Any] = json.loads((where / "card.json").read_text())
    return found


def test_a_site_with_nothing_installed_still_gives_a_card(measured: dict[str, Any]) -> None:
    card = machine_card.parse(measured)
    assert card.cpu_s < 30
    assert card.number("bandwidth_triad_1") > 0.1 and card.number("fs_write") > 0
    clock = card.values["clock_core"]
    assert (clock.value, clock.tier, clock.note) == (None, "unavailable", "there is no C compiler")
    assert card.values["mpi_latency"].note == "there is no mpirun"
    assert card.values["gpu_count"].tier == "unavailable"


def test_a_matrix_product_stands_for_the_peak_where_there_is_no_compiler(measured: dict[str, Any]) -> None:
    peak = machine_card.parse(measured).values["peak_dp_core"]
    assert peak.value is not None and peak.value > 0.1
    assert "lower bound" in peak.note


@pytest.mark.real
def test_with_a_compiler_the_wider_vector_is_faster_and_every_level_slower(tmp_path: Path) -> None:
    script = tmp_path / "machine_card.py"
    script.write_bytes(apps.content("machine_card.py"))
    (tmp_path / "machine_card.c").write_bytes(apps.content("machine_card.c"))
    out = subprocess.run([sys.executable, script, "--dir", tmp_path], capture_output=True, check=True).stdout
    card = machine_card.parse(json.loads(out))
    assert card.cpu_s < 30
    assert card.number("peak_sp_core") > 1.5 * card.number("peak_dp_core")
    assert card.number("peak_dp_core") > 1.5 * card.number("peak_dp_scalar")
    assert card.number("latency_l1") < card.number("latency_l2") < card.number("latency_memory")
    assert 0.5 < card.number("clock_core") < 8
    assert card.number("mpi_latency") > 0  # Debian's Open MPI, as for the MPI applications
