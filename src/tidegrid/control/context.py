"""What the loops share: effects, settings, and the two signals that wake them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from sqlalchemy import Connection

from tidegrid.control.acting import Guarded, Held, current
from tidegrid.domain.clock import SECOND, Clock
from tidegrid.domain.ids import Ids
from tidegrid.domain.lease import cluster_role
from tidegrid.scheduling.health import Limits
from tidegrid.scheduling.moving import Rules

if TYPE_CHECKING:
    from tidegrid.connectors.contract import Connector
    from tidegrid.store.engine import Store


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Settings:
    """Times in seconds.

    tick: between two looks at a cluster; call: limit of one call to a cluster; silent_after: without an answer, a cluster
    is silent and its movable jobs are placed elsewhere; permit_wait: how long a prologue waits for its permit; restart_wait: the same
    where the job may start on the site's lease, and is stopped without it; lease: life of the site's lease; skew: allowance for the site's
    clock; resubmit: pause before a part without a candidate is looked at again; health: when a place is drained for its failures,
    and comes back; moving: when a job that waits is placed again; server_lease: how long a server that says nothing keeps its
    clusters before another takes them over; checkpoint_least: two copies of a job's checkpoint are at least so far apart, whatever
    its document says; checkpoint_limit: bytes, what is larger stays at its site;
    checkpoint_last: how long a moving job waits for the last checkpoint of its broken run;
    orphan: how long a job that had started must be missing from complete answers of a controller that knows all its nodes before it
    counts as ended; keep_calls: how long what placement was asked is kept to be decided again, with the picture it saw;
    keep_idle_calls: the same where nothing came of it; cache_bytes, cache_days: what an organisation's cache at a site holds at most,
    and for how long after it was last wanted; upload_days: how long an upload that nobody goes on with is kept;
    outlived: how long a cluster may hold an allocation whose application said that it ended,
    or of which no prologue was heard.
    """

    tick: float = 0.25
    call: float = 10.0
    silent_after: float = 15.0
    permit_wait: int = 120
    restart_wait: int = 15
    lease: int = 15
    kill_grace: int = 5
    skew: int = 5
    resubmit: float = 2.0
    orphan: float = 45.0
    outlived: float = 60.0
    max_refusals: int = 4
    submissions_at_once: int = 4
    place_at_once: int = 500
    transfers_at_once: int = 4
    health: Limits = field(default_factory=Limits)
    moving: Rules = field(default_factory=Rules)
    server_lease: float = 15.0
    checkpoint_least: float = 10.0
    checkpoint_limit: int = 64 << 30
    checkpoint_last: float = 60.0
    keep_calls: float = 30 * 86_400.0
    keep_idle_calls: float = 86_400.0
    cache_bytes: int = 500 << 30
    cache_days: float = 30.0
    upload_days: float = 7.0


@dataclass
class Context:
    """home: the data directory; connectors: by cluster name; held: this server's leases, by role."""

    store: Store
    clock: Clock
    ids: Ids
    home: Path
    settings: Settings
    connectors: dict[str, Connector] = field(default_factory=dict)
    held: dict[str, Held] = field(default_factory=dict)
    events: dict[str, asyncio.Event] = field(default_factory=dict)
    locks: dict[str, asyncio.Lock] = field(default_factory=dict)
    _writing: threading.local = field(default_factory=threading.local)
    sending: set[int] = field(default_factory=set)  # attempts whose submission this process has under way
    checking: set[str] = field(default_factory=set)  # clusters that an operator has checked right now
    said: set[tuple[int, str]] = field(default_factory=set)  # anomalies already recorded by this process

    def lock(self, name: str) -> asyncio.Lock:
        """Of this process, for what must not be done twice at a time."""
        return self.locks.setdefault(name, asyncio.Lock())

    def event(self, name: str) -> asyncio.Event:
        """What a loop waits on: `submit`, `fetch`, or a cluster's name."""
        return self.events.setdefault(name, asyncio.Event())

    def wake(self, name: str) -> None:
        """Wake a loop. Said inside a transaction, it is done after the commit: the loop must see what it is woken for."""
        collected: set[str] | None = getattr(self._writing, "wakes", None)
        if collected is None:
            self.event(name).set()
        else:
            collected.add(name)

    def before_commit(self, conn: Connection, work: Callable[[Connection, Context, list[Any]], None], item: Any) -> None:
        """Collect `item`; at the end of the transaction `work` is called once with all that were collected for it."""
        collected: dict[Any, list[Any]] | None = getattr(self._writing, "last", None)
        if collected is None:
            work(conn, self, [item])
        else:
            collected.setdefault(work, []).append(item)

    @property
    def token(self) -> int:
        """The fencing token under which the running task acts; 0: in no role."""
        held = current()
        return held.token if held is not None else 0

    def connector(self, cluster: str) -> Connector | None:
        """The cluster's connector, to be used only while the running task's lease runs."""
        found, held = self.connectors.get(cluster), current()
        if found is None or held is None:
            return found
        return cast("Connector", Guarded(found, held))

    def ours(self, conn: Connection, clusters: Iterable[str]) -> list[str]:
        """Those of the clusters that this server holds; they stay its own until the transaction ends."""
        held = {name: self.held.get(cluster_role(name)) for name in clusters}
        return [name for name, lease in held.items() if lease is not None and lease.still(conn)]

    async def write(self, fn: Callable[[Connection], T]) -> T:
        """`store.write`, then the wakes that `fn` asked for. Conflict (lease.lost) where the task acts in a role that is
        another server's by now: then nothing is written."""
        wakes: set[str] = set()
        held = current()

        def run(conn: Connection) -> T:
            wakes.clear()  # the store may run it again
            if held is not None:
                held.check(conn)
            self._writing.wakes = wakes
            last: dict[Any, list[Any]] = {}
            self._writing.last = last
            try:
                found = fn(conn)
                self._writing.last = None
                for work, items in last.items():
                    work(conn, self, items)
                return found
            finally:
                self._writing.wakes = self._writing.last = None

        result = await self.store.write(run)
        for name in wakes:
            self.event(name).set()
        return result

    def now(self) -> int:
        return self.clock.now()

    def micro(self, seconds: float) -> int:
        return int(seconds * SECOND)
