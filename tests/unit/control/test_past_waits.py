"""What the picture learns from attempts: the forecasts that sent them, and how long they waited."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from tidegrid.control.picture import past_waits
from tidegrid.scheduling import forecasts

SECOND = 1_000_000


def row(waited: float | None, ahead: float | None = 1000.0, queued: int = 0) -> dict[str, Any]:
    c: dict[str, Any] = {"partition": "a/p", "start_now": 0.06, "wait_p50_s": 500.0, "wait_p90_s": 1000.0}
    if ahead is not None:
        c["wait_ahead_s"] = ahead
    body = json.dumps({"chosen": "a/p", "candidates": [{**c, "partition": "b/p"}, c]})
    started = None if waited is None else queued + int(waited * SECOND)
    return {"cluster": "a", "partition": "p", "queued_at": queued, "started_at": started, "state": "RUNNING", "body": body}


def test_a_wait_is_from_the_queue_to_the_start_and_to_now_while_it_lasts() -> None:
    said = list(past_waits([row(90), row(None, queued=10 * SECOND)], 700 * SECOND))
    assert [(s.place, s.waited_s, s.begun) for s in said] == [("a/p", 90.0, True), ("a/p", 690.0, False)]


def test_what_was_to_start_at_once_or_was_decided_before_says_nothing() -> None:
    assert list(past_waits([row(5, 0.0), row(5, None)], 0)) == []


def test_short_waits_bring_the_forecast_down_and_a_job_still_waiting_brings_it_up() -> None:
    cold = forecasts.look_up(forecasts.cold(1), np.array([1000.0]))
    short = forecasts.from_past(past_waits([row(100)] * 60, 0))["a/p"]
    assert forecasts.look_up(short[None], np.array([1000.0]))[1][0] < 0.5 * cold[1][0]
    late = forecasts.from_past(past_waits([row(None)] * 30, 2000 * SECOND))["a/p"]
    assert forecasts.look_up(late[None], np.array([1000.0]))[1][0] > 1.5 * cold[1][0]
    early = forecasts.from_past(past_waits([row(None)] * 30, 30 * SECOND))["a/p"]
    assert not early.any()  # nothing can be said of it yet
