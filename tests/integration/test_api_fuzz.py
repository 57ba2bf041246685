"""The API fuzzed from its own OpenAPI file: no answer is a server error, every answer is as declared.

Deterministic: the same requests in every run. No cluster runs, so nothing that is submitted is executed. What fits the
schema may still be refused: an application has its own schema, a path its rules.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance
from tests.parts.served_platform import World, served_platform

from tidegrid.server.app import create_app

DOCUMENT = create_app(platform=None).openapi()  # type: ignore[arg-type]  # the document needs no platform
schema = schemathesis.openapi.from_dict(DOCUMENT)
QUIET: dict[str, Any] = {"derandomize": True, "deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}
WIDE = settings(max_examples=15, phases=[Phase.explicit, Phase.generate], **QUIET)
NARROW = settings(max_examples=6, phases=[Phase.generate], **QUIET)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    home = Path(tempfile.mkdtemp(prefix="tide-"))
    try:
        with served_platform(home, supervise=False) as made:
            made.tokens["operator"] = made.token("operator", "fuzz", "operator")
            made.tokens["user"] = made.token("acme", "fuzz", "user")
            yield made
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _check(world: World, who: str, case: Any) -> None:
    headers = {"Authorization": f"Bearer {world.tokens[who]}"}
    response = case.call(base_url=world.url, headers=headers, timeout=30)
    excluded = [positive_data_acceptance]
    sent = {name for name, _ in parse_qsl(urlsplit(response.request.url).query, keep_blank_values=True)}
    if set(case.query or {}) - sent:  # what was wrong was an empty list, of which nothing is sent
        excluded.append(negative_data_rejection)
    case.validate_response(response, headers=headers, excluded_checks=excluded)


@schema.parametrize()
@WIDE
def test_operators_requests_break_nothing(case: Any, world: World) -> None:
    _check(world, "operator", case)


@schema.parametrize()
@NARROW
def test_users_requests_break_nothing(case: Any, world: World) -> None:
    _check(world, "user", case)
