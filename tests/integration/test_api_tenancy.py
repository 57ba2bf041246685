"""Nothing of another organisation can be read or changed: for every route, on the real platform.

A route without a case here fails `test_every_route_has_a_case`. Each case is asked by a stranger: the answer must have the
status the case expects and hold nothing of acme's, and acme must be afterwards what it was before.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute
from tests.parts.platform import shell
from tests.parts.served_platform import World, served_platform

from tidegrid.server.routes import ROUTERS

UPLOAD = b"acme's own data 7f3a"
OUTPUT = b"acme's result 9c1d"
Ask = Callable[["Stage", httpx.Client], httpx.Response]


@dataclass
class Stage:
    """acme's things, and who looks at them."""

    world: World
    acme: str
    operator: str
    job: str = ""
    waiting: str = ""
    sha: str = hashlib.sha256(UPLOAD).hexdigest()
    token: str = ""
    attempt: str = ""
    secrets: list[str] = field(default_factory=list)
    before: dict[str, Any] = field(default_factory=dict)

    def picture(self) -> dict[str, Any]:
        """All that acme is, as its administrator and the operator see it."""
        out: dict[str, Any] = {}
        with self.world.http(self.acme) as http:
            for path in ("/jobs", f"/jobs/{self.job}", f"/jobs/{self.job}/explain", f"/jobs/{self.job}/outputs",
                         f"/jobs/{self.waiting}", "/usage", "/balance", "/events?limit=500", "/orgs",
                         "/orgs/acme/projects", "/orgs/acme/users", "/orgs/acme/tokens"):  # fmt: skip
                answer = http.get(path)
                assert answer.status_code == 200, answer.text
                out[path] = answer.json()
            out["log"] = http.get(f"/jobs/{self.job}/logs").text
            out["file"] = http.get(f"/jobs/{self.job}/outputs/result.txt").text
        with self.world.http(self.operator) as http:
            clusters = http.get("/clusters").json()["items"]
            out["clusters"] = [(c["name"], c["drained"], c["health"] == "dead") for c in clusters]
            out["network"] = http.get("/network").json()
        return out


def _make(world: World) -> Stage:
    stage = Stage(world, world.token("acme", "carol-of-acme", "project_admin"), world.token("operator", "oper", "operator"))
    script = "printf %s \"acme's result 9c1d\" > result.txt; echo acme-log-5e2b"
    with world.http(stage.acme) as http:
        assert http.post("/uploads", content=UPLOAD).json()["sha256"] == stage.sha
        body = shell(script, outputs=["result.txt"], name="acme-name-44", inputs=[{"path": "in", "sha256": stage.sha}],
                     project="cfd")  # fmt: skip
        stage.job = http.post("/jobs", json=body, headers={"Idempotency-Key": "shared"}).json()["id"]
        stage.waiting = http.post("/jobs", json=shell("true", held=True, name="acme-held-45")).json()["id"]
        with world.tide(stage.acme) as tide:
            job = tide.wait(stage.job, timeout=60)
            assert job.succeeded, job
        stage.attempt = job.attempts[0].id
        made = http.post("/orgs/acme/tokens", json={"label": "acme-label-46"}).json()
        stage.token = made["id"]
        assert http.get(f"/jobs/{stage.job}/outputs/result.txt").content == OUTPUT
    stage.secrets = [stage.job, stage.waiting, stage.attempt, stage.token, made["token"], "acme-name-44", "acme-held-45",
                     "acme-label-46", "carol-of-acme", "acme-log-5e2b", "result 9c1d", '"acme"', '"org":"acme"']  # fmt: skip
    end = time.monotonic() + 30
    while (picture := stage.picture()) != stage.before:  # until the job is billed and nothing more happens
        assert time.monotonic() < end
        stage.before = picture
        time.sleep(0.5)
    return stage


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    home = Path(tempfile.mkdtemp(prefix="tide-"))
    try:
        with served_platform(home) as world:
            yield _make(world)
    finally:
        shutil.rmtree(home, ignore_errors=True)


@dataclass(frozen=True)
class Case:
    """status: what a project administrator of another organisation is told; ask: the request."""

    status: int
    ask: Ask


def _get(path: str, status: int = 404, **params: str) -> Case:
    return Case(status, lambda s, h: h.get(_fill(path, s), params={k: _fill(v, s) for k, v in params.items()}))


def _post(path: str, status: int = 404, body: Any = None, **kw: Any) -> Case:
    return Case(status, lambda s, h: h.post(_fill(path, s), json=json.loads(_fill(json.dumps(body), s)), **kw))


def _put(path: str, status: int = 404, body: Any = None) -> Case:
    return Case(status, lambda s, h: h.put(_fill(path, s), json=body))


