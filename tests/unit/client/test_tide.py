"""The SDK: what comes back, what is retried, what an error becomes."""

from __future__ import annotations

import hashlib
import threading
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.parts.api import Api

from tidegrid.client import Tide
from tidegrid.domain.errors import (
    Conflict,
    Forbidden,
    InsufficientFunds,
    InvalidInput,
    NotFound,
    TideError,
    Unauthenticated,
    Unreachable,
)
from tidegrid.domain.job import JobState
from tidegrid.server import problems


class Broken(httpx.BaseTransport):
    """Loses the first `times` answers after the server has dealt with the request."""

    def __init__(self, times: int) -> None:
        self.inner, self.left, self.sent = httpx.HTTPTransport(), times, 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.sent += 1
        answer = self.inner.handle_request(request)
        if self.left:
            self.left -= 1
            answer.read()
            raise httpx.ReadError("lost on the way back")
        return answer


def _tide(api: Api, transport: httpx.BaseTransport, who: str = "ada") -> Tide:
    return Tide(api.url, api.tokens[who], http=httpx.Client(transport=transport), sleep=lambda _: None)


def test_a_view_has_types(api: Api) -> None:
    with api.tide() as tide:
        job = tide.submit("echo", params={"text": "hi"}, resources={"cores": 4})
        assert job.state is JobState.PENDING and job.cost.amount == Decimal("0.001234")
        assert job.created_at is not None and job.created_at.tzinfo is not None
        assert tide.job(job.id).resources.cores == 4


def test_an_answer_lost_twice_still_submits_once(api: Api) -> None:
    transport = Broken(2)
    with _tide(api, transport) as tide:
        job = tide.submit("echo", params={"text": "hi"})
    assert transport.sent == 3 and list(api.platform.rows) == [job.id]


def test_what_has_no_key_is_not_sent_twice(api: Api) -> None:
    transport = Broken(1)
    with _tide(api, transport, "operator") as tide, pytest.raises(Unreachable) as caught:
        tide.create_org("newco")
    assert transport.sent == 1 and caught.value.code == "server.unreachable"


def test_a_dead_server_is_unreachable() -> None:
    with Tide("http://127.0.0.1:1", "x", sleep=lambda _: None) as tide, pytest.raises(Unreachable) as caught:
        tide.jobs_page()
    assert caught.value.code == "server.unreachable" and caught.value.exit_status == 3


@pytest.mark.parametrize("url", ["", "nothing", "ftp://x", "http://[", "http://host:port"])
def test_a_bad_address_is_wrong_use(url: str) -> None:
    with Tide(url, "x", sleep=lambda _: None) as tide, pytest.raises(TideError) as caught:
        tide.jobs_page()
    assert caught.value.exit_status in (2, 3)


def test_problems_become_domain_errors_with_their_codes(api: Api) -> None:
    with api.tide() as tide:
        for kind, code, call in (
            (NotFound, "job.unknown", lambda: tide.job("job-0000000000001")),
            (InvalidInput, "request.invalid", lambda: tide.job("job-1")),
            (InvalidInput, "request.invalid", lambda: tide.job("..")),
            (Forbidden, "auth.forbidden", lambda: tide.network()),
            (InsufficientFunds, "balance.insufficient", lambda: tide.submit("echo", resources={"cores": 5000})),
        ):
            with pytest.raises(kind) as caught:
                call()
            assert caught.value.code == code
        assert caught.value.details == {"needed": "9.00", "available": "1.00"}
        tide.submit("echo", key="k")
        with pytest.raises(Conflict):
            tide.submit("echo", name="other", key="k")
    with Tide(api.url, "wrong") as tide, pytest.raises(Unauthenticated):
        tide.me()


def test_every_problem_status_has_an_error() -> None:
    from tidegrid.client import transport

    for status in problems.TITLES:
        answer = httpx.Response(status, json={"code": "a.b", "detail": "d", "hint": "h"})
        error = transport.problem(answer)
        assert (error.code, error.message, error.hint) == ("a.b", "d", "h")
    strange = transport.problem(httpx.Response(502, text="<html>"))
    assert strange.code == "http.502"


def test_a_list_is_read_page_by_page(api: Api) -> None:
    with api.tide() as tide:
        made = [j.id for j in tide.submit_many([{"app": "echo"}] * 7)]
        assert [j.id for j in tide.jobs(page=3)] == made[::-1]


def test_waiting_ends_with_the_job(api: Api) -> None:
    with api.tide() as tide:
        job = tide.submit("echo")
        threading.Timer(0.2, lambda: api.platform.finish(job.id, "failed", "exit 3")).start()
        ended = tide.wait(job.id, every=0.05)
        assert ended.final and not ended.succeeded
        other = tide.submit("echo")
        with pytest.raises(TimeoutError):
            tide.wait(other.id, timeout=0.05, every=0.01)


