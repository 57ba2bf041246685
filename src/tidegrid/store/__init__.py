"""What is kept: schema, migrations, engine, and one module an aggregate. The only room with SQL.

Functions take a connection (and a `Scope` on tenant rows) and return plain values; they open nothing and commit nothing.
`engine.Store` runs them: `write` in the one writer's transaction, `read` in a snapshot.
"""
