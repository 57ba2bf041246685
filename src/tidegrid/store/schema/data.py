"""Content and where it lies: at home, on its way, and in caches at sites."""

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
)

from tidegrid.store.schema.columns import bool_, id_, int_, metadata, org_, text_

blobs = Table(  # uploaded and produced content, by hash, seen through an organisation
    "blobs",
    metadata,
    Column("org_id", BigInteger, ForeignKey("orgs.id"), primary_key=True),
    Column("sha256", String(64), primary_key=True),
    int_("size"),
    int_("created_at"),
    int_("project_id"),  # that it is counted to: the first that brought it; 0: none
)

uploads = Table(  # under way; what has arrived lies in the data directory, and its length is the offset
    "uploads",
    metadata,
    id_(),
    org_(),
    int_("user_id"),
    int_("project_id"),
    Column("sha256", String(64), nullable=False),  # of the whole
    int_("size"),
    int_("created_at"),
    Index("uploads_of_org", "org_id"),
)

datasets = Table(  # names for uploaded directories
    "datasets",
    metadata,
    id_(),
    org_(),
    Column("name", String(64), nullable=False),
    Column("sha256", String(64), nullable=False),  # of the list of its files
    int_("files"),
    int_("bytes"),
    text_("regions"),  # that it must not leave, one a line; empty: none
    int_("created_at"),
    UniqueConstraint("org_id", "name"),
    Index("datasets_by_content", "org_id", "sha256"),
)

quotas = Table(  # of an organisation (project 0), or of one of its projects
    "quotas",
    metadata,
    Column("org_id", BigInteger, ForeignKey("orgs.id"), primary_key=True),
    Column("project_id", BigInteger, primary_key=True, autoincrement=False, server_default="0"),
    int_("bytes", None),
    int_("files", None),
)

site_data = Table(  # what of an organisation's data lies whole in which cache at a site
    "site_data",
    metadata,
    Column("org_id", BigInteger, ForeignKey("orgs.id"), primary_key=True),
    Column("cluster", String(64), primary_key=True),
    Column("unix_user", String(32), primary_key=True),  # "": of the cluster's own root
    Column("sha256", String(64), primary_key=True),  # of a content, or of a directory's list
    bool_("tree"),
    int_("size"),
    int_("used_at"),
)

transfers = Table(
    "transfers",
    metadata,
    id_(),
    org_(),
    int_("job_id"),
    int_("attempt_id"),
    text_("direction"),  # in | out
    text_("cluster"),
    text_("site_path"),
    text_("path"),  # as the job or its user names it
    int_("size"),
    text_("sha256"),
    int_("offset"),
    text_("state", "pending"),  # pending | done | failed
    text_("error"),
    int_("created_at"),
    int_("ended_at", None),
    ForeignKeyConstraint(["org_id", "job_id"], ["jobs.org_id", "jobs.id"]),
    ForeignKeyConstraint(["org_id", "attempt_id"], ["attempts.org_id", "attempts.id"]),
    UniqueConstraint("attempt_id", "direction", "path"),
    Index("transfers_of_job", "job_id"),
)

checkpoints = Table(  # the newest whole one of each task, at home; its files below `home/checkpoints`
    "checkpoints",
    metadata,
    id_(),
    org_(),
    int_("job_id"),
    int_("attempt_id"),  # that wrote it
    Column("task", Integer, nullable=False),
    int_("taken_at"),
    int_("step", None),  # where the application tells it
    int_("size"),  # bytes of all files
    text_("files"),  # JSON: [{path, size, sha256}]
    ForeignKeyConstraint(["org_id", "job_id"], ["jobs.org_id", "jobs.id"]),
    ForeignKeyConstraint(["org_id", "attempt_id"], ["attempts.org_id", "attempts.id"]),
    UniqueConstraint("job_id", "task"),
)
