"""Unix accounts at centres and whose they are when: no account is two customers' at one time."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_OVERLAP = "the account is bound to a customer in that time"


def _int(name: str, *, null: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), server_default=None if null else "0", nullable=null)


def _text(name: str, default: str = "") -> sa.Column[str]:
    return sa.Column(name, sa.Text(), server_default=default, nullable=False)


def _id() -> sa.Column[int]:
    key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    return sa.Column("id", key, autoincrement=False, nullable=False)


def upgrade() -> None:
    op.create_table(
        "site_accounts",
        _id(),
        sa.Column("cluster", sa.String(64), nullable=False),
        sa.Column("unix_user", sa.String(32), nullable=False),
        _int("uid"),
        _text("identity"),
        sa.Column("root", sa.String(200), nullable=False),
        _text("native_account"),
        _text("qos"),
        _text("kind", "pool"),
        sa.Column("dirty", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        _int("created_at"),
        _int("retired_at", null=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("cluster", "unix_user"),
    )
    op.create_table(
        "bindings",
        _id(),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("org_id", sa.BigInteger(), nullable=False),
        _int("project_id", null=True),
        _int("valid_from"),
        _int("valid_until", null=True),
        _text("bound_by"),
        _text("released_by"),
        sa.CheckConstraint("valid_until IS NULL OR valid_until > valid_from", name="a_binding_lasts"),
        sa.ForeignKeyConstraint(["account_id"], ["site_accounts.id"]),
        sa.ForeignKeyConstraint(["org_id"], ["orgs.id"]),
        sa.ForeignKeyConstraint(["org_id", "project_id"], ["projects.org_id", "projects.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("bindings_of_account", "bindings", ["account_id", "valid_from"])
    op.create_index("bindings_of_org", "bindings", ["org_id", "account_id"])
    op.add_column("attempts", sa.Column("account_id", sa.BigInteger(), nullable=True))
    where = sa.text("account_id IS NOT NULL")
    op.create_index("attempts_of_account", "attempts", ["account_id"], sqlite_where=where, postgresql_where=where)
    if op.get_bind().dialect.name == "sqlite":
        for action in ("INSERT", "UPDATE"):
            op.execute(
                f"CREATE TRIGGER bindings_do_not_overlap_{action.lower()} BEFORE {action} ON bindings WHEN EXISTS ("
                "SELECT 1 FROM bindings b WHERE b.account_id = NEW.account_id AND b.id <> NEW.id "
                "AND b.valid_from < coalesce(NEW.valid_until, 9223372036854775807) "
                "AND NEW.valid_from < coalesce(b.valid_until, 9223372036854775807)) "
                f"BEGIN SELECT RAISE(ABORT, '{_OVERLAP}'); END"
            )
        return
    # ranges have GiST operators of their own; a plain column would need an extension
    op.execute(
        "ALTER TABLE bindings ADD CONSTRAINT bindings_do_not_overlap EXCLUDE USING gist "
        "(int8range(account_id, account_id, '[]') WITH &&, int8range(valid_from, valid_until) WITH &&)"
    )
