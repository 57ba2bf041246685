"""The network as applied, its clusters and how they are doing, and the servers that share them."""

from __future__ import annotations

from sqlalchemy import Column, Index, String, Table, text

from tidegrid.store.schema.columns import bool_, id_, int_, metadata, text_

networks = Table(
    "networks",
    metadata,
    Column("hash", String(64), primary_key=True),
    text_("body"),  # canonical JSON of the network document
    text_("source"),  # as applied
    int_("applied_at"),
    bool_("current"),
)

clusters = Table(  # what is known of a cluster in operation; what it is stands in the network document
    "clusters",
    metadata,
    Column("name", String(64), primary_key=True),
    text_("cursor"),  # accounting position
    text_("boot"),
    text_("health", "unknown"),  # unknown | up | silent
    bool_("drained"),
    int_("dead_at", None),
    int_("last_answer_at", None),
    int_("silent_since", None),
    int_("skew_us"),
    int_("lease_seq"),
    int_("lease_expires_at"),  # on the site's clock; committed before it is written
    text_("loads"),  # JSON: last NodeLoad list, each with when it was asked for
    int_("loads_at", None),
    text_("steering"),  # JSON: whether and how its queue is put into order
)

health = Table(  # how a place is doing; partition "": the cluster as a whole
    "health",
    metadata,
    Column("cluster", String(64), primary_key=True),
    Column("partition", String(64), primary_key=True, server_default=""),
    text_("condition", "ok"),  # of scheduling.health.Condition, what follows from signs
    text_("body", "{}"),  # JSON of scheduling.health.Standing
    int_("updated_at"),
)

incidents = Table(  # from the first trouble of a place to its end; one open at a time
    "incidents",
    metadata,
    id_(),
    text_("cluster"),
    text_("partition"),
    text_("cause"),  # submit | run | contact | silent | dead
    text_("condition"),  # the worst it came to
    int_("opened_at"),
    int_("changed_at"),
    int_("closed_at", None),
    int_("moved"),  # jobs placed anew for it
    int_("lost"),  # attempts that ended `lost` for it
    text_("evidence", "{}"),  # JSON: how often each sign was seen
    text_("steps", "[]"),  # JSON: [{at, what}], at most 100
    Index("incidents_of_cluster", "cluster", "id"),
    Index("open_incident", "cluster", "partition", unique=True, sqlite_where=text("closed_at IS NULL"),
          postgresql_where=text("closed_at IS NULL")),
)  # fmt: skip

leases = Table(  # who does what, see domain.lease; rows are never deleted, for a token must not start again
    "leases",
    metadata,
    Column("role", String(100), primary_key=True),
    text_("holder"),  # servers.name; empty: nobody
    int_("token"),
    int_("expires_at"),  # on the database's clock, as all times of leases and servers
    int_("since"),  # when its holder last changed
    text_("place"),  # where a holder must be: the data directory, and the machine of an embedded cluster; empty: anywhere
)

servers = Table(
    "servers",
    metadata,
    Column("name", String(100), primary_key=True),
    text_("url"),
    text_("host"),
    int_("pid"),
    text_("version"),
    text_("able"),  # roles it could take, space separated
    int_("started_at"),
    int_("seen_at"),
    int_("expires_at"),
)
