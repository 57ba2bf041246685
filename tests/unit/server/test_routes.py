"""What the API promises about every route, whatever the platform below."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.routing import APIRoute
from tests.parts.api import Api

from tidegrid.domain.errors import Broken
from tidegrid.server.app import create_app
from tidegrid.server.auth import Allow
from tidegrid.server.routes import ROUTERS

ROUTES = [r for router in ROUTERS for r in router.routes if isinstance(r, APIRoute)]
JOB = {"app": "echo", "params": {"text": "hi"}}


def _policies(route: APIRoute) -> list[Allow]:
    found, todo = [], [route.dependant]
    while todo:
        d = todo.pop()
        todo += d.dependencies
        if isinstance(d.call, Allow):
            found.append(d.call)
    return found


@pytest.mark.parametrize("route", ROUTES, ids=lambda r: f"{sorted(r.methods)[0]} {r.path}")
def test_every_route_but_health_states_its_policy(route: APIRoute) -> None:
    assert len(_policies(route)) == (0 if route.path == "/health" else 1)


def test_openapi_declares_3_1_and_problems_everywhere(platform: Any) -> None:
    document = create_app(platform).openapi()
    assert document["openapi"].startswith("3.1")
    assert document["components"]["schemas"]["Problem"]["required"] == ["title", "status", "code", "detail"]
    for methods in document["paths"].values():
        for operation in methods.values():
            for status, answer in operation["responses"].items():
                if status >= "400":
                    assert list(answer["content"]) == ["application/problem+json"]


def test_without_a_token_only_health_answers(api: Api) -> None:
    with api.http("") as http:
        assert http.get("/health").json()["status"] == "ok"
        answer = http.get("/jobs")
        assert (answer.status_code, answer.json()["code"]) == (401, "token.missing")
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert answer.headers["content-type"] == "application/problem+json"


def test_a_job_comes_back_as_it_was_submitted(api: Api) -> None:
    with api.http() as http:
        made = http.post("/jobs", json={**JOB, "name": "初试", "resources": {"cores": 2}})
        assert made.status_code == 201
        view = http.get(f"/jobs/{made.json()['id']}").json()
        assert (view["name"], view["resources"]["cores"], view["cost"]) == ("初试", 2, {"amount": "0.001234", "currency": "CNY"})


def test_pages_hold_every_job_once(api: Api) -> None:
    with api.http() as http:
        made = [http.post("/jobs", json=JOB).json()["id"] for _ in range(7)]
        seen, after = [], None
        while True:
            page = http.get("/jobs", params={"limit": 3, **({"after": after} if after else {})}).json()
            seen += [j["id"] for j in page["items"]]
            after = page["next"]
            if after is None:
                break
        assert seen == made[::-1]


def test_one_key_submits_once(api: Api) -> None:
    with api.http() as http:
        head = {"Idempotency-Key": "k1"}
        first, again = (http.post("/jobs", json=JOB, headers=head).json()["id"] for _ in range(2))
        assert first == again
        other = http.post("/jobs", json={**JOB, "name": "other"}, headers=head)
        assert (other.status_code, other.json()["code"]) == (409, "idempotency.other_body")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"app": "echo", "unknown": 1},
        {"app": "echo\u0000"},
        {"app": "echo", "name": "a\u0000b"},
        {"app": "echo", "params": {"text": "a\u0000b"}},
        {"app": "echo", "resources": {"cores": 1 << 64}},
        {"app": "echo", "resources": {"cores": True}},
        {"app": "echo", "resources": {"wall_s": -1}},
        {"app": "echo", "params": {"n": 1 << 63}},
        {"app": "echo", "inputs": [{"path": "../x", "sha256": "0" * 64}]},
        {"app": "echo", "inputs": [{"path": "/etc/passwd", "sha256": "0" * 64}]},
        {"app": "echo", "inputs": [{"path": "x"}]},
        {"app": "echo", "outputs": ["a/../../b"]},
        {"app": "echo", "env": {"A=B": "x"}},
        {"app": "echo", "after_ok": ["1"]},
        {"app": "echo", "objective": "best"},
    ],
)
def test_what_does_not_fit_is_a_422_that_names_the_field(api: Api, body: Any) -> None:
    with api.http() as http:
        answer = http.post("/jobs", json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, "request.invalid")
        assert answer.json()["errors"][0]["where"].startswith("body")


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"", 422), (b"{", 422), (b"\xff\xfe", 422), (b"[" * 100_000, 422), (b'{"app":"echo","params":{"x":NaN}}', 422),
        (b'{"app":"\\ud800"}', 422), (b'{"app":"echo","params":{"x":"\\ud800"}}', 422),
        (b'{"app":"echo","params":{"x":' + b"9" * 5000 + b"}}", 422), (b"a" * (2 << 20), 413),
        (b'{"app":"echo","params":' + b'{"a":' * 200 + b"1" + b"}" * 201, 422),
    ],
)  # fmt: skip
def test_broken_bodies_are_refused_and_never_break_the_server(api: Api, raw: bytes, status: int) -> None:
    with api.http() as http:
        answer = http.post("/jobs", content=raw, headers={"Content-Type": "application/json"})
        assert answer.status_code in (status, 400), answer.text
        assert answer.headers["content-type"] == "application/problem+json"


def test_a_body_without_a_length_is_counted_too(api: Api) -> None:
    with api.http() as http:
        answer = http.post("/jobs", content=(b"a" * 65_536 for _ in range(40)), headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["code"]) == (413, "request.too_large")


def test_an_unexpected_failure_says_an_id_and_no_traceback(api: Api) -> None:
    with api.http() as http:
        api.platform.raises = RuntimeError("the secret inside")
        answer = http.get("/jobs")
        body = answer.json()
        assert (answer.status_code, body["code"]) == (500, "internal.error")
        assert body["error_id"] and "secret" not in answer.text and "Traceback" not in answer.text
        api.platform.raises = Broken("state.corrupt", "the state is broken", hint="restore it")
        assert http.get("/jobs").json()["code"] == "state.corrupt"


def test_unknown_routes_and_methods_are_problems(api: Api) -> None:
    with api.http() as http:
        assert http.get("/nothing").json()["code"] == "route.unknown"
        answer = http.put("/jobs")
        assert (answer.status_code, answer.json()["code"]) == (405, "route.method")
        assert "GET" in answer.headers["allow"]


@pytest.mark.parametrize("path", ["../x", "%2e%2e/x", "..%2f..%2fetc%2fpasswd", "a%00b", "%2fetc%2fpasswd", "a//b", "a\\..\\b"])
def test_no_path_leads_out_of_a_jobs_results(api: Api, path: str) -> None:
    with api.http() as http:
        job = http.post("/jobs", json=JOB).json()["id"]
        answer = http.get(f"/jobs/{job}/outputs/{path}")
        assert answer.status_code in (404, 422), answer.text


def test_a_link_a_job_wrote_is_not_followed(api: Api) -> None:
    with api.http() as http:
        job = http.post("/jobs", json=JOB).json()["id"]
        api.platform.finish(job, outputs={"real": b"x"})
        results = api.platform.home / "results" / job
        (results / "link").symlink_to("/etc/passwd")
        (results / "dir").symlink_to("/etc")
        assert http.get(f"/jobs/{job}/outputs/real").content == b"x"
        assert http.get(f"/jobs/{job}/outputs/link").status_code == 404
        assert http.get(f"/jobs/{job}/outputs/dir/passwd").status_code == 404


@pytest.mark.parametrize(
    ("asked", "status", "data"),
    [
        (None, 200, b"0123456789"), ("bytes=2-4", 206, b"234"), ("bytes=7-", 206, b"789"), ("bytes=-3", 206, b"789"),
        ("bytes=0-999", 206, b"0123456789"), ("bytes=10-", 416, b""), ("bytes=5-2", 200, b"0123456789"),
        ("lines=1-2", 200, b"0123456789"), ("bytes=", 200, b"0123456789"), ("bytes=0-1,3-4", 200, b"0123456789"),
    ],
)  # fmt: skip
def test_outputs_are_served_in_ranges(api: Api, asked: str | None, status: int, data: bytes) -> None:
    with api.http() as http:
        job = http.post("/jobs", json=JOB).json()["id"]
        api.platform.finish(job, outputs={"结果/out.txt": b"0123456789"})
        answer = http.get(f"/jobs/{job}/outputs/结果/out.txt", headers={"Range": asked} if asked else {})
        assert answer.status_code == status
        if status == 416:
            assert (answer.json()["code"], answer.headers["content-range"]) == ("range.outside", "bytes */10")
        else:
            assert answer.content == data


def test_logs_say_where_to_go_on(api: Api) -> None:
    with api.http() as http:
        job = http.post("/jobs", json=JOB).json()["id"]
        api.platform.log[f"{job}.out"] = "第一行\n".encode()
        answer = http.get(f"/jobs/{job}/logs", params={"offset": 3, "limit": 4})
        assert (answer.content, answer.headers["tide-next-offset"]) == ("第一行\n".encode()[3:7], "7")


def test_a_deposit_is_exact_and_repeats_nothing(api: Api) -> None:
    with api.http("operator") as http:
        for _ in range(2):
            answer = http.post("/deposits", json={"org": "acme", "amount": "0.000001"}, headers={"Idempotency-Key": "d"})
            assert answer.status_code == 201
        assert answer.json()["available"] == "0.000001"
        assert http.post("/deposits", json={"org": "acme", "amount": "-1"}).status_code == 422
        assert http.post("/deposits", json={"org": "acme", "amount": 0.1}).status_code == 422


def test_a_misspelt_filter_is_told(api: Api) -> None:
    with api.http() as http:
        answer = http.get("/jobs", params={"stat": "failed"})
        assert answer.status_code == 422 and "stat" in answer.json()["detail"] and "state" in answer.json()["hint"]
