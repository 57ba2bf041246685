"""How busy clusters are: as they answered this server last, or as another server that looks at them has stored; and what was sent there
that their loads do not show."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection

from tidegrid.control.contact import Contact
from tidegrid.domain.clock import SECOND
from tidegrid.domain.ranges import expand
from tidegrid.store import attempts

Row = Mapping[Any, Any]
OLDEST_S = 300  # a load is no older where the cluster answers
SENT = 2000  # tasks on their way to one place that are looked at


@lru_cache(maxsize=64)
def _stored(text: str) -> Sequence[Mapping[str, Any]]:
    """What a cluster's row says, read once for all its partitions: thousands of jobs may be in it."""
    return json.loads(text or "[]")  # type: ignore[no-any-return]


def of(contact: Contact | None, partition: str, state: Row | None) -> Mapping[str, Any] | None:
    """The partition's last load, with the names of `contract.NodeLoad`; None where none is known. state: the cluster's row."""
    if contact is not None and contact.loads:
        told = next((load for load in contact.loads if load.partition == partition), None)
        if told is not None:
            return {f.name: getattr(told, f.name) for f in fields(told)}  # thousands of rows, as they are
    stored = () if state is None else _stored(state["loads"])
    return next((load for load in stored if load["partition"] == partition), None)


def asked_at(contact: Contact | None, state: Row) -> int:
    """When the loads that `of` gives were asked for, µs."""
    if contact is not None and contact.loads:
        return contact.loads_at
    return min((load.get("at", 0) for load in _stored(state["loads"])), default=0)


def sent(conn: Connection, contacts: Mapping[str, Contact], states: Mapping[str, Row], now: int) -> dict[tuple[str, str], list[Row]]:
    """Attempts by cluster and partition that are on their way there, or were queued after its load was asked for; oldest first."""
    oldest = now - OLDEST_S * SECOND
    since = {name: max(asked_at(contacts.get(name), row), oldest) for name, row in states.items()}
    out: dict[tuple[str, str], list[Row]] = {}
    for row in attempts.sent(conn, since, min(since.values(), default=oldest)):
        if row["queued_at"] is None or row["queued_at"] >= since[row["cluster"]]:
            out.setdefault((row["cluster"], row["partition"]), []).append(row)
    return out


def tasks(sent: Sequence[Row]) -> Iterator[tuple[int, tuple[int, int, int], int]]:
    """(wall time, need, nodes) of each of their tasks, of the first SENT; need in the order of `snapshot.KINDS`."""

    def each(a: Row) -> Iterator[tuple[int, tuple[int, int, int], int]]:
        one = (a["wall_s"], (a["cores"] * 1000, a["memory_mib"], a["gpus"]), int(json.loads(a["spec"])["resources"]["nodes"]))
        return itertools.repeat(one, len(expand(a["tasks"])))

    return itertools.islice(itertools.chain.from_iterable(map(each, sent)), SENT)
