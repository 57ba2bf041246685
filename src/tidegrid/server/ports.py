"""What the server needs of the platform below it; `control.platform.Platform` is the real one.

Ids travel as shown texts (`job-…`), times inside views as ISO 8601 texts in UTC. Every method raises domain errors only.
A row of another organisation is NotFound: its existence is not told.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
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

    async def accuracy(self, actor: Actor, app: str | None, last: int) -> list[View]:
        """app: None for all that have runs; last: how many runs of each are looked at."""
        ...

    async def batch_script(self, actor: Actor, asked: View) -> View: ...

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

    async def upload(self, actor: Actor, chunks: AsyncIterator[bytes], project: str = "") -> View: ...

    async def upload_pack(self, actor: Actor, chunks: AsyncIterator[bytes], project: str = "") -> View: ...

    async def upload_begin(self, actor: Actor, sha256: str, size: int, project: str = "") -> View: ...

    async def upload_state(self, actor: Actor, upload: str) -> View: ...

    async def upload_append(self, actor: Actor, upload: str, offset: int, chunks: AsyncIterator[bytes]) -> View: ...

    async def upload_drop(self, actor: Actor, upload: str) -> None: ...

    async def uploads_missing(self, actor: Actor, hashes: Sequence[str]) -> list[str]: ...

    async def datasets(self, actor: Actor) -> list[View]: ...

    async def dataset(self, actor: Actor, name: str) -> View: ...

    async def dataset_put(self, actor: Actor, name: str, sha256: str, regions: Sequence[str] = ()) -> View: ...

    async def dataset_remove(self, actor: Actor, name: str) -> View: ...

    async def quota(self, actor: Actor, org: str | None = None) -> View: ...

    async def quota_set(self, actor: Actor, org: str | None, project: str, size: int | None, files: int | None) -> View: ...

    async def apps(self) -> Sequence[View]: ...

    async def app(self, id: str) -> View: ...

    async def app_versions(self, actor: Actor, id: str) -> Sequence[View]: ...

    async def app_publish(self, actor: Actor, text: str, files: Mapping[str, bytes], dry_run: bool) -> View:
        """text: the document; files: by the names it has for them."""
        ...

    async def progress(self, actor: Actor, job_id: str) -> View:
        """percent is None where nothing is known."""
        ...

    async def network_apply(self, actor: Actor, text: str, dry_run: bool) -> View: ...

    async def network_show(self, actor: Actor) -> View: ...

    async def network_fairness(self, actor: Actor) -> list[View]: ...

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

    async def replay(self, actor: Actor, *, hours: float, limit: int) -> View:
        """limit: calls of placement at most."""
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

    async def installations(
        self, actor: Actor, *, app: str | None = None, partition: str | None = None, state: str | None = None
    ) -> list[View]: ...

    async def installation_set(self, actor: Actor, app: str, place: str, state: str, reason: str = "") -> View: ...

    async def installation_history(
        self, actor: Actor, app: str, place: str, *, limit: int = 50, after: str | None = None
    ) -> tuple[list[View], str | None]: ...

    async def verify(
        self, actor: Actor, app: str, *, partitions: Sequence[str] = (), tests: Sequence[str] = (), runs: int = 1
    ) -> list[View]: ...

    async def trials(
        self, actor: Actor, *, app: str | None = None, kind: str | None = None, limit: int = 100, after: str | None = None
    ) -> tuple[list[View], str | None]: ...

    async def licences(self, actor: Actor) -> list[View]: ...

    async def machine_cards(self, actor: Actor) -> list[View]: ...

    async def machine_card(
        self, actor: Actor, place: str, *, limit: int = 1, after: str | None = None
    ) -> tuple[list[View], str | None]: ...

    async def machine_card_measure(self, actor: Actor, place: str) -> View: ...

    async def porting(self, actor: Actor, *, days: int = 90) -> list[View]: ...

    async def porting_add(self, actor: Actor, app: str, arch: str, effort_days: float, note: str = "") -> View: ...

    async def porting_move(
        self, actor: Actor, item: str, *, state: str | None = None, effort_days: float | None = None, note: str | None = None
    ) -> View: ...

    async def porting_item(self, actor: Actor, item: str, *, days: int = 90) -> View: ...

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
