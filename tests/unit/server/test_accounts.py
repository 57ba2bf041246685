"""Who may do what: roles, scopes, tokens that end."""

from __future__ import annotations

import pytest
from tests.parts.api import Api

JOB = {"app": "echo", "params": {"text": "hi"}}


def _token(api: Api, who: str, org: str = "acme", **body: object) -> tuple[int, dict[str, str]]:
    with api.http(who) as http:
        answer = http.post(f"/orgs/{org}/tokens", json=body)
        return answer.status_code, answer.json()


def _get(api: Api, token: str, path: str = "/me") -> int:
    api.tokens["made"] = token
    with api.http("made") as http:
        return http.get(path).status_code


def test_a_token_is_shown_once_and_works(api: Api) -> None:
    status, made = _token(api, "ada", label="laptop")
    assert status == 201 and made["token"].startswith("tide_") and len(made["token"]) > 40
    assert _get(api, made["token"]) == 200
    with api.http() as http:
        listed = http.get("/orgs/acme/tokens")
        assert made["id"] in listed.text and made["token"] not in listed.text


def test_a_revoked_token_is_none_at_once(api: Api) -> None:
    _, made = _token(api, "ada")
    with api.http() as http:
        assert http.delete(f"/orgs/acme/tokens/{made['id']}").status_code == 204
    assert _get(api, made["token"]) == 401


def test_an_expired_token_is_none(api: Api) -> None:
    _, made = _token(api, "ada", expires_in_s=60)
    assert _get(api, made["token"]) == 200
    api.platform.clock.at += 61_000_000
    assert _get(api, made["token"]) == 401


def test_scopes_narrow_and_are_inherited(api: Api) -> None:
    _, made = _token(api, "ada", scopes=["jobs:read", "tokens:own"])
    api.tokens["narrow"] = made["token"]
    assert _get(api, made["token"], "/jobs") == 200
    with api.http("narrow") as http:
        answer = http.post("/jobs", json=JOB)
        assert (answer.status_code, answer.json()["code"]) == (403, "auth.forbidden")
        assert http.post("/orgs/acme/tokens", json={"scopes": ["jobs:write"]}).json()["code"] == "token.too_wide"
    assert _token(api, "narrow")[0] == 403, "no scopes means all of the role: more than this token has"
    status, child = _token(api, "narrow", scopes=["jobs:read"])
    assert status == 201 and child["scopes"] == ["jobs:read"]


def test_nobody_gives_more_than_he_has(api: Api) -> None:
    with api.http("adam") as http:
        assert http.post("/orgs/acme/users", json={"name": "new", "role": "project_admin"}).status_code == 201
        answer = http.post("/orgs/acme/users", json={"name": "root", "role": "operator"})
        assert (answer.status_code, answer.json()["code"]) == (403, "role.too_wide")
        assert http.post("/orgs/acme/users", json={"name": "new"}).json()["code"] == "user.exists"
    assert _token(api, "ada", user="adam")[0] == 403
    assert _token(api, "adam", user="ada")[0] == 201
    assert _token(api, "adam", user="nobody")[0] == 404


def test_an_administrator_of_an_organisation_with_an_operator_gets_no_operators_token(api: Api) -> None:
    api.tokens["clerk"] = api.platform.account("operator", "clerk", "project_admin")
    assert _token(api, "clerk", org="operator", user="admin")[0] == 403
    with api.http("operator") as http:
        ids = [t["id"] for t in http.get("/orgs/operator/tokens").json()["items"] if t["user"] == "admin"]
    with api.http("clerk") as http:
        assert http.delete(f"/orgs/operator/tokens/{ids[0]}").status_code == 403


@pytest.mark.parametrize(
    ("who", "expected"),
    [("ada", 201), ("adam", 201), ("audrey", 403), ("operator", 201)],
)
def test_roles_that_submit(api: Api, who: str, expected: int) -> None:
    with api.http(who) as http:
        assert http.post("/jobs", json=JOB).status_code == expected


def test_a_colleagues_job_is_seen_but_changed_by_admins_only(api: Api) -> None:
    with api.http("ada") as http:
        job = http.post("/jobs", json=JOB).json()["id"]
    with api.http("eve") as http:
        assert http.get(f"/jobs/{job}").status_code == 200
        answer = http.post(f"/jobs/{job}/cancel")
        assert (answer.status_code, answer.json()["code"]) == (403, "job.not_yours")
    with api.http("adam") as http:
        assert http.post(f"/jobs/{job}/cancel").status_code == 200


def test_operators_make_organisations(api: Api) -> None:
    with api.http("operator") as http:
        assert http.post("/orgs", json={"name": "newco"}).status_code == 201
        assert http.post("/orgs", json={"name": "newco"}).json()["code"] == "org.exists"
        assert [p["name"] for p in http.get("/orgs/newco/projects").json()["items"]] == ["default"]
        assert {"acme", "other", "newco"} <= {o["name"] for o in http.get("/orgs").json()["items"]}
    with api.http("adam") as http:
        assert [o["name"] for o in http.get("/orgs").json()["items"]] == ["acme"]
        assert http.post("/orgs", json={"name": "mine"}).status_code == 403
