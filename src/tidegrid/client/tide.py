"""`Tide`: every operation of the API as a method."""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

import httpx

from tidegrid.client import sse
from tidegrid.client.batch import BatchScripts
from tidegrid.client.calls import View, quoted
from tidegrid.client.files import Files
from tidegrid.client.operations import Operations
from tidegrid.client.software import Software
from tidegrid.client.transport import Transport, told
from tidegrid.client.uploads import Uploads
from tidegrid.client.views import Event, Job, Page
from tidegrid.domain.errors import Unreachable


class Tide(Files, Uploads, BatchScripts, Operations, Software):
    """A connection to one server. Errors are those of `tidegrid.domain.errors`, with the server's codes; a server that
    does not answer is Unreachable (server.unreachable).

    timeout: seconds an answer may take; http: a client of one's own, for tests.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        timeout: float = 60.0,
        http: httpx.Client | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._t = Transport(url, token, timeout=timeout, http=http, sleep=sleep)
        self._sleep = sleep

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._t.close()

    # Server ------------------------------------------------------------------------------------------------------------

    def health(self) -> View:
        return self._view("GET", "/health")

    def me(self) -> View:
        """Whose token this is."""
        return self._view("GET", "/me")

    # Jobs --------------------------------------------------------------------------------------------------------------

    def submit(self, app: str, *, key: str | None = None, **body: Any) -> Job:
        """Submit a job; keywords as in the API's Submission. key: idempotency key, made up where not given, so that a
        lost connection submits nothing twice."""
        return Job.of(self._post("/jobs", {"app": app, **body}, key or secrets.token_hex(16)))

    def submit_many(self, bodies: Sequence[Mapping[str, Any]], *, key: str | None = None) -> list[Job]:
        """Submit up to 1,000 jobs: all of them or none."""
        found = self._post("/batches", {"jobs": [dict(b) for b in bodies]}, key or secrets.token_hex(16))
        return [Job.of(j) for j in found["items"]]

    def offers(self, app: str, **body: Any) -> View:
        """Where such a job could run now. Nothing is submitted."""
        return self._view("POST", "/offers", json={"app": app, **body})

    def jobs(self, *, state: str | None = None, project: str | None = None, page: int = 100) -> Iterator[Job]:
        """Every job one sees, newest first, fetched page by page."""
        after: str | None = None
        while True:
            found = self.jobs_page(state=state, project=project, limit=page, after=after)
            yield from found
            if found.next is None:
                return
            after = found.next

    def jobs_page(
        self, *, state: str | None = None, project: str | None = None, limit: int = 50, after: str | None = None
    ) -> Page[Job]:
        params = {"state": state, "project": project, "limit": limit, "after": after}
        found = self._view("GET", "/jobs", params=params)
        return Page(tuple(Job.of(j) for j in found["items"]), found.get("next"))

    def explain(self, job_id: str) -> View:
        """Why it went where it went."""
        return self._view("GET", f"/jobs/{quoted(job_id)}/explain")

    def progress(self, job_id: str) -> View:
        """How far it is: {percent, done, of, source}; percent is None where nothing is known."""
        return self._view("GET", f"/jobs/{quoted(job_id)}/progress")

    def cancel(self, job_id: str) -> Job:
        return self._act(job_id, "cancel")

    def hold(self, job_id: str) -> Job:
        return self._act(job_id, "hold")

    def release(self, job_id: str) -> Job:
        return self._act(job_id, "release")

    def wait(
        self, job_id: str, *, timeout: float | None = None, every: float = 0.5, seen: Callable[[Job], None] | None = None
    ) -> Job:
        """The job once its state is final. timeout in seconds: TimeoutError; seen: called with every look."""
        end = None if timeout is None else time.monotonic() + timeout
        pause = min(0.1, every)
        while True:
            job = self.job(job_id)
            if seen is not None:
                seen(job)
            if job.final:
                return job
            if end is not None and time.monotonic() >= end:
                raise TimeoutError(f"{job_id} is still {job.state} after {timeout} s")
            self._sleep(pause)
            pause = min(every, pause * 1.5)

    # Network and catalogue ---------------------------------------------------------------------------------------------

    def apps(self) -> list[View]:
        return self._items("/apps")

    def app(self, name: str) -> View:
        return self._view("GET", f"/apps/{quoted(name)}")

    def app_versions(self, id: str) -> list[View]:
        """Every version of an application, the current one first."""
        return self._items(f"/apps/{quoted(id)}/versions")

    def publish_app(self, document: str, files: Mapping[str, bytes] | None = None, *, dry_run: bool = False) -> View:
        """Publish an application document (YAML) with the files it names, by those names. For operators."""
        encoded = {name: base64.b64encode(content).decode() for name, content in (files or {}).items()}
        return self._view("POST", "/apps", params={"dry_run": str(dry_run).lower()}, json={"document": document, "files": encoded})

    def accuracy(self, app: str | None = None, *, last: int = 500) -> list[View]:
        """How good run times were predicted for one's own last jobs, an application each."""
        found: list[View] = self._view("GET", "/accuracy", params={"app": app, "last": last})["items"]
        return found

    def network(self) -> View:
        return self._view("GET", "/network")

    def fairness(self) -> list[View]:
        """Sites that promise their own users that they lose nothing by the network, and which of them take guests now."""
        return self._items("/network/fairness")

    def apply_network(self, text: str, *, dry_run: bool = False) -> View:
        return self._view("PUT", "/network", params={"dry_run": str(dry_run).lower()}, content=text.encode(),
                          headers={"Content-Type": "application/yaml"})  # fmt: skip

    def clusters(self) -> list[View]:
        return self._items("/clusters")

    def cluster_command(self, name: str, command: str) -> View:
        """command: drain, resume or dead."""
        return self._view("POST", f"/clusters/{quoted(name)}/{quoted(command)}")

    def steering(self, cluster: str) -> View:
        """Whether and how its queue is put into the product's order. For operators."""
        return self._view("GET", f"/steering/{cluster}")

    def steer(self, cluster: str, mode: str, *, partitions: Sequence[str] = (), policy: str = "default", bound: int = 1_000_000) -> View:
        """mode: on, or off: then the queue is given back at once. Unreachable (steering.not_undone) where it is off, and the
        site has yet to give the queue back by itself."""
        body = {"mode": mode, "partitions": list(partitions), "policy": policy, "bound": bound}
        return self._view("PUT", f"/steering/{cluster}", json=body)

    def steering_preview(self, cluster: str, *, partition: str = "", policy: str = "default", bound: int = 1_000_000) -> View:
        """The order that a partition's queue would have, and the nice values for it; nothing is changed."""
        params = {"policy": policy, "bound": bound} | ({"partition": partition} if partition else {})
        return self._view("GET", f"/steering/{cluster}/preview", params=params)

    def replay(self, *, hours: float = 24.0, limit: int = 1000) -> View:
        """Decisions of placement of the last hours made again from what was kept of them. For operators."""
        return self._view("GET", "/decisions/replay", params={"hours": hours, "limit": limit})

    def servers(self) -> View:
        """items: servers with the roles they hold; free: roles that nobody holds. For operators."""
        return self._view("GET", "/servers")

    def incidents(self, *, cluster: str | None = None, open: bool = False, page: int = 100) -> Iterator[View]:
        """Troubles of clusters and partitions, newest first. For operators."""
        after: str | None = None
        while True:
            params = {"cluster": cluster, "open": str(open).lower(), "limit": page, "after": after}
            found = self._view("GET", "/incidents", params=params)
            yield from found["items"]
            after = found.get("next")
            if after is None:
                return

    def incident(self, incident_id: str) -> View:
        return self._view("GET", f"/incidents/{quoted(incident_id)}")

    def discover_cluster(self, **wanted: Any) -> View:
        """Look at a Slurm cluster; keywords as in the API's DiscoverBody. The proposed network file is in `yaml`.
        Conflict (cluster.host_key_unknown) shows the host keys in its details where none is confirmed yet."""
        return self._view("POST", "/clusters/discover", retry=False, json=wanted, timeout=180.0)

    def check_cluster(
        self, name: str, *, wait_s: float = 60.0, document: str = "", said: Callable[[View], None] | None = None
    ) -> View:
        """Try a cluster: {ok, findings}. wait_s: how long a trial may queue; document: a network file that describes it;
        said: called with each finding as it comes."""
        body = {"wait_s": wait_s, "document": document}
        headers = {"Accept": "text/event-stream"}
        path = f"/clusters/{quoted(name)}/check"
        with self._t.stream("POST", path, json=body, headers=headers, timeout=httpx.Timeout(60.0, connect=5.0)) as answer:
            for _, data in sse.decode(answer.iter_lines()):
                event: View = json.loads(data) if data else {}
                value: View = event.get("value") or {}
                if event.get("kind") == "finding" and said is not None:
                    said(value)
                elif event.get("kind") == "report":
                    return value
                elif event.get("kind") == "problem":
                    raise told(value)
        raise Unreachable("server.unreachable", "the server ended before the check did", hint="check again")

    # Events ------------------------------------------------------------------------------------------------------------

    def events_page(
        self, *, after: int = 0, kinds: Sequence[str] = (), job: str | None = None, limit: int = 100
    ) -> list[Event]:
        params = {"after": after, "kind": list(kinds) or None, "job": job, "limit": limit}
        return [Event.of(e) for e in self._view("GET", "/events", params=params)["items"]]

    def events(
        self, *, after: int | None = None, kinds: Sequence[str] = (), job: str | None = None, silence: float = 45.0
    ) -> Iterator[Event]:
        """Events as they happen, for ever; none is missed when the connection breaks. after: start behind this seq, or
        with what comes next where None. Unreachable once the server has not answered for several tries."""
        seen = "" if after is None else str(after)
        failures = 0
        while True:
            opened = time.monotonic()
            params: dict[str, Any] = {"kind": list(kinds), "tail": str(not seen).lower()}
            if job is not None:
                params["job"] = job
            headers = {"Accept": "text/event-stream", **({"Last-Event-ID": seen} if seen else {})}
            timeout = httpx.Timeout(silence, connect=5.0)
            try:
                with self._t.stream("GET", "/events", params=params, headers=headers, timeout=timeout) as answer:
                    for seq, data in sse.decode(answer.iter_lines()):
                        seen = seq or seen
                        if data:
                            failures = 0
                            yield Event.of(json.loads(data))
            except Unreachable:
                failures = 1 if time.monotonic() - opened > 2 * silence else failures + 1
                if failures > 5:
                    raise
            self._sleep(min(5.0, 0.2 * 2**failures))

    # -------------------------------------------------------------------------------------------------------------------

    def _act(self, job_id: str, what: str) -> Job:
        return Job.of(self._view("POST", f"/jobs/{quoted(job_id)}/{what}"))
