"""The loops: intake, picture, submit, reconcile, failover, staging, metering.

Every step is load -> decide -> commit -> act; no call to a cluster happens inside a transaction. `platform.Platform` is
what the server calls: a class of its own module for each capability.
"""
