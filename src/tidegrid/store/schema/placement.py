"""Decisions of placement, what they were made from, and the runs that run times are predicted from."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKeyConstraint, Index, Integer, LargeBinary, String, Table

from tidegrid.store.schema.columns import id_, int_, metadata, org_, text_

decisions = Table(
    "decisions",
    metadata,
    id_(),
    org_(),
    int_("job_id"),
    int_("part_id"),
    int_("at"),
    text_("chosen"),
    text_("body"),  # JSON: best candidates with their terms, counted refusals
    text_("snapshot"),  # revision
    text_("policy"),  # hash
    int_("batch", None),  # the call of placement that it was part of
    ForeignKeyConstraint(["org_id", "job_id"], ["jobs.org_id", "jobs.id"]),
    Index("decisions_of_job", "job_id"),
)

decision_batches = Table(  # calls of placement, from which its decisions are made again; of no organisation
    "decision_batches",
    metadata,
    id_(),
    int_("at"),
    text_("why"),  # place, here, elsewhere
    text_("snapshot"),  # revision
    text_("policy"),  # hash
    int_("requests"),  # how many
    int_("acted"),  # how many of them led to something
    Column("asked", LargeBinary, nullable=False),
    text_("answer"),  # SHA-256
    Index("decision_batches_by_time", "at"),
)

snapshots = Table(
    "snapshots",
    metadata,
    Column("revision", String(64), primary_key=True),
    int_("at"),
    Column("body", LargeBinary, nullable=False),
)

runs = Table(  # runs that ended well, by a witness that no customer can write: what run times are predicted from
    "runs",
    metadata,
    org_(),
    Column("attempt_id", BigInteger, primary_key=True),
    Column("task", Integer, primary_key=True),
    Column("restart", Integer, primary_key=True),
    int_("job_id"),
    text_("app"),
    text_("place"),  # cluster/partition
    int_("recorded_at"),
    int_("run_ms"),
    int_("wall_s"),
    int_("peak_mib", None),
    text_("traits", "{}"),  # JSON of scheduling.traits.Traits
    text_("traits_hash"),
    int_("speed_ppm", 1_000_000),  # of the place, as told for the prediction
    int_("estimate_ms", None),  # the document's, at speed 1
    text_("source"),  # of the prediction: history | document | wall time; empty: none was made
    int_("said_p50_ms", None),
    int_("said_p90_ms", None),
    int_("said_peak_mib", None),  # p90
    ForeignKeyConstraint(["org_id", "job_id"], ["jobs.org_id", "jobs.id"]),
    ForeignKeyConstraint(["org_id", "attempt_id"], ["attempts.org_id", "attempts.id"]),
    Index("runs_of_app", "app", "recorded_at"),
    Index("runs_of_org", "org_id", "app", "recorded_at"),
)