def _fill(text: str, s: Stage) -> str:
    for name in ("job", "waiting", "sha", "token", "attempt"):
        text = text.replace(f"<{name}>", getattr(s, name))
    return text


JOB = shell("true")
ACCOUNT = {"cluster": "north", "user": "mole", "identity": "key", "root": "/home/mole/tide"}
OWN_OK = 201
CASES: dict[tuple[str, str], list[Case]] = {
    ("GET", "/health"): [_get("/health", 200)],
    ("GET", "/me"): [_get("/me", 200)],
    ("POST", "/jobs"): [
        _post("/jobs", 404, {**JOB, "after_ok": ["<job>"]}),
        _post("/jobs", 404, {**JOB, "after_any": ["<waiting>"]}),
        _post("/jobs", 404, {**JOB, "inputs": [{"path": "x", "sha256": "<sha>"}]}),
        _post("/jobs", 404, {**JOB, "inputs": [{"path": "x", "job": "<job>", "source": "result.txt"}]}),
        _post("/jobs", 404, {**JOB, "project": "cfd"}),
        _post("/jobs", OWN_OK, {**JOB, "held": True}, headers={"Idempotency-Key": "shared"}),
    ],
    ("POST", "/batches"): [
        _post("/batches", 404, {"jobs": [JOB, {**JOB, "after_ok": ["<job>"]}]}),
        _post("/batches", 404, {"jobs": [JOB, {**JOB, "inputs": [{"path": "x", "sha256": "<sha>"}]}]}),
        _post("/batches", OWN_OK, {"jobs": [{**JOB, "held": True, "name": "b"}]}, headers={"Idempotency-Key": "other"}),
    ],
    ("POST", "/offers"): [
        _post("/offers", 200, JOB),
        _post("/offers", 200, {**JOB, "inputs": [{"path": "x", "sha256": "<sha>"}], "after_ok": ["<job>"]}),
    ],
    ("GET", "/jobs"): [
        _get("/jobs", 200), _get("/jobs", 200, after="job-7zzzzzzzzzzzz"), _get("/jobs", 200, project="cfd"),
        _get("/jobs", 200, state="succeeded"),
    ],
    ("GET", "/jobs/{job}"): [_get("/jobs/<job>"), _get("/jobs/<waiting>")],
    ("GET", "/jobs/{job}/explain"): [_get("/jobs/<job>/explain")],
    ("POST", "/jobs/{job}/cancel"): [_post("/jobs/<waiting>/cancel"), _post("/jobs/<job>/cancel")],
    ("POST", "/jobs/{job}/hold"): [_post("/jobs/<waiting>/hold")],
    ("POST", "/jobs/{job}/release"): [_post("/jobs/<waiting>/release")],
    ("GET", "/jobs/{job}/logs"): [_get("/jobs/<job>/logs"), _get("/jobs/<job>/logs", stream="err")],
    ("POST", "/sbatch"): [_post("/sbatch", 200, {"script": "#!/bin/sh\n#SBATCH -A cfd\ntrue\n"})],
    ("POST", "/contents/packs"): [Case(201, lambda s, h: h.post("/contents/packs", content=b""))],
    ("POST", "/contents/missing"): [_post("/contents/missing", 200, {"hashes": []})],
    ("POST", "/contents/pieces"): [_post("/contents/pieces", 201, {"sha256": "<sha>", "size": len(UPLOAD)})],
    ("GET", "/uploads/{upload}"): [_get("/uploads/upl-0000000000001")],
    ("HEAD", "/uploads/{upload}"): [Case(404, lambda s, h: h.head("/uploads/upl-0000000000001"))],
    ("PATCH", "/uploads/{upload}"): [
        Case(404, lambda s, h: h.patch("/uploads/upl-0000000000001", headers={"Upload-Offset": "0"}, content=b"x"))
    ],
    ("DELETE", "/uploads/{upload}"): [Case(404, lambda s, h: h.delete("/uploads/upl-0000000000001"))],
    ("GET", "/datasets"): [_get("/datasets", 200)],
    ("GET", "/datasets/{name}"): [_get("/datasets/mesh")],
    ("PUT", "/datasets/{name}"): [Case(404, lambda s, h: h.put("/datasets/mesh", json={"sha256": s.sha}))],
    ("DELETE", "/datasets/{name}"): [Case(404, lambda s, h: h.delete("/datasets/mesh"))],
    ("GET", "/quota"): [_get("/quota", 200), _get("/quota", org="acme")],
    ("PUT", "/quota"): [Case(404, lambda s, h: h.put("/quota", json={"org": "acme", "project": "cfd", "bytes": 1}))],
    ("POST", "/uploads"): [Case(201, lambda s, h: h.post("/uploads", content=b"the rival's"))],
    ("GET", "/jobs/{job}/outputs"): [_get("/jobs/<job>/outputs")],
    ("GET", "/jobs/{job}/outputs/{path:path}"): [_get("/jobs/<job>/outputs/result.txt")],
    ("GET", "/apps"): [_get("/apps", 200)],
    ("GET", "/apps/{app}"): [_get("/apps/script", 200)],
    ("GET", "/apps/{app}/versions"): [_get("/apps/script/versions", 200)],
    ("POST", "/apps"): [_post("/apps", 403, {"document": "id: mine"}), _post("/apps?dry_run=true", 403, {"document": "id: mine"})],
    ("GET", "/jobs/{job}/progress"): [_get("/jobs/<job>/progress"), _get("/jobs/<waiting>/progress")],
    ("GET", "/installations"): [_get("/installations", 200), _get("/installations", 200, app="script", partition="north/cpu")],
    ("PUT", "/installations/{app}/{cluster}/{partition}"): [
        Case(403, lambda s, h: h.put("/installations/script/north/cpu", json={"state": "withdrawn"})),
    ],
    ("GET", "/installations/{app}/{cluster}/{partition}/history"): [_get("/installations/script/north/cpu/history", 200)],
    ("POST", "/apps/{app}/verifications"): [_post("/apps/md-lj/verifications", 403, {})],
    ("GET", "/licences"): [_get("/licences", 200)],
    ("GET", "/trials"): [_get("/trials", 403), _get("/trials", 403, kind="card")],
    ("GET", "/machine-cards"): [_get("/machine-cards", 200)],
    ("GET", "/machine-cards/{cluster}/{partition}"): [_get("/machine-cards/north/cpu", 200)],
    ("POST", "/machine-cards/{cluster}/{partition}"): [_post("/machine-cards/north/cpu", 403)],
    ("GET", "/porting"): [_get("/porting", 403)],
    ("POST", "/porting"): [_post("/porting", 403, {"app": "script", "arch": "aarch64", "effort_days": 3})],
    ("GET", "/porting/{item}"): [_get("/porting/port-0000000000001", 403)],
    ("POST", "/porting/{item}/move"): [_post("/porting/port-0000000000001/move", 403, {"state": "porting"})],
    ("GET", "/accuracy"): [_get("/accuracy", 200), _get("/accuracy", 200, app="script")],
    ("GET", "/network"): [_get("/network", 403)],
    ("GET", "/network/fairness"): [_get("/network/fairness", 403)],
    ("PUT", "/network"): [
        Case(403, lambda s, h: h.put("/network", content="network: x\n")),
        Case(403, lambda s, h: h.put("/network", params={"dry_run": "true"}, content="network: x\n")),
    ],
    ("GET", "/clusters"): [_get("/clusters", 200)],
    ("POST", "/clusters/{cluster}/{command}"): [
        _post(f"/clusters/north/{command}", 403) for command in ("drain", "resume", "dead")
    ],
    ("GET", "/steering/{cluster}"): [_get("/steering/north", 403)],
    ("PUT", "/steering/{cluster}"): [_put("/steering/north", 403, {"mode": "on"})],
    ("GET", "/steering/{cluster}/preview"): [_get("/steering/north/preview", 403)],
    ("GET", "/servers"): [_get("/servers", 403)],
    ("GET", "/decisions/replay"): [_get("/decisions/replay", 403)],
    ("POST", "/clusters/discover"): [_post("/clusters/discover", 403, {"url": "ssh://a@b"}), _post("/clusters/discover", 403, {})],
    ("POST", "/clusters/{cluster}/check"): [_post("/clusters/north/check", 403, {}), _post("/clusters/acme/check", 403, {})],
    ("GET", "/incidents"): [_get("/incidents", 403), _get("/incidents", 403, cluster="north")],
    ("GET", "/incidents/{incident}"): [_get("/incidents/inc-0000000000001", 403)],
    ("GET", "/usage"): [_get("/usage", 200), _get("/usage", 200, corrections="true"), _get("/usage", org="acme"), _get("/usage", job="<job>")],
    ("GET", "/usage/reconciliation/{cluster}"): [_get("/usage/reconciliation/north", 403)],
    ("POST", "/usage/reconciliation/{cluster}"): [_post("/usage/reconciliation/north", 403)],
    ("GET", "/site-accounts"): [_get("/site-accounts", 403), _get("/site-accounts", 403, cluster="north")],
    ("POST", "/site-accounts"): [_post("/site-accounts", 403, ACCOUNT)],
    ("GET", "/site-accounts/{account}/bindings"): [_get("/site-accounts/acct-0000000000001/bindings", 403)],
    ("POST", "/site-accounts/{account}/bindings"): [_post("/site-accounts/acct-0000000000001/bindings", 403, {"org": "rival"})],
    ("POST", "/site-accounts/{account}/release"): [_post("/site-accounts/acct-0000000000001/release", 403)],
    ("POST", "/site-accounts/{account}/retire"): [_post("/site-accounts/acct-0000000000001/retire", 403)],
    ("GET", "/balance"): [_get("/balance", 200), _get("/balance", org="acme"), _get("/balance", org="nobody")],
    ("POST", "/deposits"): [
        _post("/deposits", 403, {"org": "acme", "amount": "5.00"}), _post("/deposits", 403, {"org": "rival", "amount": "5.00"}),
    ],
    ("GET", "/journal/check"): [_get("/journal/check", 403)],
    ("GET", "/events"): [_get("/events", 200, limit="500"), _get("/events", job="<job>")],
    ("GET", "/orgs"): [_get("/orgs", 200)],
    ("POST", "/orgs"): [_post("/orgs", 403, {"name": "acme"}), _post("/orgs", 403, {"name": "third"})],
    ("GET", "/orgs/{org}/projects"): [_get("/orgs/acme/projects")],
    ("POST", "/orgs/{org}/projects"): [_post("/orgs/acme/projects", 404, {"name": "mine"})],
    ("GET", "/orgs/{org}/users"): [_get("/orgs/acme/users")],
    ("POST", "/orgs/{org}/users"): [_post("/orgs/acme/users", 404, {"name": "mole", "role": "user"})],
    ("GET", "/orgs/{org}/tokens"): [_get("/orgs/acme/tokens")],
    ("POST", "/orgs/{org}/tokens"): [
        _post("/orgs/acme/tokens", 404, {}), _post("/orgs/acme/tokens", 404, {"user": "carol-of-acme"}),
        _post("/orgs/rival/tokens", 404, {"user": "carol-of-acme"}), _post("/orgs/operator/tokens", 404, {"user": "admin"}),
    ],
    ("DELETE", "/orgs/{org}/tokens/{token}"): [
        Case(404, lambda s, h: h.delete(f"/orgs/acme/tokens/{s.token}")),
        Case(404, lambda s, h: h.delete(f"/orgs/rival/tokens/{s.token}")),
    ],
}  # fmt: skip
ROUTES = [(m, r.path) for router in ROUTERS for r in router.routes if isinstance(r, APIRoute) for m in sorted(r.methods or ())]


