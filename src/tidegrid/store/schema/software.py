"""What can run: applications, what of them is installed where, what machines can do, licences, and the porting board."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    String,
    Table,
    UniqueConstraint,
    text,
)

from tidegrid.store.schema.columns import bool_, float_, id_, int_, metadata, org_, text_

apps = Table(
    "apps",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("version", String(64), primary_key=True),  # content hash
    text_("body"),  # canonical JSON of the document
    int_("created_at"),
    bool_("current"),
)

installations = Table(  # what is known beyond the network file, by version; see catalog.installations
    "installations",
    metadata,
    Column("app", String(64), primary_key=True),
    Column("version", String(64), primary_key=True),
    Column("cluster", String(64), primary_key=True),
    Column("partition", String(64), primary_key=True),
    text_("state"),
    text_("reason"),
    text_("way", "null"),  # JSON: how it was invoked when this was said
    int_("changed_at"),
    text_("changed_by"),
)

installation_events = Table(  # immutable
    "installation_events",
    metadata,
    id_(),
    text_("app"),
    text_("version"),
    text_("cluster"),
    text_("partition"),
    int_("at"),
    text_("by"),
    text_("state"),
    text_("reason"),
    text_("way", "null"),
    Index("installation_history", "app", "cluster", "partition", "id"),
)

trials = Table(  # jobs that find something out about a partition
    "trials",
    metadata,
    id_(),
    org_(),
    int_("batch"),  # trials that are judged together
    text_("kind"),  # verify | card
    text_("app"),
    text_("version"),
    text_("cluster"),
    text_("partition"),
    text_("test"),
    text_("way", "null"),
    int_("job_id"),
    text_("by"),
    text_("state", "running"),  # running | passed | failed | void: it says nothing of the application
    text_("failed", "[]"),  # JSON: what was not as expected
    text_("found", "{}"),  # JSON: what the test looked at
    float_("seconds"),
    int_("created_at"),
    int_("ended_at", None),
    ForeignKeyConstraint(["org_id", "job_id"], ["jobs.org_id", "jobs.id"]),
    Index("trials_of_app", "app", "version", "id"),
    Index("running_trials", "id", sqlite_where=text("state = 'running'"), postgresql_where=text("state = 'running'")),
)

machine_cards = Table(  # immutable; the newest of a partition is in force
    "machine_cards",
    metadata,
    id_(),
    text_("cluster"),
    text_("partition"),
    int_("measured_at"),
    int_("job_id"),
    text_("by"),
    text_("hash"),
    text_("body"),  # JSON, see catalog.machine_card
    Index("cards_of_partition", "cluster", "partition", "id"),
)

licence_uses = Table(  # what a live attempt has of a licence; it is free again when the attempt has ended
    "licence_uses",
    metadata,
    Column("attempt_id", BigInteger, primary_key=True, autoincrement=False),
    Column("pool", String(64), primary_key=True),
    org_(),
    int_("count"),
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
    int_("jobs"),
    int_("core_s"),  # core-seconds at full wall time
)

porting = Table(
    "porting",
    metadata,
    id_(),
    Column("app", String(64), nullable=False),
    Column("arch", String(32), nullable=False),
    text_("state", "planned"),  # planned | installing | porting | testing | tuning | serving | dropped
    float_("effort_days"),
    text_("note"),
    int_("created_at"),
    int_("changed_at"),
    text_("changed_by"),
    UniqueConstraint("app", "arch"),
)

porting_events = Table(  # immutable
    "porting_events",
    metadata,
    id_(),
    int_("item_id"),
    int_("at"),
    text_("by"),
    text_("state"),
    float_("effort_days"),
    text_("note"),
    ForeignKeyConstraint(["item_id"], ["porting.id"]),
    Index("porting_history", "item_id", "id"),
)