def test_files_go_up_and_come_back_whole(api: Api, tmp_path: Path) -> None:
    data = bytes(range(256)) * 20_000
    (tmp_path / "in.bin").write_bytes(data)
    with api.tide() as tide:
        assert tide.upload(tmp_path / "in.bin") == {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
        job = tide.submit("echo")
        api.platform.finish(job.id, outputs={"a/结果 1.bin": data, "b#?%.txt": b"", "c": b"x"})
        written = tide.fetch(job.id, tmp_path / "out")
        assert [p.relative_to(tmp_path / "out").as_posix() for p in written] == ["a/结果 1.bin", "b#?%.txt", "c"]
        assert written[0].read_bytes() == data
        assert not list((tmp_path / "out").rglob("*.part"))
        with pytest.raises(NotFound):
            tide.fetch(job.id, tmp_path, only=["nothing"])


class Short(httpx.BaseTransport):
    """Breaks the first download off in the middle."""

    def __init__(self) -> None:
        self.inner, self.ranges = httpx.HTTPTransport(), list[str]()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = self.inner.handle_request(request)
        if "/outputs/" in request.url.path:
            self.ranges.append(request.headers.get("range", ""))
            if len(self.ranges) == 1:
                answer.read()
                return httpx.Response(200, headers={"content-type": "x/y"}, stream=_Half(answer.content))
        return answer


class _Half(httpx.SyncByteStream):
    def __init__(self, data: bytes) -> None:
        self.data = data

    def __iter__(self) -> Any:
        yield self.data[: len(self.data) // 2]
        raise httpx.ReadError("gone")


def test_a_broken_download_goes_on_where_it_stopped(api: Api, tmp_path: Path) -> None:
    data = b"0123456789" * 500_000
    transport = Short()
    with _tide(api, transport) as tide:
        job = tide.submit("echo")
        api.platform.finish(job.id, outputs={"big": data})
        assert tide.fetch(job.id, tmp_path)[0].read_bytes() == data
    assert transport.ranges[0] == "" and transport.ranges[1].startswith("bytes=") and len(transport.ranges) == 2


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../../x", "a\\b"])
def test_a_server_cannot_write_outside_the_directory(api: Api, tmp_path: Path, path: str) -> None:
    with api.tide() as tide:
        job = tide.submit("echo")
        api.platform.rows[job.id]["outputs"].append({"path": path, "size": 1, "state": "done"})
        with pytest.raises(InvalidInput):
            tide.fetch(job.id, tmp_path / "out")
    assert not (tmp_path / "x").exists()


def test_events_go_on_after_a_break(api: Api) -> None:
    with api.tide() as tide:
        jobs = [tide.submit("echo").id for _ in range(3)]
        seen = []
        for event in tide.events(after=0):
            seen.append(event.job)
            if len(seen) == 3:
                break
        assert seen == jobs


def test_logs_are_followed_to_the_end(api: Api) -> None:
    with api.tide() as tide:
        job = tide.submit("echo")
        api.platform.log[f"{job.id}.out"] = b"one\n"

        def end() -> None:
            api.platform.log[f"{job.id}.out"] += b"two\n"
            api.platform.finish(job.id)

        threading.Timer(0.2, end).start()
        assert b"".join(tide.follow_logs(job.id, every=0.05)) == b"one\ntwo\n"


class OneStream(httpx.BaseTransport):
    """Breaks the first event stream off right after its head."""

    def __init__(self, api: Api) -> None:
        self.inner, self.api, self.streams = httpx.HTTPTransport(), api, 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = self.inner.handle_request(request)
        if request.headers.get("accept") == "text/event-stream":
            self.streams += 1
            if self.streams == 1:
                return httpx.Response(200, stream=_Head(answer, self.api))
        return answer


class _Head(httpx.SyncByteStream):
    def __init__(self, answer: httpx.Response, api: Api) -> None:
        self.answer, self.api = answer, api

    def __iter__(self) -> Any:
        yield next(iter(self.answer.stream))  # type: ignore[arg-type]
        with self.api.tide() as other:
            other.submit("echo", name="meanwhile")
        raise httpx.ReadError("gone")


def test_what_happens_while_a_new_stream_is_broken_is_not_missed(api: Api) -> None:
    with _tide(api, OneStream(api)) as tide:
        tide.submit("echo", name="before")
        event = next(tide.events())
        assert api.platform.rows[event.job]["view"]["name"] == "meanwhile"
