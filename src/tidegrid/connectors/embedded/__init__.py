"""The embedded cluster: one supervisor process, one shim process a running task, one journal.

`supervisor` serves a 0600 socket, queues with `scheduling.queue`, and keeps every fact in `journal`; `shim` runs one task, outlives
the supervisor and is the witness of the task's times; `connector` is the cluster seen from the server; `launch` starts and stops
supervisors. The supervisor trusts nothing but its journal and what shims left on disk, so it may be killed at any moment.
"""
