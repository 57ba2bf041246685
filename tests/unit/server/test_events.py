"""Events: pages, and a stream that resumes where it broke."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from tests.parts.api import Api

from tidegrid.server import auth
from tidegrid.server.routes import events as route

JOB = {"app": "echo", "params": {"text": "hi"}}


def _lines(api: Api, who: str = "ada", headers: dict[str, str] | None = None, stop: int = 3, told: Callable[[], None] | None = None,
           **params: Any) -> list[dict[str, str]]:  # fmt: skip
    """The first `stop` events of a stream; told: called when the first has come."""
    found: list[dict[str, str]] = []
    with (
        api.http(who) as http,
        http.stream("GET", "/events", params=params, headers={"Accept": "text/event-stream", **(headers or {})}) as answer,
    ):
        assert answer.headers["content-type"].startswith("text/event-stream")
        event: dict[str, str] = {}
        for line in answer.iter_lines():
            if not line and "data" in event:
                found.append(event)
                event = {}
                if told is not None and len(found) == 1:
                    told()
                if len(found) == stop:
                    return found
            name, _, value = line.partition(": ")
            event[name] = value
    return found


def _submit(api: Api, who: str = "ada", times: int = 1) -> list[str]:
    with api.http(who) as http:
        return [http.post("/jobs", json=JOB).json()["id"] for _ in range(times)]


def test_a_page_goes_on_where_the_last_ended(api: Api) -> None:
    jobs = _submit(api, times=5)
    with api.http() as http:
        first = http.get("/events", params={"limit": 3}).json()
        rest = http.get("/events", params={"after": first["next"]}).json()
    assert [e["job"] for e in first["items"] + rest["items"]] == jobs


def test_a_stream_resumes_behind_the_last_event_it_gave(api: Api) -> None:
    jobs = _submit(api, times=5)
    head = _lines(api, stop=2)
    tail = _lines(api, headers={"Last-Event-ID": head[-1]["id"]}, stop=3)
    assert [json.loads(e["data"])["job"] for e in head + tail] == jobs


def test_a_stream_shows_what_is_committed_while_it_is_open(api: Api) -> None:
    _submit(api, times=2)
    late: list[str] = []
    thread = threading.Timer(0.3, lambda: late.extend(_submit(api)))
    thread.start()
    began = time.monotonic()
    seen = _lines(api, stop=1, tail="true")
    thread.join()
    assert json.loads(seen[0]["data"])["job"] == late[0]
    assert time.monotonic() - began < 5


def test_a_stream_ends_with_its_token(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(route, "HEARTBEAT_S", 0.2)
    monkeypatch.setattr(route, "POLL_S", 0.1)
    _submit(api)

    def end() -> None:
        digest = auth.digest(api.tokens["ada"])
        from sqlalchemy import update

        from tidegrid.store.schema import tokens

        api.platform.store.write_sync(lambda c: c.execute(update(tokens).where(tokens.c.hash == digest).values(revoked_at=1)))

    assert len(_lines(api, stop=99, told=end)) == 1


def test_an_idle_stream_says_that_it_lives(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(route, "HEARTBEAT_S", 0.1)
    monkeypatch.setattr(route, "POLL_S", 0.05)
    with api.http() as http, http.stream("GET", "/events", headers={"Accept": "text/event-stream"}) as answer:
        assert next(line for line in answer.iter_lines() if line.startswith(":")) == ": alive"


def test_strangers_events_are_not_in_a_stream(api: Api) -> None:
    _submit(api, "bob", times=2)
    mine = _submit(api, "ada")
    assert [json.loads(e["data"])["job"] for e in _lines(api, stop=1)] == mine
