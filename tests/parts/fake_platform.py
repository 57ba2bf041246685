"""A platform in memory, for tests of what lies above it: jobs end when a test says so. Accounts and events are in a real
store; everything else is a dictionary."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.parts.stores import Ticks, make_ids
from tidegrid import apps
from tidegrid.catalog.batch_job import Known, translate
from tidegrid.catalog.document import parse as document
from tidegrid.catalog.proposal import Offered, propose
from tidegrid.connectors.findings import Findings
from tidegrid.control.context import Context, Settings
from tidegrid.control.data import Data
from tidegrid.control.staging import Staging
from tidegrid.domain.actor import Actor, require_change_job, sees
from tidegrid.domain.errors import Conflict, InsufficientFunds, NotFound
from tidegrid.domain.ids import parse, show
from tidegrid.domain.money import format_amount
from tidegrid.server.auth import digest
from tidegrid.server.fields import iso
from tidegrid.store import events, orgs
from tidegrid.store.engine import Store
from tidegrid.store.scope import Scope

View = dict[str, Any]
_APP: View = {
    "id": "echo", "version": "0" * 64, "title": {"en": "Echo", "zh": "回声"}, "summary": {"en": "Says it again"},
    "params": {"type": "object", "properties": {"text": {"type": "string"}, "times": {"type": "integer", "default": 1}},
               "required": ["text"], "additionalProperties": False},
}  # fmt: skip
_APP["document"] = document("""\
id: echo
title: {en: Echo}
params: {type: object, properties: {text: {type: string}}, required: [text], additionalProperties: false}
script: echo {{ text }}
tests: [{name: says it, params: {text: hello}, exit: 0}]
""").body
_CANDIDATE = {
    "partition": "east/cpu", "region": "华东", "supply": "co_built", "start_now": 1.0, "wait_p50_s": 0, "wait_p90_s": 2,
    "staging_s": 0, "run_p50_s": 60, "run_p90_s": 300, "price": {"amount": "0.01", "currency": "CNY"},
}  # fmt: skip

_INCIDENTS: list[View] = [
    {"id": show("inc", 2), "cluster": "east", "partition": "cpu", "cause": "run", "condition": "draining",
     "opened_at": "2027-01-15T08:00:00.000000Z", "changed_at": "2027-01-15T08:01:00.000000Z", "closed_at": None, "moved": 3,
     "lost": 0, "evidence": {"node_failed": 5.0}, "steps": [{"at": "2027-01-15T08:00:00.000000Z", "what": "suspect"},
                                                            {"at": "2027-01-15T08:01:00.000000Z", "what": "3 jobs moved"}]},
    {"id": show("inc", 1), "cluster": "east", "partition": "", "cause": "silent", "condition": "silent",
     "opened_at": "2027-01-14T08:00:00.000000Z", "changed_at": "2027-01-14T08:02:00.000000Z",
     "closed_at": "2027-01-14T08:02:00.000000Z", "moved": 0, "lost": 0, "evidence": {}, "steps": []},
]  # fmt: skip


class FakePlatform(Data):
    """`ports.Platform` without clusters; uploads are the real ones. `finish` ends a job; `fail` makes the next call raise."""

    def __init__(self, store: Store, home: Path) -> None:
        self.store, self.home, self.clock = store, home, Ticks()
        self.ids = make_ids(7, self.clock)
        self.ctx = Context(store, self.clock, self.ids, home, Settings())
        self.staging = Staging(self.ctx)
        self.rows: dict[str, View] = {}
        self.keys: dict[tuple[int, str], tuple[str, list[str]]] = {}
        self.log: dict[str, bytes] = {}
        self.balances: dict[int, int] = {}
        self.deposits: set[tuple[int, str]] = set()
        self.raises: Exception | None = None
        self.calls: list[str] = []

    def now(self) -> int:
        return self.clock()

    # for tests -----------------------------------------------------------------------------------------------------------

    def account(self, org: str, user: str, role: str) -> str:
        """A token of a user, who and whose organisation are made where missing."""
        secret = f"tide_{org}_{user}_{role}"

        def work(conn: Any) -> None:
            at = self.now()
            if orgs.get_org(conn, org) is None:
                org_id = self.ids.new()
                orgs.create_org(conn, id=org_id, name=org, at=at)
                orgs.create_project(conn, id=self.ids.new(), org_id=org_id, name="default", at=at)
            org_row = orgs.get_org(conn, org)
            assert org_row is not None
            if orgs.get_user(conn, org_row["id"], user) is None:
                orgs.create_user(conn, id=self.ids.new(), org_id=org_row["id"], name=user, role=role, at=at)
            user_row = orgs.get_user(conn, org_row["id"], user)
            assert user_row is not None
            orgs.create_token(conn, id=self.ids.new(), org_id=org_row["id"], user_id=user_row["id"],
                              hash=digest(secret), at=at, label="test")  # fmt: skip

        self.store.write_sync(work)
        return secret

    def finish(self, job_id: str, state: str = "succeeded", reason: str = "", outputs: dict[str, bytes] | None = None) -> None:
        row = self.rows[job_id]
        row["view"] |= {"state": state, "reason": reason, "started_at": row["view"]["created_at"], "ended_at": iso(self.now())}
        for path, data in (outputs or {}).items():
            file = self._results(job_id) / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
            row["outputs"].append({"path": path, "size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "state": "done"})
        self._event("job.ended", row["org_id"], job_id)

    def _results(self, job_id: str) -> Path:
        return self.home / "results" / job_id

    def _event(self, kind: str, org_id: int, job_id: str) -> None:
        number = parse("job", job_id)
        self.store.write_sync(lambda c: events.append(c, kind=kind, at=self.now(), org_id=org_id, job_id=number))

    # the port ------------------------------------------------------------------------------------------------------------

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if self.raises is not None:
            error, self.raises = self.raises, None
            raise error

    def _row(self, actor: Actor, job_id: str) -> View:
        row = self.rows.get(job_id)
        if row is None or not sees(actor, row["org_id"]):
            raise NotFound("job.unknown", f"there is no job {job_id}")
        return row

    async def submit(self, actor: Actor, body: View, key: str | None) -> View:
        return (await self.submit_many(actor, [body], key))[0]

    async def submit_many(self, actor: Actor, bodies: list[View], key: str | None) -> list[View]:
        self._called("submit")
        text = json.dumps(bodies, sort_keys=True)
        if key is not None and (actor.org_id, key) in self.keys:
            known, made = self.keys[actor.org_id, key]
            if known != text:
                raise Conflict("idempotency.other_body", "this key was used for another request")
            return [self.rows[j]["view"] for j in made]
        for body in bodies:
            if body["app"].partition("@")[0] not in ("echo", "script", "sbatch"):
                raise NotFound("app.unknown", f"there is no application {body['app']!r}")
            if body.get("resources", {}).get("cores", 1) > 1000:
                raise InsufficientFunds("balance.insufficient", "this needs 9 CNY; 1 CNY is available",
                                        details={"needed": "9.00", "available": "1.00"})  # fmt: skip
        out = []
        for body in bodies:
            job_id = show("job", self.ids.new())
            view = {
                "id": job_id, "org": actor.org, "project": body.get("project", "default"), "user": actor.user,
                "name": body.get("name", ""), "app": body["app"], "app_version": "0" * 64,
                "state": "held" if body.get("held") else "pending", "reason": "", "tasks": 1,
                "resources": {"cores": 1, "memory_mib": 256, "gpus": 0, "gpu_type": "", "wall_s": 600}
                | {k: v for k, v in body.get("resources", {}).items() if v != "auto"},
                "objective": body.get("objective", "balanced"), "created_at": iso(self.now()), "started_at": None,
                "ended_at": None, "moved": 0, "cost": {"amount": "0.001234", "currency": "CNY"}, "attempts": [],
            }  # fmt: skip
            self.rows[job_id] = {"org_id": actor.org_id, "user_id": actor.user_id, "body": body, "view": view, "outputs": []}
            self._event("job.created", actor.org_id, job_id)
            out.append(view)
        if key is not None:
            self.keys[actor.org_id, key] = (text, [v["id"] for v in out])
        return out

    async def offers(self, actor: Actor, body: View) -> View:
        self._called("offers")
        return {"offers": [_CANDIDATE], "refusals": {"architecture": 2}, "partitions": 3}

    async def accuracy(self, actor: Actor, app: str | None, last: int) -> list[View]:
        self._called("accuracy")
        none = {"n": 0, "mdape": None, "p90_coverage": None}
        ways = dict.fromkeys(("predicted", "wall_time_asked", "mean_of_application"), none)
        peak = {"n": 0, "p90_coverage": None}
        return [{"app": app or "echo", "runs": 0, "first": 0, **ways, "partitions": [], "peak_memory": peak}]

    async def batch_script(self, actor: Actor, asked: View) -> View:
        self._called("batch_script")
        names = {"name", "options", "environment", "variables", "args", "ignore"}
        found = translate(asked["script"], Known(), **{k: v for k, v in asked.items() if k in names})
        return {"submission": found.body, "remarks": [asdict(r) for r in found.remarks], "wait": found.wait, "dry_run": found.dry_run}

    async def explain(self, actor: Actor, job_id: str) -> View:
        view = self._row(actor, job_id)["view"]
        made = {"at": view["created_at"], "chosen": "east/cpu", "snapshot": "ab", "policy": "cd",
                "candidates": [_CANDIDATE], "refusals": {"architecture": 2}, "partitions": 3}  # fmt: skip
        return {"job": job_id, "state": view["state"], "reason": view["reason"], "decisions": [made], "events": []}

    async def _wish(self, actor: Actor, job_id: str, state: str) -> View:
        row = self._row(actor, job_id)
        require_change_job(actor, row["org_id"], row["user_id"], job_id)
        row["view"]["state"] = state
        return row["view"]

    async def cancel(self, actor: Actor, job_id: str) -> View:
        return await self._wish(actor, job_id, "cancelled")

    async def hold(self, actor: Actor, job_id: str) -> View:
        return await self._wish(actor, job_id, "held")

    async def release(self, actor: Actor, job_id: str) -> View:
        return await self._wish(actor, job_id, "pending")

    async def job(self, actor: Actor, job_id: str) -> View:
        self._called("job")
        return self._row(actor, job_id)["view"]

    async def jobs(
        self, actor: Actor, *, state: str | None = None, project: str | None = None, limit: int = 50,
        after: str | None = None,
    ) -> tuple[list[View], str | None]:  # fmt: skip
        self._called("jobs")
        views = [r["view"] for i, r in sorted(self.rows.items(), reverse=True)
                 if sees(actor, r["org_id"]) and (after is None or i < after)
                 and state in (None, r["view"]["state"]) and project in (None, r["view"]["project"])]  # fmt: skip
        return views[:limit], views[limit - 1]["id"] if len(views) > limit else None

    async def logs(self, actor: Actor, job_id: str, task: int, stream: str, offset: int, limit: int) -> bytes:
        self._row(actor, job_id)
        return self.log.get(f"{job_id}.{stream}", b"")[offset : offset + limit]

    async def outputs(self, actor: Actor, job_id: str) -> list[View]:
        return list(self._row(actor, job_id)["outputs"])

    async def output_path(self, actor: Actor, job_id: str, path: str) -> Path:
        self._row(actor, job_id)
        return self._results(job_id) / path

    async def apps(self) -> Sequence[View]:
        return [_APP]

    async def app(self, id: str) -> View:
        if id.partition("@")[0] != "echo":
            raise NotFound("app.unknown", f"there is no application {id!r}")
        return _APP

    async def app_versions(self, actor: Actor, id: str) -> Sequence[View]:
        await self.app(id)
        return [{"id": id, "version": "0" * 64, "current": True, "added_at": iso(1), "title": _APP["title"], "by": ""}]

    async def app_publish(self, actor: Actor, text: str, files: Mapping[str, bytes], dry_run: bool) -> View:
        self._called("app_publish")
        sent = {n: hashlib.sha256(f).hexdigest() for n, f in files.items()}
        made = document(text, files={n: apps.sha256(n) for n in apps.files()} | sent)
        return {"id": made.id, "version": made.version, "new": True, "dry_run": dry_run,
                "files": [{"path": f.path, "sha256": f.sha256} for f in made.files]}  # fmt: skip

    async def progress(self, actor: Actor, job_id: str) -> View:
        row = self._row(actor, job_id)
        return {"job": job_id, "state": row["view"]["state"], "percent": 40.0, "done": 2, "of": 5, "source": "log"}

    async def network_apply(self, actor: Actor, text: str, dry_run: bool) -> View:
        self._called("network_apply")
        return {"changes": [{"text": "+ clusters.east"}] if "east" in text else [], "applied": not dry_run}

    async def network_show(self, actor: Actor) -> View:
        return {"source": "clusters: []\n"}

    async def clusters(self, actor: Actor) -> list[View]:
        return [{"name": "east", "region": "华东", "health": "up", "drained": False,
                 "live_attempts": 0,
                 "partitions": [{"name": "cpu", "arch": "x86_64", "nodes": 2, "cores_per_node": 4, "core_hour": "0.05",
                                 "supply": "co_built"}]}]  # fmt: skip

    async def cluster_command(self, actor: Actor, name: str, command: str) -> View:
        if name != "east":
            raise NotFound("cluster.unknown", f"there is no cluster {name!r}")
        return {"name": name, "drained": command == "drain"}

    async def servers(self, actor: Actor) -> View:
        role = {"role": "submit", "token": 3, "since": iso(1), "expires_at": iso(2)}
        live = {"name": "one-1", "url": "http://127.0.0.1:1", "host": "one", "pid": 7, "live": True, "seen_at": iso(1),
                "roles": [role, {**role, "role": "cluster:east"}]}  # fmt: skip
        return {"items": [live, {"name": "two-2", "host": "two", "pid": 8, "live": False}], "free": ["cluster:south"]}

    async def steering(self, actor: Actor, name: str) -> View:
        last = {"cpu": {"at": iso(1), "waiting": 7, "changed": 3, "first": ["12", "9"]}}
        return {"cluster": name, "mode": "on", "partitions": ["cpu"], "policy": "default", "bound": 100, "last": last}

    async def steer(
        self, actor: Actor, name: str, *, mode: str, partitions: Sequence[str] = (), policy: str = "default", bound: int
    ) -> View:
        if name == "embedded":
            raise Conflict("steering.unsupported", f"{name} orders its queue by the product's policy itself")
        return {"cluster": name, "mode": mode, "partitions": list(partitions), "policy": policy, "bound": bound, "last": {}}

    async def steering_preview(self, actor: Actor, name: str, *, partition: str, policy: str, bound: int) -> View:
        job = {"id": "12", "user": "ada", "cores": 4, "limit_s": 600, "waited_s": 30, "nice": 0, "to": -2}
        return {"cluster": name, "partition": partition or "cpu", "policy": policy, "waiting": 1, "changes": 1, "order": [job]}

    async def replay(self, actor: Actor, *, hours: float, limit: int) -> View:
        one = {"call": "call-0000000000001", "at": iso(1), "why": "place", "snapshot": "5" * 64}
        return {"since": iso(1), "calls": 7, "requests": 40, "identical": 4, "differ": 1, "other_policy": 2,
                "changed": 1, "no_picture": 0, "differences": [one]}  # fmt: skip

    async def cluster_discover(self, actor: Actor, wanted: View) -> View:
        self._called("cluster_discover")
        if wanted["url"] and not (wanted["accept_host_key"] or wanted["host_keys"]):
            raise Conflict("cluster.host_key_unknown", "it shows SHA256:abc", hint="--accept-host-key",
                           details={"host_keys": [{"key": "ssh-ed25519 AAAA", "fingerprint": "SHA256:abc"}]})  # fmt: skip
        made = propose(wanted["name"] or "west", {"kind": "slurm", "root": "/r"}, [Offered("cpu", "x86_64", 1, 4, 1000)])
        return {"name": made.name, "version": "22.05.8", "user": "tide", "partitions": [], "notes": ["one"], "asked": wanted,
                "yaml": made.document(), "sections": dict(made.blocks)}  # fmt: skip

    async def cluster_check(
        self, actor: Actor, name: str, *, wait_s: float = 60.0, document: str = "", say: Any = None
    ) -> View:
        self._called("cluster_check")
        if name not in ("east", "broken"):
            raise NotFound("cluster.unknown", f"there is no cluster {name!r}")
        found = Findings(say)
        found.ok("login", "tide on login1")
        if name == "broken":
            found.missing("shared", "cluster.root_unshared", "nothing there", partition="cpu")
        return {"cluster": name, "ok": found.well, "findings": [f.view() for f in found.all]}

    async def incidents(
        self, actor: Actor, *, cluster: str | None = None, open_only: bool = False, limit: int = 50,
        after: str | None = None,
    ) -> tuple[list[View], str | None]:  # fmt: skip
        found = [i for i in _INCIDENTS if cluster in (None, i["cluster"]) and not (open_only and i["closed_at"])]
        return found[:limit], None

    async def incident(self, actor: Actor, incident_id: str) -> View:
        for i in _INCIDENTS:
            if i["id"] == incident_id:
                return i
        raise NotFound("incident.unknown", f"there is no incident {incident_id}")

    async def usage(
        self, actor: Actor, *, org: str | None = None, job_id: str | None = None, limit: int = 100,
        after: str | None = None, corrections: bool = False,
    ) -> tuple[list[View], str | None]:  # fmt: skip
        if org is not None:
            await self._org(actor, org)
        if job_id is not None:
            self._row(actor, job_id)
        return [], None

    async def usage_reconcile(
        self, actor: Actor, cluster: str, *, since: int | None = None, until: int | None = None, limit: int = 1000,
        correct: bool = False,
    ) -> View:  # fmt: skip
        self._called("usage_reconcile")
        if cluster != "east":
            raise NotFound("cluster.unknown", f"there is no cluster {cluster!r}")
        odd = {"cause": "elapsed", "explained": False, "text": "metered 5 s, accounted 6 s", "job": None, "attempt": None,
               "task": 0, "native_id": "7", "metered": None, "accounted": None}  # fmt: skip
        found = [] if correct else [odd]
        return {
            "cluster": cluster, "since": iso(since or 0), "until": iso(until or self.now()), "runs": 2,
            "matched": 2 - len(found), "unexplained": len(found), "corrected": int(correct),
            "counts": {d["cause"]: 1 for d in found}, "metered_core_hours": "1.000000", "accounted_core_hours": "1.000000",
            "metered_gpu_hours": "0.000000", "accounted_gpu_hours": "0.000000", "foreign_core_hours": "0.000000",
            "charged": {"amount": "0.05", "currency": "CNY"}, "differences": found, "left_off": 0,
        }  # fmt: skip

    def _account(self, actor: Actor, **cols: Any) -> View:
        view = {"id": "acct-0000000000001", "cluster": "east", "user": "pool01", "uid": 1001, "root": "/home/pool01/tide",
                "account": "", "qos": "", "kind": "pool", "state": "free", "trouble": "", "live_attempts": 0,
                "created_at": iso(self.now()), "retired_at": None, **cols}  # fmt: skip
        return view if actor.is_operator else {k: v for k, v in view.items() if k != "binding"}

    async def site_accounts(self, actor: Actor, *, cluster: str | None = None, retired: bool = False) -> list[View]:
        return [self._account(actor)] if cluster in (None, "east") else []

    async def site_account_add(self, actor: Actor, body: View) -> View:
        self._called("site_account_add")
        return self._account(actor, user=body["user"], cluster=body["cluster"])

    async def site_account_bind(
        self, actor: Actor, account: str, org: str, project: str | None = None, until: int | None = None
    ) -> View:
        await self._org(actor, org)
        bound = {"org": org, "project": project, "valid_from": iso(self.now()), "valid_until": iso(until), "bound_by": actor.user}
        return self._account(actor, state="bound", binding=bound)

    async def site_account_release(self, actor: Actor, account: str) -> View:
        return self._account(actor)

    async def site_account_retire(self, actor: Actor, account: str) -> View:
        return self._account(actor, state="retired")

    async def site_account_bindings(self, actor: Actor, account: str) -> list[View]:
        return [{"org": "acme", "project": None, "valid_from": iso(self.now()), "valid_until": None, "bound_by": "admin",
                 "released_by": None}]  # fmt: skip

    async def _org(self, actor: Actor, org: str | None) -> tuple[int, str]:
        name = org or actor.org
        row = await self.store.read(lambda c: orgs.get_org(c, name))
        if row is None or not sees(actor, row["id"]):
            raise NotFound("org.unknown", f"there is no organisation {org!r}")
        return int(row["id"]), name

    async def balance(self, actor: Actor, org: str) -> View:
        org_id, _ = await self._org(actor, org)
        return {"org": org, "available": format_amount(self.balances.get(org_id, 0)), "currency": "CNY"}

    async def deposit(self, actor: Actor, org: str, amount: int, key: str) -> View:
        org_id, _ = await self._org(actor, org)
        if (org_id, key) not in self.deposits:
            self.deposits.add((org_id, key))
            self.balances[org_id] = self.balances.get(org_id, 0) + amount
        return await self.balance(actor, org)

    async def journal_check(self, actor: Actor) -> View:
        return {"balanced": True}

    async def events(
        self, actor: Actor, after: int, kinds: Sequence[str] = (), job_id: str | None = None, limit: int = 500
    ) -> list[View]:
        number = parse("job", job_id) if job_id and self._row(actor, job_id) else None
        found = await self.store.read(
            lambda c: events.after(c, Scope(actor.scope_org), after, kinds=kinds, job_id=number, limit=limit)
        )
        return [{"seq": e["seq"], "at": iso(e["at"]), "kind": e["kind"], "cluster": e["cluster"] or None,
                 "job": show("job", e["job_id"]) if e["job_id"] else None, "body": dict(e["body"])}
                for e in found]  # fmt: skip
