"""Use, and the books: holds, the journal and customers' balances."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    String,
    Table,
)

from tidegrid.store.schema.columns import bool_, id_, int_, metadata, org_, text_

usage = Table(
    "usage",
    metadata,
    org_(),
    Column("attempt_id", BigInteger, primary_key=True),
    Column("task", Integer, primary_key=True),
    Column("restart", Integer, primary_key=True),
    Column("segment", Integer, primary_key=True),
    Column("revision", Integer, primary_key=True),
    int_("job_id"),
    text_("cluster"),
    text_("partition"),
    text_("source"),  # domain.attempt.Witness
    text_("native_id"),
    bool_("estimated"),
    int_("started_at"),
    int_("ended_at"),
    int_("elapsed_ms"),
    int_("cores"),
    int_("gpus"),
    int_("memory_mib"),
    int_("sell"),  # micro-yuan
    int_("cost"),  # micro-yuan, operator's
    bool_("reversed"),
    int_("recorded_at"),
    ForeignKeyConstraint(["org_id", "attempt_id"], ["attempts.org_id", "attempts.id"]),
    Index("usage_of_job", "job_id"),
    Index("usage_by_org", "org_id", "recorded_at"),
)

holds = Table(
    "holds",
    metadata,
    Column("attempt_id", BigInteger, primary_key=True, autoincrement=False),
    org_(),
    int_("amount"),
    int_("captured"),
    text_("state", "pending"),  # pending | closed | void
    int_("created_at"),
    int_("closed_at", None),
    ForeignKeyConstraint(["org_id", "attempt_id"], ["attempts.org_id", "attempts.id"]),
)

journal = Table(  # one row an entry; its lines sum to zero
    "journal",
    metadata,
    id_(),
    int_("org_id", None),
    Column("key", String(120), nullable=False, unique=True),  # idempotency
    text_("kind"),  # deposit | hold | capture | release | cost | reversal | adjustment
    int_("at"),
    int_("attempt_id", None),
    int_("reverses", None),
    text_("memo"),
    Index("journal_by_org", "org_id", "id"),
)

# Rows of journal and journal_lines are immutable: triggers of the migrations refuse to change or delete them.

journal_lines = Table(
    "journal_lines",
    metadata,
    Column("entry_id", BigInteger, ForeignKey("journal.id"), primary_key=True),
    Column("line", Integer, primary_key=True),
    Column("account", String(120), nullable=False),
    Column("currency", String(3), nullable=False, server_default="CNY"),
    int_("amount"),  # micro-yuan; debit above zero, credit below
    CheckConstraint("amount <> 0", name="a_line_moves_money"),
    Index("lines_by_account", "account"),
)

balances = Table(  # of customers' accounts only: house accounts would be hot rows
    "balances",
    metadata,
    Column("org_id", BigInteger, ForeignKey("orgs.id"), primary_key=True),
    Column("account", String(32), primary_key=True),  # prepaid | held
    Column("currency", String(3), primary_key=True, server_default="CNY"),
    int_("amount"),  # what the customer has: above zero is the customer's
)
