"""Stores to test on: `store` is SQLite in one run of a test and PostgreSQL in the next; and rows to begin with."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, insert

from tests.parts.postgres import Postgres
from tidegrid.domain.ids import Ids
from tidegrid.store import orgs
from tidegrid.store.engine import Store
from tidegrid.store.schema import attempts, jobs, parts

T0 = 1_800_000_000_000_000  # 2027-01-15 08:00 UTC, in microseconds


class Ticks:
    """A clock that tests move; each reading is a microsecond later than the one before."""

    def __init__(self, at: int = T0) -> None:
        self.at = at

    def __call__(self) -> int:
        self.at += 1
        return self.at

    def now(self) -> int:
        return self()


def make_ids(seed: int = 1, clock: Ticks | None = None) -> Ids:
    """Ids that come out alike in every run."""
    return Ids(clock or Ticks(), random.Random(seed).getrandbits)


@pytest.fixture
def ids() -> Ids:
    return make_ids()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, empty database file: copying it is quicker than migrating."""
    path = tmp_path_factory.mktemp("template") / "empty.db"
    Store.open(f"sqlite:///{path}", now_us=Ticks()).close()
    return path


@pytest.fixture(scope="session")
def postgres_template(postgres: Postgres) -> str:
    """The name of a migrated, empty database."""
    postgres.sql('CREATE DATABASE "tide_template"')
    Store.open(postgres.url("tide_template"), now_us=Ticks()).close()
    return "tide_template"


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.real)])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a fresh, migrated, empty database."""
    if request.param == "sqlite":
        path = tmp_path / "tidegrid.db"
        shutil.copy(request.getfixturevalue("sqlite_template"), path)
        yield f"sqlite:///{path}"
        return
    template: str = request.getfixturevalue("postgres_template")
    server: Postgres = request.getfixturevalue("postgres")
    url = server.database(template)
    yield url
    server.drop(url)


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    """A fresh store; the test runs once on each database."""
    with Store.open(store_url, now_us=Ticks()) as opened:
        yield opened


@dataclass(frozen=True, slots=True)
class Tenant:
    """An organisation with one project and one user."""

    org_id: int
    project_id: int
    user_id: int
    name: str


def add_tenant(conn: Connection, ids: Ids, name: str = "acme", at: int = T0) -> Tenant:
    tenant = Tenant(ids.new(), ids.new(), ids.new(), name)
    orgs.create_org(conn, id=tenant.org_id, name=name, at=at)
    orgs.create_project(conn, id=tenant.project_id, org_id=tenant.org_id, name="default", at=at)
    orgs.create_user(conn, id=tenant.user_id, org_id=tenant.org_id, name="ada", role="user", at=at)
    return tenant


def job_row(ids: Ids, tenant: Tenant, **cols: Any) -> dict[str, Any]:
    """A row of `jobs`."""
    row = {
        "id": ids.new(), "org_id": tenant.org_id, "project_id": tenant.project_id, "user_id": tenant.user_id,
        "name": "j", "app": "run", "app_version": "v", "spec": "{}", "state": "pending", "tasks": 1, "created_at": T0,
        "open": True, "reserved": 0,
    }  # fmt: skip
    return {**row, **cols}


def part_row(ids: Ids, job: dict[str, Any], **cols: Any) -> dict[str, Any]:
    """The one part of a plain job."""
    return {"id": ids.new(), "org_id": job["org_id"], "job_id": job["id"], "tasks": "0", **cols}


def add_attempt(conn: Connection, ids: Ids, tenant: Tenant, **cols: Any) -> dict[str, Any]:
    """A job with one part and one attempt, bare rows; the attempt's row."""
    job = job_row(ids, tenant)
    part = part_row(ids, job, placed=True)
    row = {
        "id": ids.new(), "org_id": tenant.org_id, "job_id": job["id"], "part_id": part["id"], "cluster": "east",
        "partition": "cpu", "tasks": "0", "state": "SUBMITTING", "created_at": T0, "cores": 1, "memory_mib": 256,
        "wall_s": 600, **cols,
    }  # fmt: skip
    conn.execute(insert(jobs).values(**job))
    conn.execute(insert(parts).values(**part))
    conn.execute(insert(attempts).values(**row))
    return row
