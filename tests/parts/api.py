"""The API over a platform, with one token of every kind: `api` is served on a socket."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.parts.fake_platform import FakePlatform
from tests.parts.served import served
from tests.parts.stores import Ticks
from tidegrid.client import Tide
from tidegrid.server.app import create_app
from tidegrid.store.engine import Store


@dataclass
class Api:
    """url, and tokens: operator; ada and eve, users of acme; adam, acme's project admin; bob, a user of other."""

    url: str
    platform: Any
    tokens: dict[str, str]

    def http(self, who: str = "ada") -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.tokens[who]}"} if who else {}
        return httpx.Client(base_url=self.url + "/api/v1", headers=headers, timeout=10, trust_env=False)

    def tide(self, who: str = "ada") -> Tide:
        return Tide(self.url, self.tokens[who])


PEOPLE = {
    "operator": ("operator", "admin", "operator"),
    "ada": ("acme", "ada", "user"),
    "eve": ("acme", "eve", "user"),
    "adam": ("acme", "adam", "project_admin"),
    "audrey": ("acme", "audrey", "auditor"),
    "bob": ("other", "bob", "user"),
    "boss": ("other", "boss", "project_admin"),
}


@pytest.fixture
def platform(sqlite_template: Path, tmp_path: Path) -> Iterator[FakePlatform]:
    path = tmp_path / "tidegrid.db"
    shutil.copy(sqlite_template, path)
    with Store.open(f"sqlite:///{path}", now_us=Ticks()) as store:
        yield FakePlatform(store, tmp_path)


@pytest.fixture
def api(platform: FakePlatform) -> Iterator[Api]:
    tokens = {name: platform.account(*who) for name, who in PEOPLE.items()}
    with served(create_app(platform)) as url:
        yield Api(url, platform, tokens)
