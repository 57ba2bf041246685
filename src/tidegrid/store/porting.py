"""The porting board's items with their history, and demand that could not be met."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, func, insert, not_, select, update

from tidegrid.store.schema import jobs, orgs, porting, porting_events, unmet, usage
from tidegrid.store.upsert import added
from tidegrid.store.upsert import insert as upsert

Row = Mapping[Any, Any]


def add(conn: Connection, row: Mapping[str, Any], event_id: int) -> bool:
    """Whether there was none for this application and architecture."""
    if not added(conn, porting, dict(row)):
        return False
    _note(conn, event_id, row["id"], row)
    return True


def change(conn: Connection, item_id: int, event_id: int, cols: Mapping[str, Any]) -> None:
    """cols: state, effort_days, note, changed_at, changed_by."""
    conn.execute(update(porting).where(porting.c.id == item_id).values(**cols))
    _note(conn, event_id, item_id, cols)


def _note(conn: Connection, id_: int, item_id: int, cols: Mapping[str, Any]) -> None:
    kept = {k: cols[k] for k in ("state", "effort_days", "note")}
    conn.execute(insert(porting_events).values(id=id_, item_id=item_id, at=cols["changed_at"], by=cols["changed_by"], **kept))


def get(conn: Connection, item_id: int) -> Row | None:
    return conn.execute(select(porting).where(porting.c.id == item_id)).mappings().first()


def all(conn: Connection) -> list[Row]:
    return list(conn.execute(select(porting).order_by(porting.c.id)).mappings())


def history(conn: Connection, item_id: int) -> list[Row]:
    """Oldest first."""
    query = select(porting_events).where(porting_events.c.item_id == item_id).order_by(porting_events.c.id)
    return list(conn.execute(query).mappings())


# Demand -----------------------------------------------------------------------------------------------------------------


def refuse(conn: Connection, *, day: int, org_id: int, app: str, arch: str, reason: str, core_s: int) -> None:
    """Add one job to what could not be met. day: since 1970-01-01 UTC; core_s: core-seconds at full wall time."""
    row = {"day": day, "org_id": org_id, "app": app, "arch": arch, "reason": reason, "jobs": 1, "core_s": core_s}
    statement = upsert(conn, unmet).values(**row)
    conn.execute(
        statement.on_conflict_do_update(
            index_elements=["day", "org_id", "app", "arch", "reason"],
            set_={"jobs": unmet.c.jobs + 1, "core_s": unmet.c.core_s + statement.excluded.core_s},
        )
    )


def refused(conn: Connection, since_day: int) -> list[Row]:
    """{app, org, arch, reason, jobs, core_s} since a day."""
    query = (
        select(unmet.c.app, orgs.c.name.label("org"), unmet.c.arch, unmet.c.reason, func.sum(unmet.c.jobs).label("jobs"),
               func.sum(unmet.c.core_s).label("core_s"))
        .join(orgs, orgs.c.id == unmet.c.org_id)
        .where(unmet.c.day >= since_day)
        .group_by(unmet.c.app, orgs.c.name, unmet.c.arch, unmet.c.reason)
        .order_by(unmet.c.app, orgs.c.name)
    )  # fmt: skip
    return list(conn.execute(query).mappings())


def used(conn: Connection, since: int) -> list[Row]:
    """{app, org, cluster, partition, core_ms, sell} of use that counts and began at `since` (µs) or later."""
    query = (
        select(
            jobs.c.app, orgs.c.name.label("org"), usage.c.cluster, usage.c.partition,
            func.sum(usage.c.elapsed_ms * usage.c.cores).label("core_ms"), func.sum(usage.c.sell).label("sell"),
        )
        .join(jobs, jobs.c.id == usage.c.job_id)
        .join(orgs, orgs.c.id == usage.c.org_id)
        .where(not_(usage.c.reversed), usage.c.started_at >= since)
        .group_by(jobs.c.app, orgs.c.name, usage.c.cluster, usage.c.partition)
        .order_by(jobs.c.app, orgs.c.name)
    )  # fmt: skip
    return list(conn.execute(query).mappings())
