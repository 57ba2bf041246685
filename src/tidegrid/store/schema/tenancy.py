"""Who there is: organisations, their people and tokens, and the accounts at centres that are theirs for a time."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    String,
    Table,
    UniqueConstraint,
)

from tidegrid.store.schema.columns import bool_, id_, int_, metadata, org_, text_

orgs = Table("orgs", metadata, id_(), Column("name", String(64), nullable=False, unique=True), int_("created_at"))

projects = Table(
    "projects",
    metadata,
    id_(),
    org_(),
    Column("name", String(64), nullable=False),
    int_("created_at"),
    UniqueConstraint("org_id", "name"),
    UniqueConstraint("org_id", "id"),
)

users = Table(
    "users",
    metadata,
    id_(),
    org_(),
    Column("name", String(64), nullable=False),
    text_("role", "user"),  # user | project_admin | provider | operator | auditor
    int_("created_at"),
    UniqueConstraint("org_id", "name"),
    UniqueConstraint("org_id", "id"),
)

tokens = Table(
    "tokens",
    metadata,
    id_(),
    org_(),
    int_("user_id"),
    Column("hash", String(64), nullable=False, unique=True),  # SHA-256 of the secret
    text_("label"),
    text_("scopes"),  # space separated; empty: all of the user's role
    int_("created_at"),
    int_("expires_at", None),
    int_("revoked_at", None),
    ForeignKeyConstraint(["org_id", "user_id"], ["users.org_id", "users.id"]),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("org_id", BigInteger, ForeignKey("orgs.id"), primary_key=True),
    Column("key", String(200), primary_key=True),
    text_("body_hash"),
    int_("status"),
    text_("response"),
    int_("created_at"),
)

site_accounts = Table(  # Unix accounts at centres, besides the one that a cluster's connector logs in with
    "site_accounts",
    metadata,
    id_(),
    Column("cluster", String(64), nullable=False),
    Column("unix_user", String(32), nullable=False),
    int_("uid"),  # there
    text_("identity"),  # name of the secret that holds its key
    Column("root", String(200), nullable=False),
    text_("native_account"),
    text_("qos"),
    text_("kind", "pool"),  # pool | dedicated
    bool_("dirty"),  # something of a customer's may lie in its root
    int_("created_at"),
    int_("retired_at", None),
    UniqueConstraint("cluster", "unix_user"),
)

bindings = Table(  # whose a site account is, for a time; a constraint of the migrations lets no two of an account overlap
    "bindings",
    metadata,
    id_(),
    Column("account_id", BigInteger, ForeignKey("site_accounts.id"), nullable=False),
    org_(),
    int_("project_id", None),  # null: all of the organisation's
    int_("valid_from"),
    int_("valid_until", None),
    text_("bound_by"),
    text_("released_by"),
    ForeignKeyConstraint(["org_id", "project_id"], ["projects.org_id", "projects.id"]),
    CheckConstraint("valid_until IS NULL OR valid_until > valid_from", name="a_binding_lasts"),
    Index("bindings_of_account", "account_id", "valid_from"),
    Index("bindings_of_org", "org_id", "account_id"),
)
