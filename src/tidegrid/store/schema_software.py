"""Tables of what is installed where, what machines can do, licences, and the porting board. See `schema`."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    String,
    Table,
    UniqueConstraint,
    text,
)

from tidegrid.store.schema import _id, _int, _org, _text, metadata


def _float(name: str) -> Column[float]:
    return Column(name, Float(53), nullable=True)


installations = Table(  # what is known beyond the network file, by version; see catalog.installations
    "installations",
    metadata,
    Column("app", String(64), primary_key=True),
    Column("version", String(64), primary_key=True),
    Column("cluster", String(64), primary_key=True),
    Column("partition", String(64), primary_key=True),
    _text("state"),
    _text("reason"),
    _text("way", "null"),  # JSON: how it was invoked when this was said
    _int("changed_at"),
    _text("changed_by"),
)

installation_events = Table(  # immutable
    "installation_events",
    metadata,
    _id(),
    _text("app"),
    _text("version"),
    _text("cluster"),
    _text("partition"),
    _int("at"),
    _text("by"),
    _text("state"),
    _text("reason"),
    _text("way", "null"),
    Index("installation_history", "app", "cluster", "partition", "id"),
)

trials = Table(  # jobs that find something out about a partition
    "trials",
    metadata,
    _id(),
    _org(),
    _int("batch"),  # trials that are judged together
    _text("kind"),  # verify | card
    _text("app"),
    _text("version"),
    _text("cluster"),
    _text("partition"),
    _text("test"),
    _text("way", "null"),
    _int("job_id"),
    _text("by"),
    _text("state", "running"),  # running | passed | failed | void: it says nothing of the application
    _text("failed", "[]"),  # JSON: what was not as expected
    _text("found", "{}"),  # JSON: what the test looked at
    _float("seconds"),
    _int("created_at"),
    _int("ended_at", None),
    ForeignKeyConstraint(["org_id", "job_id"], ["jobs.org_id", "jobs.id"]),
    Index("trials_of_app", "app", "version", "id"),
    Index("running_trials", "id", sqlite_where=text("state = 'running'"), postgresql_where=text("state = 'running'")),
)

machine_cards = Table(  # immutable; the newest of a partition is in force
    "machine_cards",
    metadata,
    _id(),
    _text("cluster"),
    _text("partition"),
    _int("measured_at"),
    _int("job_id"),
    _text("by"),
    _text("hash"),
    _text("body"),  # JSON, see catalog.machine_card
    Index("cards_of_partition", "cluster", "partition", "id"),
)

licence_uses = Table(  # what a live attempt has of a licence; it is free again when the attempt has ended
    "licence_uses",
    metadata,
    Column("attempt_id", BigInteger, primary_key=True, autoincrement=False),
    Column("pool", String(64), primary_key=True),
    _org(),
    _int("count"),
    ForeignKeyConstraint(["org_id", "attempt_id"], ["attempts.org_id", "attempts.id"]),
)

unmet = Table(  # what was asked for and could run nowhere for want of an installation, summed by day
    "unmet",
    metadata,
    Column("day", Integer, primary_key=True),  # days since 1970-01-01 UTC
    Column("org_id", BigInteger, ForeignKey("orgs.id"), primary_key=True),
    Column("app", String(64), primary_key=True),
    Column("arch", String(32), primary_key=True, server_default=""),  # asked for; empty: any
    Column("reason", String(32), primary_key=True),  # not_installed | arch
    _int("jobs"),
    _int("core_s"),  # core-seconds at full wall time
)

porting = Table(
    "porting",
    metadata,
    _id(),
    Column("app", String(64), nullable=False),
    Column("arch", String(32), nullable=False),
    _text("state", "planned"),  # planned | installing | porting | testing | tuning | serving | dropped
    _float("effort_days"),
    _text("note"),
    _int("created_at"),
    _int("changed_at"),
    _text("changed_by"),
    UniqueConstraint("app", "arch"),
)

porting_events = Table(  # immutable
    "porting_events",
    metadata,
    _id(),
    _int("item_id"),
    _int("at"),
    _text("by"),
    _text("state"),
    _float("effort_days"),
    _text("note"),
    ForeignKeyConstraint(["item_id"], ["porting.id"]),
    Index("porting_history", "item_id", "id"),
)
