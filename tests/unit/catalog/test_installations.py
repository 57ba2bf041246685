"""What counts as installed and verified, and for how long; how fast a place is against the others."""

from __future__ import annotations

import math

import pytest

from tidegrid.catalog import installations
from tidegrid.catalog.document import parse
from tidegrid.catalog.installations import State
from tidegrid.domain.errors import Conflict

WAY = {"kind": "command", "name": "lmp", "words": ["/usr/bin/lmp"]}
OTHER = {**WAY, "words": ["/opt/lmp"]}
DOCUMENT = """
id: {0}
title: {{en: t}}
params: {{type: object, additionalProperties: false}}
software: {1}
script: 'true'
"""


def app(software: str = "{command: lmp}"):
    return parse(DOCUMENT.format("lmp", software))


def test_how_it_is_invoked_follows_the_network_file() -> None:
    assert installations.way(app(), "x86_64", {"lmp": "/usr/bin/lmp"}) == WAY
    assert installations.way(app(), "x86_64", {}) is None
    assert installations.way(app("{embedded: python}"), "x86_64", {}) == {"kind": "embedded", "name": "python", "words": []}
    assert installations.way(app("{}"), "x86_64", {})["kind"] == "none"


@pytest.mark.parametrize(
    ("kept", "kept_way", "now", "state"),
    [
        ("", None, None, None),
        ("", None, WAY, State.INSTALLED),
        ("wanted", None, None, State.WANTED),
        ("wanted", None, WAY, State.INSTALLED),
        ("verified", WAY, WAY, State.VERIFIED),
        ("verified", WAY, OTHER, State.INSTALLED),
        ("failed", WAY, WAY, State.FAILED),
        ("failed", WAY, OTHER, State.INSTALLED),
        ("tuned", WAY, OTHER, State.INSTALLED),
        ("withdrawn", WAY, OTHER, State.WITHDRAWN),
        ("verified", WAY, None, State.WANTED),
    ],
)
def test_a_verdict_counts_for_the_way_it_was_given_for(kept, kept_way, now, state) -> None:
    found, remark = installations.effective(kept, kept_way, now)
    assert found is state
    assert bool(remark) == (kept not in ("", "wanted") and str(found) != kept)


def test_tests_say_verified_and_failed_and_tuned_stays_tuned() -> None:
    assert installations.after_tests(State.INSTALLED, True) is State.VERIFIED
    assert installations.after_tests(State.TUNED, True) is State.TUNED
    assert installations.after_tests(State.TUNED, False) is State.FAILED
    for by_test in ("verified", "failed"):
        with pytest.raises(Conflict) as e:
            installations.check_by_hand("lmp", "east/cpu", by_test, State.INSTALLED, WAY)
        assert e.value.code == "installation.by_test"


def test_a_place_twice_as_fast_on_every_test_has_twice_the_speed() -> None:
    runs = {"a/p": {"t": [10.0, 11.0, 12.0], "long": [100.0]}, "b/p": {"t": [5.5], "long": [50.0]}, "c/p": {"other": [3.0]}}
    found = installations.speeds(runs)
    assert found["b/p"].relative / found["a/p"].relative == pytest.approx(2.0)
    assert found["b/p"].relative * found["a/p"].relative == pytest.approx(1.0)
    assert found["c/p"].relative is None  # nothing to compare it with
    assert (found["a/p"].n, found["a/p"].seconds) == (1, 100.0)  # of the longest test, which is the surest


def test_the_spread_is_half_the_span_and_unknown_for_one_run() -> None:
    assert installations.timing([1.0, 1.1, 1.2]) == (1.1, 3, pytest.approx(0.1 / 1.1))
    assert installations.timing([4.0, 2.0]) == (3.0, 2, pytest.approx(1 / 3))
    assert installations.timing([2.0]) == (2.0, 1, None)
    assert installations.speeds({"a/p": {"t": [0.0]}}) == {}  # a clock that did not move measures nothing
    assert math.isfinite(installations.speeds({"a/p": {"t": [1.0]}, "b/p": {"t": [2.0]}})["a/p"].relative or math.nan)
