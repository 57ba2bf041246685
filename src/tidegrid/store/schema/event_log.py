"""What happened, in order, and how far its consumers have read."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Identity, Index, String, Table

from tidegrid.store.schema.columns import ROW_ID, int_, metadata, text_

events = Table(  # append-only; seq orders it
    "events",
    metadata,
    Column("seq", ROW_ID, Identity(), primary_key=True, autoincrement=True),
    Column("org_id", BigInteger, ForeignKey("orgs.id"), nullable=True),  # null: of the operator
    int_("at"),
    Column("kind", String(64), nullable=False),
    int_("job_id", None),
    int_("attempt_id", None),
    text_("cluster"),
    text_("body", "{}"),
    Index("events_by_org", "org_id", "seq"),
    Index("events_by_job", "job_id", "seq"),
    Index("events_by_kind", "kind", "seq"),
    sqlite_autoincrement=True,
)

cursors = Table(
    "cursors", metadata, Column("consumer", String(64), primary_key=True), int_("position"), int_("updated_at")
)