def test_every_route_has_a_case() -> None:
    assert sorted(CASES) == sorted(ROUTES)


@pytest.mark.parametrize("route", sorted(CASES), ids=lambda r: " ".join(r))
def test_a_stranger_reads_and_changes_nothing(stage: Stage, route: tuple[str, str]) -> None:
    stranger = stage.world.token("rival", f"mallory-{hashlib.md5(repr(route).encode()).hexdigest()[:8]}", "project_admin")
    with stage.world.http(stranger) as http:
        for case in CASES[route]:
            answer = case.ask(stage, http)
            assert answer.status_code == case.status, answer.text
            sent = str(answer.request.url) + answer.request.content.decode(errors="replace")
            for secret in stage.secrets:
                # what the stranger wrote itself may come back in a message
                assert secret not in answer.text or secret.strip('"') in sent, (secret, answer.text)
    assert stage.picture() == stage.before


@pytest.mark.parametrize("route", sorted(CASES), ids=lambda r: " ".join(r))
def test_without_a_token_nothing_is_told(stage: Stage, route: tuple[str, str]) -> None:
    with stage.world.http("") as http:
        for case in CASES[route]:
            assert case.ask(stage, http).status_code == (200 if route[1] == "/health" else 401)


@pytest.mark.parametrize("route", sorted(CASES), ids=lambda r: " ".join(r))
@pytest.mark.parametrize("role", ["user", "auditor", "provider"])
def test_no_lesser_role_learns_more(stage: Stage, route: tuple[str, str], role: str) -> None:
    name = f"{role}-{hashlib.md5(repr(route).encode()).hexdigest()[:8]}"
    with stage.world.http(stage.world.token("rival", name, role)) as http:
        for case in CASES[route]:
            answer = case.ask(stage, http)
            provided = role == "provider" and route == ("GET", "/site-accounts")  # those at its own centres: here none
            assert answer.status_code in (case.status, 403, *([200, 404] if provided else [])), answer.text
            assert not provided or answer.status_code != 200 or answer.json() == {"items": []}


def test_what_capacity_costs_is_the_operators_to_see(stage: Stage) -> None:
    with stage.world.http(stage.acme) as http:
        for path in ("/clusters", f"/jobs/{stage.job}/explain", "/usage"):
            text = http.get(path).text
            assert '"cost_core_hour"' not in text and '"marginal' not in text
            assert path == f"/jobs/{stage.job}" or '"cost":' not in text, path
    with stage.world.http(stage.operator) as http:
        assert '"cost_core_hour"' in http.get("/clusters").text
        assert '"cost":' in http.get("/usage").text
