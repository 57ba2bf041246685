"""Acting in a role: whoever runs a loop says under which lease, and whatever is written or done there is checked against it.

    with acting(held):
        await ctx.write(…)        # changes nothing where the lease has another holder: Conflict (lease.lost)
        await ctx.connector(name).submit(…)   # only while the lease has time left on this machine's own clock

The check of a write is part of its transaction, and keeps the lease from changing hands before the commit. What leaves the
process cannot be part of one: a server that is stopped between look and deed does it late. Then the protocol holds, as with
a submission that arrives late (docs/decisions/0007).
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from tidegrid.domain.errors import Conflict
from tidegrid.store import leases


def boottime() -> float:
    """Seconds that also count while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(eq=False)
class Held:
    """A lease of this server. until: on `boottime`, with a margin before the lease's end."""

    role: str
    server: str
    token: int
    until: float = 0.0

    def check(self, conn: Connection) -> None:
        """Conflict (lease.lost) where another server has the role, or this one has taken it anew."""
        if not self.still(conn):
            raise self.gone()

    def still(self, conn: Connection) -> bool:
        """Whether it is this server's; then it stays so until the transaction ends."""
        return leases.still(conn, self.role, self.server, self.token)

    def require(self) -> None:
        """Before anything leaves the process. Conflict (lease.lost) where the lease is not sure to run."""
        if boottime() >= self.until:
            raise self.gone()

    def gone(self) -> Conflict:
        return Conflict(
            "lease.lost",
            f"{self.server} holds {self.role} with token {self.token} no more",
            hint="another server goes on with it: `tide server list`",
        )


_ACTING: ContextVar[Held | None] = ContextVar("acting", default=None)


def current() -> Held | None:
    """The lease under which the running task acts; None: it acts in no role (a request)."""
    return _ACTING.get()


@contextmanager
def acting(held: Held | None) -> Iterator[None]:
    """What runs inside, and the tasks it starts, act under this lease."""
    before = _ACTING.set(held)
    try:
        yield
    finally:
        _ACTING.reset(before)


class Guarded:
    """A connector, or its files, that is only spoken to while the lease is sure to run."""

    def __init__(self, inner: Any, held: Held) -> None:
        self._inner, self._held = inner, held

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name == "files":
            return Guarded(found, self._held)
        if not inspect.iscoroutinefunction(found):
            return found

        async def checked(*args: Any, **kw: Any) -> Any:
            self._held.require()
            return await found(*args, **kw)

        return checked
