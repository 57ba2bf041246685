"""What the SDK returns: frozen dataclasses made from the API's JSON. Unknown fields are left out, missing ones get defaults,
so that an older SDK reads a newer server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from decimal import Decimal
from typing import Any, Generic, TypeVar

from tidegrid.domain.job import FINAL, JobState

T = TypeVar("T")


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text.replace("Z", "+00:00"))


@dataclass(frozen=True, slots=True)
class Cost:
    amount: Decimal = Decimal(0)
    currency: str = "CNY"

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Cost:
        return cls(Decimal(str(body.get("amount", "0"))), str(body.get("currency", "CNY")))

    def __str__(self) -> str:
        return f"{self.amount} {self.currency}"


@dataclass(frozen=True, slots=True)
class Resources:
    """What one task needs on one node; wall_s in seconds."""

    cores: int = 1
    memory_mib: int = 0
    gpus: int = 0
    gpu_type: str = ""
    wall_s: int = 0
    nodes: int = 1
    ranks: int = 1
    exclusive: bool = False


@dataclass(frozen=True, slots=True)
class Execution:
    """One start of one task."""

    task: int = 0
    restart: int = 0
    reason: str | None = None
    exit_code: int | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    source: str | None = None
    peak_mib: int | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One submission of tasks of a job to one cluster."""

    id: str
    cluster: str = ""
    partition: str = ""
    state: str = ""
    reason: str | None = None
    native_id: str | None = None
    detail: str | None = None
    tasks: str = "0"
    created_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    executions: tuple[Execution, ...] = ()


@dataclass(frozen=True, slots=True)
class Job:
    """A job; `attempts` only where it was asked for alone. raw: the API's JSON."""

    id: str
    state: JobState
    org: str = ""
    project: str = ""
    user: str = ""
    name: str = ""
    app: str = ""
    app_version: str = ""
    reason: str | None = None
    tasks: int = 1
    resources: Resources = Resources()
    objective: str = "balanced"
    deadline: datetime | None = None
    budget: Cost | None = None
    held: bool = False
    cancel_wanted: bool = False
    created_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    moved: int = 0
    cost: Cost = Cost()
    attempts: tuple[Attempt, ...] = ()
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def final(self) -> bool:
        return self.state in FINAL

    @property
    def succeeded(self) -> bool:
        return self.state is JobState.SUCCEEDED

    @property
    def cluster(self) -> str:
        """Where it last went, empty when nowhere yet; known only where attempts are."""
        return self.attempts[-1].cluster if self.attempts else ""

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Job:
        known = _known(cls, body)
        known["state"] = JobState(body["state"])
        known["resources"] = Resources(**_known(Resources, body.get("resources") or {}))
        known["cost"] = Cost.of(body.get("cost") or {})
        known["budget"] = Cost.of(body["budget"]) if body.get("budget") else None
        known["attempts"] = tuple(_attempt(a) for a in body.get("attempts") or ())
        known["raw"] = body
        return cls(**known)


@dataclass(frozen=True, slots=True)
class Output:
    """A file a job produced. size in bytes; state: pending, done or failed."""

    path: str
    size: int = 0
    sha256: str | None = None
    state: str | None = None

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Output:
        return cls(**_known(cls, body))


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened; seq orders them."""

    seq: int
    kind: str
    at: datetime | None = None
    org: str | None = None
    job: str | None = None
    attempt: str | None = None
    cluster: str | None = None
    body: Mapping[str, Any] = field(default_factory=dict)
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Event:
        return cls(**{**_known(cls, body), "raw": body})


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Part of a list; next: the cursor of what follows, None at the end."""

    items: tuple[T, ...]
    next: str | None = None

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


_TIMES = {"at", "deadline", "created_at", "started_at", "ended_at"}


def _known(cls: type[Any], body: Mapping[str, Any]) -> dict[str, Any]:
    names = {f.name for f in fields(cls)}
    return {k: _time(v) if k in _TIMES else v for k, v in body.items() if k in names}


def _attempt(body: Mapping[str, Any]) -> Attempt:
    executions = tuple(Execution(**_known(Execution, e)) for e in body.get("executions") or ())
    return Attempt(**{**_known(Attempt, body), "executions": executions})
