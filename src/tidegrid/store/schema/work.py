"""Jobs, the parts of them that are placed, and the attempts and executions of these."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKeyConstraint, Index, Integer, Table, UniqueConstraint, text

from tidegrid.store.schema.columns import bool_, id_, int_, metadata, org_, text_

jobs = Table(
    "jobs",
    metadata,
    id_(),
    org_(),
    int_("project_id"),
    int_("user_id"),
    text_("name"),
    text_("app"),
    text_("app_version"),
    text_("spec"),  # JSON of domain.job.JobSpec
    text_("state", "pending"),  # projection of domain.job.derive
    text_("reason"),  # why pending, or how it ended, for people
    bool_("held"),
    bool_("cancel_wanted"),
    int_("tasks", 1),
    int_("reserved"),  # micro-yuan kept free for parts not yet placed
    int_("moved"),  # attempts withdrawn and placed anew
    int_("created_at"),
    int_("started_at", None),
    int_("ended_at", None),
    bool_("open", True),  # false once the state is final: what the loops look at
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
    org_(),
    Column("job_id", BigInteger, primary_key=True),
    Column("on_job_id", BigInteger, primary_key=True),
    text_("kind", "ok"),  # ok | any
    ForeignKeyConstraint(["org_id", "job_id"], ["jobs.org_id", "jobs.id"]),
    ForeignKeyConstraint(["org_id", "on_job_id"], ["jobs.org_id", "jobs.id"]),
    Index("deps_on", "on_job_id"),
)

parts = Table(
    "parts",
    metadata,
    id_(),
    org_(),
    int_("job_id"),
    text_("tasks", "0"),
    bool_("done"),
    text_("reason"),  # of the attempt that settled it
    int_("refusals"),
    text_("excluded"),  # clusters that refused it, space separated
    int_("not_before"),
    int_("reserved"),  # micro-yuan kept free for this part while it has no live attempt
    bool_("placed"),  # has a live attempt: kept with the attempt, in its transaction
    ForeignKeyConstraint(["org_id", "job_id"], ["jobs.org_id", "jobs.id"]),
    UniqueConstraint("org_id", "id"),
    Index("parts_of_job", "job_id"),
    Index("parts_to_place", "id", sqlite_where=text("NOT done AND NOT placed"),
          postgresql_where=text("NOT done AND NOT placed")),
)  # fmt: skip

LIVE = text("state <> 'ENDED'")

attempts = Table(
    "attempts",
    metadata,
    id_(),
    org_(),
    int_("job_id"),
    int_("part_id"),
    text_("cluster"),
    text_("partition"),
    text_("tasks", "0"),
    text_("state", "SUBMITTING"),
    text_("reason", None),
    text_("native_id"),
    text_("detail"),
    text_("directory"),
    int_("account_id", None),  # of site_accounts; null: the cluster's shared account
    bool_("movable"),
    bool_("restartable"),
    int_("absent"),
    int_("sender"),  # token of the cluster's lease under which it is sent; 0: nobody has begun
    int_("cancel_sent_at", None),
    int_("created_at"),
    int_("queued_at", None),
    int_("started_at", None),
    int_("ended_at", None),
    int_("last_life_at", None),  # last evidence of life, site's clock
    int_("hold"),  # micro-yuan held for it
    int_("cores"),
    int_("memory_mib"),
    int_("gpus"),
    int_("wall_s"),
    text_("rates"),  # JSON: sell and cost prices pinned at placement
    int_("decision_id", None),
    bool_("fetched"),  # outputs are home, or there are none to fetch
    bool_("settled"),  # usage of every execution journalled and the hold released
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
    org_(),
    Column("attempt_id", BigInteger, primary_key=True),
    Column("task", Integer, primary_key=True),
    Column("restart", Integer, primary_key=True),
    text_("nonce"),
    text_("native_id"),
    int_("started_at", None),
    int_("ended_at", None),
    text_("reason", None),
    int_("exit_code", None),
    text_("source", "spool"),
    bool_("permitted"),
    bool_("gave_up"),
    bool_("marked"),
    int_("app_exit", None),
    int_("peak_mib", None),
    int_("metered_to", None),  # site's clock: usage up to here is journalled
    ForeignKeyConstraint(["org_id", "attempt_id"], ["attempts.org_id", "attempts.id"]),
)
