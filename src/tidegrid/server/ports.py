"""What the server needs of the platform below it; `control.platform.Platform` is the real one.

Ids travel as shown texts (`job-…`), times inside views as ISO 8601 texts in UTC. Every method raises domain errors only.
A row of another organisation is NotFound: its existence is not told.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from tidegrid.domain.actor import Actor

View = dict[str, Any]


class Platform(Protocol):
    """One network's operations, on behalf of an actor. `store`: store.engine.Store; `ids`: domain.ids.Ids."""

    store: Any
    ids: Any
    home: Path

    def now(self) -> int:
        """Microseconds UTC."""
        ...

    async def submit(self, actor: Actor, body: View, key: str | None) -> View: ...

    async def submit_many(self, actor: Actor, bodies: list[View], key: str | None) -> list[View]:
        """One transaction: all or none."""
        ...

    async def offers(self, actor: Actor, body: View) -> View: ...

    async def explain(self, actor: Actor, job_id: str) -> View: ...

    async def cancel(self, actor: Actor, job_id: str) -> View: ...

    async def hold(self, actor: Actor, job_id: str) -> View: ...

    async def release(self, actor: Actor, job_id: str) -> View: ...

    async def job(self, actor: Actor, job_id: str) -> View: ...

    async def jobs(
        self, actor: Actor, *, state: str | None = None, project: str | None = None, limit: int = 50,
        after: str | None = None,
    ) -> tuple[list[View], str | None]:
        """Newest first; `after`: what the page before gave as next."""
        ...  # fmt: skip

    async def logs(self, actor: Actor, job_id: str, task: int, stream: str, offset: int, limit: int) -> bytes:
        """stream: out or err. Empty beyond the end."""
        ...

    async def outputs(self, actor: Actor, job_id: str) -> list[View]: ...

    def output_path(self, actor: Actor, job_id: str, path: str) -> Any:
        """A file below the job's results (Path, or an awaitable of one)."""
        ...

    async def upload(self, actor: Actor, chunks: AsyncIterator[bytes]) -> View: ...

    async def apps(self) -> Sequence[View]: ...

    async def app(self, id: str) -> View: ...

    async def network_apply(self, actor: Actor, text: str, dry_run: bool) -> View: ...

    async def network_show(self, actor: Actor) -> View: ...

    async def clusters(self, actor: Actor) -> list[View]: ...

    async def cluster_command(self, actor: Actor, name: str, command: str) -> View:
        """command: drain, resume or dead."""
        ...

    async def servers(self, actor: Actor) -> View:
        """items: servers with the roles they hold; free: roles that nobody holds."""
        ...

    async def steering(self, actor: Actor, name: str) -> View: ...

    async def steer(
        self, actor: Actor, name: str, *, mode: str, partitions: Sequence[str] = (), policy: str = "default", bound: int
    ) -> View:
        """mode: on or off; bound: of nice."""
        ...

    async def steering_preview(self, actor: Actor, name: str, *, partition: str, policy: str, bound: int) -> View:
        """partition: empty for the cluster's first."""
        ...

    async def replay(self, actor: Actor, *, since: int, limit: int) -> View:
        """since: µs; limit: calls of placement at most."""
        ...

    async def cluster_discover(self, actor: Actor, wanted: View) -> View:
        """wanted: `bodies.DiscoverBody` as JSON values."""
        ...

    async def cluster_check(
        self, actor: Actor, name: str, *, wait_s: float = 60.0, document: str = "", say: Any = None
    ) -> View:
        """say: called with each finding (which has `view()`) as it comes."""
        ...

    async def incidents(
        self, actor: Actor, *, cluster: str | None = None, open_only: bool = False, limit: int = 50,
        after: str | None = None,
    ) -> tuple[list[View], str | None]:
        """Newest first; `after`: what the page before gave as next."""
        ...  # fmt: skip

    async def incident(self, actor: Actor, incident_id: str) -> View: ...

    async def usage(
        self, actor: Actor, *, org: str | None = None, job_id: str | None = None, limit: int = 100,
        after: str | None = None, corrections: bool = False,
    ) -> tuple[list[View], str | None]:
        """Newest first; org: a name, None for all that the actor sees; corrections: what was reversed too."""
        ...  # fmt: skip

    async def usage_reconcile(
        self, actor: Actor, cluster: str, *, since: int | None = None, until: int | None = None, limit: int = 1000,
        correct: bool = False,
    ) -> View:
        """Metered against accounted. since, until: µs."""
        ...  # fmt: skip

    async def site_accounts(self, actor: Actor, *, cluster: str | None = None, retired: bool = False) -> list[View]: ...

    async def site_account_add(self, actor: Actor, body: View) -> View: ...

    async def site_account_bind(
        self, actor: Actor, account: str, org: str, project: str | None = None, until: int | None = None
    ) -> View:
        """until: µs."""
        ...

    async def site_account_release(self, actor: Actor, account: str) -> View: ...

    async def site_account_retire(self, actor: Actor, account: str) -> View: ...

    async def site_account_bindings(self, actor: Actor, account: str) -> list[View]: ...

    async def balance(self, actor: Actor, org: str) -> View: ...

    async def deposit(self, actor: Actor, org: str, amount: int, key: str) -> View:
        """amount: micro-yuan."""
        ...

    async def journal_check(self, actor: Actor) -> View: ...

    async def events(
        self, actor: Actor, after: int, kinds: Sequence[str] = (), job_id: str | None = None, limit: int = 500
    ) -> list[View]:
        """Events with seq > after, in order."""
        ...
