"""Rows as the API shows them: ids as text, times as ISO 8601 in UTC, money as decimal text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from tidegrid.domain.ids import show
from tidegrid.domain.money import format_amount

Row = Mapping[str, Any]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def when(us: int | None) -> str | None:
    """Microseconds UTC as `2026-11-23T22:53:00.000000Z`."""
    if us is None:
        return None
    return (_EPOCH + timedelta(microseconds=us)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def money(micro: int) -> dict[str, str]:
    return {"amount": format_amount(micro), "currency": "CNY"}


def job(row: Row, cost: int, attempts: Sequence[Row] | None = None, executions: Sequence[Row] = ()) -> dict[str, Any]:
    """A job; with its attempts where they are given."""
    spec = json.loads(row["spec"])
    view = {
        "id": show("job", row["id"]),
        "org": row["org"],
        "project": row["project"],
        "user": row["user"],
        "name": row["name"],
        "app": row["app"],
        "app_version": row["app_version"],
        "state": row["state"],
        "reason": row["reason"],
        "tasks": row["tasks"],
        "resources": spec["resources"],
        "objective": spec["objective"],
        "deadline": when(spec.get("deadline") or None),
        "budget": money(spec["budget"]) if spec.get("budget") else None,
        "held": bool(row["held"]),
        "cancel_wanted": bool(row["cancel_wanted"]),
        "created_at": when(row["created_at"]),
        "started_at": when(row["started_at"]),
        "ended_at": when(row["ended_at"]),
        "moved": row["moved"],
        "cost": money(cost),
    }
    if attempts is not None:
        by_attempt: dict[int, list[Row]] = {}
        for e in executions:
            by_attempt.setdefault(e["attempt_id"], []).append(e)
        view["attempts"] = [attempt(a, by_attempt.get(a["id"], ())) for a in attempts]
    return view


def attempt(row: Row, executions: Sequence[Row] = ()) -> dict[str, Any]:
    return {
        "id": show("att", row["id"]),
        "cluster": row["cluster"],
        "partition": row["partition"],
        "state": row["state"],
        "reason": row["reason"],
        "native_id": row["native_id"],
        "detail": row["detail"],
        "tasks": row["tasks"],
        "movable": bool(row["movable"]),
        "restartable": bool(row["restartable"]),
        "created_at": when(row["created_at"]),
        "started_at": when(row["started_at"]),
        "ended_at": when(row["ended_at"]),
        "executions": [
            {
                "task": e["task"],
                "restart": e["restart"],
                "reason": e["reason"],
                "exit_code": e["exit_code"],
                "started_at": when(e["started_at"]),
                "ended_at": when(e["ended_at"]),
                "source": e["source"],
                "peak_mib": e["peak_mib"],
            }
            for e in executions
        ],
    }


def event(e: Row) -> dict[str, Any]:
    body = e["body"]
    return {
        "seq": e["seq"],
        "at": when(e["at"]),
        "kind": e["kind"],
        "job": show("job", e["job_id"]) if e["job_id"] else None,
        "attempt": show("att", e["attempt_id"]) if e["attempt_id"] else None,
        "cluster": e["cluster"],
        "body": json.loads(body) if isinstance(body, str) else dict(body),
    }


def usage(row: Row, *, operator: bool) -> dict[str, Any]:
    """A journalled segment; what it cost the operator is the operator's to see."""
    view = {
        "job": show("job", row["job_id"]),
        "attempt": show("att", row["attempt_id"]),
        "task": row["task"],
        "restart": row["restart"],
        "segment": row["segment"],
        "revision": row["revision"],
        "cluster": row["cluster"],
        "partition": row["partition"],
        "native_id": row["native_id"],
        "source": row["source"],
        "estimated": bool(row["estimated"]),
        "reversed": bool(row["reversed"]),
        "started_at": when(row["started_at"]),
        "ended_at": when(row["ended_at"]),
        "elapsed_ms": row["elapsed_ms"],
        "cores": row["cores"],
        "gpus": row["gpus"],
        "memory_mib": row["memory_mib"],
        "charge": money(row["sell"]),
    }
    if operator:
        view["cost"] = money(row["cost"])
    return view
