"""What was used and what it comes to, for `tide usage`."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from tidegrid.store import usage
from tidegrid.store.scope import Scope

_SUMMED = ("elapsed_ms", "core_ms", "gpu_ms", "mib_ms", "sell", "cost", "segments", "estimated")


def statement(conn: Connection, scope: Scope, *, since: int = 0, until: int | None = None) -> dict[str, Any]:
    """Sums over usage that began in [since, until) µs and counts: by job, by partition, in total.

    {"jobs": [{job_id, …}], "partitions": [{cluster, partition, …}], "total": {…}}, where … is elapsed_ms, core_ms,
    gpu_ms, mib_ms (resource-milliseconds), sell (micro-yuan), segments, estimated (segments that are), and for operators
    only cost (micro-yuan).
    """
    jobs = [dict(r) for r in usage.sums(conn, scope, "job", since=since, until=until)]
    partitions = [dict(r) for r in usage.sums(conn, scope, "partition", since=since, until=until)]
    total = {name: sum(r[name] for r in partitions) for name in _SUMMED}
    if scope.org_id is not None:
        for row in [*jobs, *partitions, total]:
            del row["cost"]
    return {"jobs": jobs, "partitions": partitions, "total": total}
