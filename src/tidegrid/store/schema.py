"""The tables. Times are int64 microseconds UTC, money int64 micro-yuan, JSON is text.

Every tenant row carries org_id, and tenant rows refer to each other with it, so that a row of one organisation cannot
point into another's.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData()
_Int = BigInteger().with_variant(Integer, "sqlite")
LIVE = text("state <> 'ENDED'")


def _id() -> Column[int]:
    return Column("id", _Int, primary_key=True, autoincrement=False)


def _int(name: str, default: int | None = 0, **kw: object) -> Column[int]:
    if default is None:
        return Column(name, BigInteger, nullable=True, **kw)  # type: ignore[arg-type]
    return Column(name, BigInteger, nullable=False, server_default=str(default), **kw)  # type: ignore[arg-type]


def _text(name: str, default: str | None = "") -> Column[str]:
    if default is None:
        return Column(name, Text, nullable=True)
    return Column(name, Text, nullable=False, server_default=default)


def _bool(name: str, default: bool = False) -> Column[bool]:
    return Column(name, Boolean, nullable=False, server_default=text("true" if default else "false"))


def _org() -> Column[int]:
    return Column("org_id", BigInteger, ForeignKey("orgs.id"), nullable=False)


# Tenancy ---------------------------------------------------------------------------------------------------------------

orgs = Table("orgs", metadata, _id(), Column("name", String(64), nullable=False, unique=True), _int("created_at"))

projects = Table(
    "projects",
    metadata,
    _id(),
    _org(),
    Column("name", String(64), nullable=False),
    _int("created_at"),
    UniqueConstraint("org_id", "name"),
    UniqueConstraint("org_id", "id"),
)

users = Table(
    "users",
    metadata,
    _id(),
    _org(),
    Column("name", String(64), nullable=False),
    _text("role", "user"),  # user | project_admin | provider | operator | auditor
    _int("created_at"),
    UniqueConstraint("org_id", "name"),
    UniqueConstraint("org_id", "id"),
)

tokens = Table(
    "tokens",
    metadata,
    _id(),
    _org(),
    _int("user_id"),
    Column("hash", String(64), nullable=False, unique=True),  # SHA-256 of the secret
    _text("label"),
    _text("scopes"),  # space separated; empty: all of the user's role
    _int("created_at"),
    _int("expires_at", None),
    _int("revoked_at", None),
    ForeignKeyConstraint(["org_id", "user_id"], ["users.org_id", "users.id"]),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("org_id", BigInteger, ForeignKey("orgs.id"), primary_key=True),
    Column("key", String(200), primary_key=True),
    _text("body_hash"),
    _int("status"),
    _text("response"),
    _int("created_at"),
)

# Network, catalog --------------------------------------------------------------------------------------------------------

networks = Table(
    "networks",
    metadata,
    Column("hash", String(64), primary_key=True),
    _text("body"),  # canonical JSON of the network document
    _text("source"),  # as applied
    _int("applied_at"),
    _bool("current"),
)

clusters = Table(  # what is known of a cluster in operation; what it is stands in the network document
    "clusters",
    metadata,
    Column("name", String(64), primary_key=True),
    _text("cursor"),  # accounting position
    _text("boot"),
    _text("health", "unknown"),  # unknown | up | silent
    _bool("drained"),
    _int("dead_at", None),
    _int("last_answer_at", None),
    _int("silent_since", None),
    _int("skew_us"),
    _int("lease_seq"),
    _int("lease_expires_at"),  # on the site's clock; committed before it is written
    _text("loads"),  # JSON: last NodeLoad list, each with when it was asked for
    _int("loads_at", None),
    _text("steering"),  # JSON: whether and how its queue is put into order
)

leases = Table(  # who does what, see domain.lease; rows are never deleted, for a token must not start again
    "leases",
    metadata,
    Column("role", String(100), primary_key=True),
    _text("holder"),  # servers.name; empty: nobody
    _int("token"),
    _int("expires_at"),  # on the database's clock, as all times of leases and servers
    _int("since"),  # when its holder last changed
    _text("place"),  # where a holder must be: the data directory, and the machine of an embedded cluster; empty: anywhere
)

servers = Table(
    "servers",
    metadata,
    Column("name", String(100), primary_key=True),
    _text("url"),
    _text("host"),
    _int("pid"),
    _text("version"),
    _text("able"),  # roles it could take, space separated
    _int("started_at"),
    _int("seen_at"),
    _int("expires_at"),
)

health = Table(  # how a place is doing; partition "": the cluster as a whole
    "health",
    metadata,
    Column("cluster", String(64), primary_key=True),
    Column("partition", String(64), primary_key=True, server_default=""),
    _text("condition", "ok"),  # of scheduling.health.Condition, what follows from signs
    _text("body", "{}"),  # JSON of scheduling.health.Standing
    _int("updated_at"),
)

incidents = Table(  # from the first trouble of a place to its end; one open at a time
    "incidents",
    metadata,
    _id(),
    _text("cluster"),
    _text("partition"),
    _text("cause"),  # submit | run | contact | silent | dead
    _text("condition"),  # the worst it came to
    _int("opened_at"),
    _int("changed_at"),
    _int("closed_at", None),
    _int("moved"),  # jobs placed anew for it
    _int("lost"),  # attempts that ended `lost` for it
    _text("evidence", "{}"),  # JSON: how often each sign was seen
    _text("steps", "[]"),  # JSON: [{at, what}], at most 100
    Index("incidents_of_cluster", "cluster", "id"),
    Index("open_incident", "cluster", "partition", unique=True, sqlite_where=text("closed_at IS NULL"),
          postgresql_where=text("closed_at IS NULL")),
)  # fmt: skip

apps = Table(
    "apps",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("version", String(64), primary_key=True),  # content hash
    _text("body"),  # canonical JSON of the document
    _int("created_at"),
    _bool("current"),
)

blobs = Table(  # uploaded and produced content, by hash, seen through an organisation
    "blobs",
    metadata,
    Column("org_id", BigInteger, ForeignKey("orgs.id"), primary_key=True),
    Column("sha256", String(64), primary_key=True),
    _int("size"),
    _int("created_at"),
    _int("project_id"),  # that it is counted to: the first that brought it; 0: none
)

uploads = Table(  # under way; what has arrived lies in the data directory, and its length is the offset
    "uploads",
    metadata,
    _id(),
    _org(),
    _int("user_id"),
    _int("project_id"),
    Column("sha256", String(64), nullable=False),  # of the whole
    _int("size"),
    _int("created_at"),
    Index("uploads_of_org", "org_id"),
)

datasets = Table(  # names for uploaded directories
    "datasets",
    metadata,
    _id(),
    _org(),
    Column("name", String(64), nullable=False),
    Column("sha256", String(64), nullable=False),  # of the list of its files
    _int("files"),
    _int("bytes"),
    _text("regions"),  # that it must not leave, one a line; empty: none
    _int("created_at"),
    UniqueConstraint("org_id", "name"),
    Index("datasets_by_content", "org_id", "sha256"),
)

quotas = Table(  # of an organisation (project 0), or of one of its projects
    "quotas",
    metadata,
    Column("org_id", BigInteger, ForeignKey("orgs.id"), primary_key=True),
    Column("project_id", BigInteger, primary_key=True, autoincrement=False, server_default="0"),
    _int("bytes", None),
    _int("files", None),
)

site_data = Table(  # what of an organisation's data lies whole in which cache at a site
    "site_data",
    metadata,
    Column("org_id", BigInteger, ForeignKey("orgs.id"), primary_key=True),
    Column("cluster", String(64), primary_key=True),
    Column("unix_user", String(32), primary_key=True),  # "": of the cluster's own root
    Column("sha256", String(64), primary_key=True),  # of a content, or of a directory's list
    _bool("tree"),
    _int("size"),
    _int("used_at"),
)

site_accounts = Table(  # Unix accounts at centres, besides the one that a cluster's connector logs in with
    "site_accounts",
    metadata,
    _id(),
    Column("cluster", String(64), nullable=False),
    Column("unix_user", String(32), nullable=False),
    _int("uid"),  # there
    _text("identity"),  # name of the secret that holds its key
    Column("root", String(200), nullable=False),
    _text("native_account"),
    _text("qos"),
    _text("kind", "pool"),  # pool | dedicated
    _bool("dirty"),  # something of a customer's may lie in its root
    _int("created_at"),
    _int("retired_at", None),
    UniqueConstraint("cluster", "unix_user"),
)

bindings = Table(  # whose a site account is, for a time; a constraint of the migrations lets no two of an account overlap
    "bindings",
    metadata,
    _id(),
    Column("account_id", BigInteger, ForeignKey("site_accounts.id"), nullable=False),
    _org(),
    _int("project_id", None),  # null: all of the organisation's
    _int("valid_from"),
    _int("valid_until", None),
    _text("bound_by"),
    _text("released_by"),
    ForeignKeyConstraint(["org_id", "project_id"], ["projects.org_id", "projects.id"]),
    CheckConstraint("valid_until IS NULL OR valid_until > valid_from", name="a_binding_lasts"),
    Index("bindings_of_account", "account_id", "valid_from"),
    Index("bindings_of_org", "org_id", "account_id"),
)

# Jobs --------------------------------------------------------------------------------------------------------------------

jobs = Table(
    "jobs",
    metadata,
    _id(),
    _org(),
    _int("project_id"),
    _int("user_id"),
    _text("name"),
    _text("app"),
    _text("app_version"),
    _text("spec"),  # JSON of domain.job.JobSpec
    _text("state", "pending"),  # projection of domain.job.derive
    _text("reason"),  # why pending, or how it ended, for people
    _bool("held"),
    _bool("cancel_wanted"),
    _int("tasks", 1),
    _int("reserved"),  # micro-yuan kept free for parts not yet placed
    _int("moved"),  # attempts withdrawn and placed anew
    _int("created_at"),
    _int("started_at", None),
    _int("ended_at", None),
    _bool("open", True),  # false once the state is final: what the loops look at
    ForeignKeyConstraint(["org_id", "project_id"], ["projects.org_id", "projects.id"]),
    ForeignKeyConstraint(["org_id", "user_id"], ["users.org_id", "users.id"]),
    UniqueConstraint("org_id", "id"),
    Index("jobs_by_org", "org_id", "id"),
    Index("jobs_by_org_state", "org_id", "state", "id"),
    Index("jobs_by_state", "state", "id"),
    Index("jobs_by_project", "org_id", "project_id", "id"),
    Index("jobs_open", "id", sqlite_where=text("open"), postgresql_where=text("open")),
    Index(
        "jobs_reserving",
        "org_id",
        "reserved",
        sqlite_where=text("open AND reserved <> 0"),
        postgresql_where=text("open AND reserved <> 0"),
    ),
)

job_deps = Table(
    "job_deps",
    metadata,
    _org(),
    Column("job_id", BigInteger, primary_key=True),
    Column("on_job_id", BigInteger, primary_key=True),
    _text("kind", "ok"),  # ok | any
    ForeignKeyConstraint(["org_id", "job_id"], ["jobs.org_id", "jobs.id"]),
    ForeignKeyConstraint(["org_id", "on_job_id"], ["jobs.org_id", "jobs.id"]),
    Index("deps_on", "on_job_id"),
)

parts = Table(
    "parts",
    metadata,
    _id(),
    _org(),
    _int("job_id"),
    _text("tasks", "0"),
    _bool("done"),
    _text("reason"),  # of the attempt that settled it
    _int("refusals"),
    _text("excluded"),  # clusters that refused it, space separated
    _int("not_before"),
    _int("reserved"),  # micro-yuan kept free for this part while it has no live attempt
    _bool("placed"),  # has a live attempt: kept with the attempt, in its transaction
    ForeignKeyConstraint(["org_id", "job_id"], ["jobs.org_id", "jobs.id"]),
    UniqueConstraint("org_id", "id"),
    Index("parts_of_job", "job_id"),
    Index("parts_to_place", "id", sqlite_where=text("NOT done AND NOT placed"),
          postgresql_where=text("NOT done AND NOT placed")),
)  # fmt: skip

attempts = Table(
    "attempts",
    metadata,
    _id(),
    _org(),
    _int("job_id"),
    _int("part_id"),
    _text("cluster"),
    _text("partition"),
    _text("tasks", "0"),
    _text("state", "SUBMITTING"),
    _text("reason", None),
    _text("native_id"),
    _text("detail"),
    _text("directory"),
    _int("account_id", None),  # of site_accounts; null: the cluster's shared account
    _bool("movable"),
    _bool("restartable"),
    _int("absent"),
    _int("sender"),  # token of the cluster's lease under which it is sent; 0: nobody has begun
    _int("cancel_sent_at", None),
    _int("created_at"),
    _int("queued_at", None),
    _int("started_at", None),
    _int("ended_at", None),
    _int("last_life_at", None),  # last evidence of life, site's clock
    _int("hold"),  # micro-yuan held for it
    _int("cores"),
    _int("memory_mib"),
    _int("gpus"),
    _int("wall_s"),
    _text("rates"),  # JSON: sell and cost prices pinned at placement
    _int("decision_id", None),
    _bool("fetched"),  # outputs are home, or there are none to fetch
    _bool("settled"),  # usage of every execution journalled and the hold released
    ForeignKeyConstraint(["org_id", "job_id"], ["jobs.org_id", "jobs.id"]),
    ForeignKeyConstraint(["org_id", "part_id"], ["parts.org_id", "parts.id"]),
    UniqueConstraint("org_id", "id"),
    Index("one_live_attempt", "part_id", unique=True, sqlite_where=LIVE, postgresql_where=LIVE),
    Index("live_by_cluster", "cluster", sqlite_where=LIVE, postgresql_where=LIVE),
    Index("attempts_of_job", "job_id"),
    Index("attempts_of_account", "account_id", sqlite_where=text("account_id IS NOT NULL"),
          postgresql_where=text("account_id IS NOT NULL")),
    Index("unsettled", "id", sqlite_where=text("NOT settled"), postgresql_where=text("NOT settled")),
)

executions = Table(
    "executions",
    metadata,
    _org(),
    Column("attempt_id", BigInteger, primary_key=True),
    Column("task", Integer, primary_key=True),
    Column("restart", Integer, primary_key=True),
    _text("nonce"),
    _text("native_id"),
    _int("started_at", None),
    _int("ended_at", None),
    _text("reason", None),
    _int("exit_code", None),
    _text("source", "spool"),
    _bool("permitted"),
    _bool("gave_up"),
    _bool("marked"),
    _int("app_exit", None),
    _int("peak_mib", None),
    _int("metered_to", None),  # site's clock: usage up to here is journalled
    ForeignKeyConstraint(["org_id", "attempt_id"], ["attempts.org_id", "attempts.id"]),
)

decisions = Table(
    "decisions",
    metadata,
    _id(),
    _org(),
    _int("job_id"),
    _int("part_id"),
    _int("at"),
    _text("chosen"),
    _text("body"),  # JSON: best candidates with their terms, counted refusals
    _text("snapshot"),  # revision
    _text("policy"),  # hash
    _int("batch", None),  # the call of placement that it was part of
    ForeignKeyConstraint(["org_id", "job_id"], ["jobs.org_id", "jobs.id"]),
    Index("decisions_of_job", "job_id"),
)

decision_batches = Table(  # calls of placement, from which its decisions are made again; of no organisation
    "decision_batches",
    metadata,
    _id(),
    _int("at"),
    _text("why"),  # place, here, elsewhere
    _text("snapshot"),  # revision
    _text("policy"),  # hash
    _int("requests"),  # how many
    _int("acted"),  # how many of them led to something
    Column("asked", LargeBinary, nullable=False),
    _text("answer"),  # SHA-256
    Index("decision_batches_by_time", "at"),
)

snapshots = Table(
    "snapshots",
    metadata,
    Column("revision", String(64), primary_key=True),
    _int("at"),
    Column("body", LargeBinary, nullable=False),
)

events = Table(  # append-only; seq orders it
    "events",
    metadata,
    Column("seq", _Int, Identity(), primary_key=True, autoincrement=True),
    Column("org_id", BigInteger, ForeignKey("orgs.id"), nullable=True),  # null: of the operator
    _int("at"),
    Column("kind", String(64), nullable=False),
    _int("job_id", None),
    _int("attempt_id", None),
    _text("cluster"),
    _text("body", "{}"),
    Index("events_by_org", "org_id", "seq"),
    Index("events_by_job", "job_id", "seq"),
    Index("events_by_kind", "kind", "seq"),
    sqlite_autoincrement=True,
)

cursors = Table(
    "cursors", metadata, Column("consumer", String(64), primary_key=True), _int("position"), _int("updated_at")
)

transfers = Table(
    "transfers",
    metadata,
    _id(),
    _org(),
    _int("job_id"),
    _int("attempt_id"),
    _text("direction"),  # in | out
    _text("cluster"),
    _text("site_path"),
    _text("path"),  # as the job or its user names it
    _int("size"),
    _text("sha256"),
    _int("offset"),
    _text("state", "pending"),  # pending | done | failed
    _text("error"),
    _int("created_at"),
    _int("ended_at", None),
    ForeignKeyConstraint(["org_id", "job_id"], ["jobs.org_id", "jobs.id"]),
    ForeignKeyConstraint(["org_id", "attempt_id"], ["attempts.org_id", "attempts.id"]),
    UniqueConstraint("attempt_id", "direction", "path"),
    Index("transfers_of_job", "job_id"),
)

checkpoints = Table(  # the newest whole one of each task, at home; its files below `home/checkpoints`
    "checkpoints",
    metadata,
    _id(),
    _org(),
    _int("job_id"),
    _int("attempt_id"),  # that wrote it
    Column("task", Integer, nullable=False),
    _int("taken_at"),
    _int("step", None),  # where the application tells it
    _int("size"),  # bytes of all files
    _text("files"),  # JSON: [{path, size, sha256}]
    ForeignKeyConstraint(["org_id", "job_id"], ["jobs.org_id", "jobs.id"]),
    ForeignKeyConstraint(["org_id", "attempt_id"], ["attempts.org_id", "attempts.id"]),
    UniqueConstraint("job_id", "task"),
)

runs = Table(  # runs that ended well, by a witness that no customer can write: what run times are predicted from
    "runs",
    metadata,
    _org(),
    Column("attempt_id", BigInteger, primary_key=True),
    Column("task", Integer, primary_key=True),
    Column("restart", Integer, primary_key=True),
    _int("job_id"),
    _text("app"),
    _text("place"),  # cluster/partition
    _int("recorded_at"),
    _int("run_ms"),
    _int("wall_s"),
    _int("peak_mib", None),
    _text("traits", "{}"),  # JSON of scheduling.traits.Traits
    _text("traits_hash"),
    _int("speed_ppm", 1_000_000),  # of the place, as told for the prediction
    _int("estimate_ms", None),  # the document's, at speed 1
    _text("source"),  # of the prediction: history | document | wall time; empty: none was made
    _int("said_p50_ms", None),
    _int("said_p90_ms", None),
    _int("said_peak_mib", None),  # p90
    ForeignKeyConstraint(["org_id", "job_id"], ["jobs.org_id", "jobs.id"]),
    ForeignKeyConstraint(["org_id", "attempt_id"], ["attempts.org_id", "attempts.id"]),
    Index("runs_of_app", "app", "recorded_at"),
    Index("runs_of_org", "org_id", "app", "recorded_at"),
)

# Money -------------------------------------------------------------------------------------------------------------------

usage = Table(
    "usage",
    metadata,
    _org(),
    Column("attempt_id", BigInteger, primary_key=True),
    Column("task", Integer, primary_key=True),
    Column("restart", Integer, primary_key=True),
    Column("segment", Integer, primary_key=True),
    Column("revision", Integer, primary_key=True),
    _int("job_id"),
    _text("cluster"),
    _text("partition"),
    _text("source"),  # domain.attempt.Witness
    _text("native_id"),
    _bool("estimated"),
    _int("started_at"),
    _int("ended_at"),
    _int("elapsed_ms"),
    _int("cores"),
    _int("gpus"),
    _int("memory_mib"),
    _int("sell"),  # micro-yuan
    _int("cost"),  # micro-yuan, operator's
    _bool("reversed"),
    _int("recorded_at"),
    ForeignKeyConstraint(["org_id", "attempt_id"], ["attempts.org_id", "attempts.id"]),
    Index("usage_of_job", "job_id"),
    Index("usage_by_org", "org_id", "recorded_at"),
)

holds = Table(
    "holds",
    metadata,
    Column("attempt_id", BigInteger, primary_key=True, autoincrement=False),
    _org(),
    _int("amount"),
    _int("captured"),
    _text("state", "pending"),  # pending | closed | void
    _int("created_at"),
    _int("closed_at", None),
    ForeignKeyConstraint(["org_id", "attempt_id"], ["attempts.org_id", "attempts.id"]),
)

journal = Table(  # one row an entry; its lines sum to zero
    "journal",
    metadata,
    _id(),
    _int("org_id", None),
    Column("key", String(120), nullable=False, unique=True),  # idempotency
    _text("kind"),  # deposit | hold | capture | release | cost | reversal | adjustment
    _int("at"),
    _int("attempt_id", None),
    _int("reverses", None),
    _text("memo"),
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
    _int("amount"),  # micro-yuan; debit above zero, credit below
    CheckConstraint("amount <> 0", name="a_line_moves_money"),
    Index("lines_by_account", "account"),
)

balances = Table(  # of customers' accounts only: house accounts would be hot rows
    "balances",
    metadata,
    Column("org_id", BigInteger, ForeignKey("orgs.id"), primary_key=True),
    Column("account", String(32), primary_key=True),  # prepaid | held
    Column("currency", String(3), primary_key=True, server_default="CNY"),
    _int("amount"),  # what the customer has: above zero is the customer's
)

from tidegrid.store import schema_software as _software  # noqa: E402, F401  # its tables belong to this metadata
