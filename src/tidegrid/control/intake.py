"""From a request body to rows: validate against the application, admit against balance, write job, event and key at once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from tidegrid import ledger
from tidegrid.catalog.document import Application
from tidegrid.catalog.needs import Inputs
from tidegrid.control.context import Context
from tidegrid.control.views import when
from tidegrid.domain.actor import Actor
from tidegrid.domain.errors import InvalidInput, NotFound
from tidegrid.domain.ids import parse, show
from tidegrid.domain.job import Constraints, InputFile, JobSpec, JobState, Resources, SiteOptions
from tidegrid.domain.money import parse_amount
from tidegrid.domain.ranges import MAX_TASKS, compress, parse_array
from tidegrid.ledger.holds import insufficient
from tidegrid.scheduling import labels
from tidegrid.scheduling.runtime import MODELLED_SHARE
from tidegrid.store import blobs, events, jobs, orgs
from tidegrid.store.scope import Scope

Body = Mapping[str, Any]
MAX_ARRAY = 100_000
AUTO = "auto"  # a wall time left to the platform
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A validated submission. reserve: micro-yuan for all tasks at the cheapest feasible offer."""

    spec: JobSpec
    application: Application
    tasks: tuple[int, ...]
    reserve: int = 0

    @property
    def waits(self) -> bool:
        """Whether it depends on other jobs, an input of one included."""
        return bool(self.spec.after_ok or self.spec.after_any or any(i.job for i in self.spec.inputs))


def body_hash(bodies: Any) -> str:
    return hashlib.sha256(json.dumps(bodies, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def parse_body(body: Body, application: Application, inputs: Inputs = Inputs()) -> Wanted:
    """InvalidInput with a stable code where a field is wrong; parameters are checked by the application's schema. inputs: how much
    it is given, for what the application computes of that."""
    params = application.validate(dict(body.get("params") or {}))
    asked = dict(body.get("resources") or {})
    auto = asked.get("wall_s") == AUTO
    if auto:
        del asked["wall_s"]  # as the document has it, until it is known what was learnt
    work = str(body.get("work") or application.work)
    resources = labels.apply(work, _resources(asked, application, params, inputs))
    constraints = body.get("constraints") or {}
    array = str(body.get("array") or "")
    tasks, throttle = parse_array(array) if array else ((0,), 0)
    if len(tasks) > MAX_ARRAY or (tasks and tasks[-1] >= 1 << 31):
        raise InvalidInput("array.too_long", f"an array has at most {MAX_ARRAY} tasks", hint="submit several arrays")
    spec = JobSpec(
        app=application.id,
        app_version=application.version,
        params=params,
        name=str(body.get("name") or application.id),
        project=str(body.get("project") or "default"),
        resources=resources,
        constraints=Constraints(**{k: tuple(constraints.get(k) or ()) for k in Constraints.__slots__}),
        objective=str(body.get("objective") or _objective(body, work)),
        array=compress(tasks) if array else "",
        throttle=throttle,
        after_ok=_jobs(body.get("after_ok")),
        after_any=_jobs(body.get("after_any")),
        env=dict(body.get("env") or {}),
        inputs=tuple(_input(i) for i in body.get("inputs") or ()),
        outputs=tuple(body.get("outputs") or application.outputs),
        movable=body.get("movable") if body.get("movable") is not None else application.movable,
        restartable=bool(body.get("restartable") or application.restartable),
        held=bool(body.get("held")),
        site=SiteOptions(**{k: v for k, v in (body.get("site") or {}).items() if v}),
        checkpoint_every_s=_every(body, application),
        input_bytes=inputs.bytes,
        estimate_s=_estimate(asked, application, params, inputs),
        wall_auto=auto,
        work=work,
        trial=bool(body.get("trial")),  # the platform's own word: the API takes no such field
        begin=_moment(body, "begin"),
        deadline=_moment(body, "deadline"),
        budget=_budget(body),
    )
    for name in spec.env:
        if not name.replace("_", "a").isalnum() or name[0].isdigit() or name.startswith("TIDE_"):
            raise InvalidInput("env.malformed", f"{name!r} cannot be the name of an environment variable of a job")
    return Wanted(spec, application, tasks)


def _estimate(asked: Body, application: Application, params: Mapping[str, Any], inputs: Inputs) -> float:
    """Half of the wall time that the document computes for such a job, whatever limit was asked for; 0 where it computes none."""
    if not isinstance(application.needs.default.get("wall"), str):
        return 0.0
    others = {k: v for k, v in asked.items() if k != "wall_s"}
    try:
        return MODELLED_SHARE * application.resources_for(params, inputs, others).wall_s
    except InvalidInput:
        return 0.0  # only the limit that was asked for makes it possible


def with_wall(w: Wanted, proposed: int | None) -> Wanted:
    """With the wall time that was proposed, where it was left to the platform; never above the document's limit."""
    if not w.spec.wall_auto or proposed is None:
        return w
    most = w.application.limits.wall_s
    resources = replace(w.spec.resources, wall_s=min(proposed, most) if most else proposed)
    return replace(w, spec=replace(w.spec, resources=resources))


def _objective(body: Body, work: str) -> str:
    """Where none is named: what a deadline or a budget is worth something to, else that of the kind of work."""
    return "deadline" if body.get("deadline") else "budget" if body.get("budget") else labels.objective(work)


def _budget(body: Body) -> int:
    """Micro-yuan; 0 where there is none."""
    if body.get("budget") is None:
        return 0
    micro = parse_amount(body["budget"], "budget")
    if micro <= 0:
        raise InvalidInput("budget.nothing", f"nothing can be run for {body['budget']} yuan", hint="give a budget above 0, or none")
    return micro


def _moment(body: Body, name: str) -> int:
    """µs UTC; 0 where it is not given."""
    if not body.get(name):
        return 0
    try:
        return (datetime.fromisoformat(str(body[name]).replace("Z", "+00:00")) - _EPOCH) // timedelta(microseconds=1)
    except (ValueError, OverflowError):
        raise InvalidInput("time.malformed", f"{name}: {body[name]!r} is no time that can come", hint="write 2026-12-01T08:00:00+08:00") from None


def _every(body: Body, application: Application) -> int:
    wanted = int(body.get("checkpoint_every_s") or 0)
    if wanted and application.restart is None:
        raise InvalidInput(
            "checkpoint.none", f"{application.id} has no restart recipe, and so no checkpoints",
            hint="its document says how it goes on from one: see `restart`",
        )  # fmt: skip
    return wanted


def _resources(asked: Body, application: Application, params: Mapping[str, Any], inputs: Inputs) -> Resources:
    r = application.resources_for(params, inputs, asked)
    if min(r.cores, r.memory_mib, r.wall_s, r.nodes, r.ranks) < 1 or r.gpus < 0:
        text = "cores, memory_mib, wall_s, nodes and ranks are at least 1, gpus at least 0"
        raise InvalidInput("resources.malformed", text)
    if r.ranks > r.cores:
        text = f"{r.ranks} processes on a node, and {r.cores} cores for them"
        raise InvalidInput("resources.malformed", text, hint="ask for as many cores as processes, or more")
    return r


def _jobs(names: Any) -> tuple[int, ...]:
    return tuple(dict.fromkeys(parse("job", n) for n in names or ()))


def _input(i: Body) -> InputFile:
    path = str(i["path"])
    if not path or path.startswith("/") or ".." in path.split("/") or "\0" in path:
        raise InvalidInput("input.path", f"{path!r} is no path inside the job's directory")
    if i.get("tree"):
        return InputFile(path, sha256=str(i["tree"]), tree=True)
    if i.get("job"):
        return InputFile(path, job=parse("job", i["job"]), source=str(i.get("source") or path))
    if not i.get("sha256"):
        raise InvalidInput("input.source", f"input {path!r} names neither an upload (sha256) nor a job")
    return InputFile(path, sha256=str(i["sha256"]))


def spec_json(spec: JobSpec) -> str:
    return json.dumps(asdict(spec), separators=(",", ":"))


def spec_from(row: Mapping[str, Any]) -> JobSpec:
    """The specification a stored job was accepted with."""
    d = json.loads(row["spec"])
    d["resources"] = Resources(**d["resources"])
    d["site"] = SiteOptions(**d.get("site", {}))
    d["constraints"] = Constraints(**{k: tuple(v) for k, v in d["constraints"].items()})
    d["inputs"] = tuple(InputFile(**i) for i in d["inputs"])
    for k in ("after_ok", "after_any", "outputs"):
        d[k] = tuple(d[k])
    return JobSpec(**d)


def admit(conn: Connection, ctx: Context, actor: Actor, wanted: Sequence[Wanted], now: int) -> list[int]:
    """Write the jobs; ids in order. Inside the caller's transaction: all or none.

    NotFound for an unknown project, dependency or upload; InsufficientFunds with the amounts.
    """
    scope = Scope(actor.org_id)
    needed = sum(w.reserve for w in wanted)
    free = ledger.available(conn, actor.org_id, lock=True)
    if needed > free:
        raise insufficient(free, needed)
    for w in wanted:
        if w.spec.deadline and w.spec.deadline <= max(now, w.spec.begin):
            raise InvalidInput("deadline.over", f"the deadline {when(w.spec.deadline)} is over before the job can begin", hint="give a later one, or none")
    projects = {name: _project(conn, actor.org_id, name) for name in {w.spec.project for w in wanted}}
    _check_references(conn, scope, actor, wanted)
    ids: list[int] = []
    rows, parts, deps, notes = [], [], [], []
    for w in wanted:
        job_id = ctx.ids.new()
        ids.append(job_id)
        spec = w.spec
        state = JobState.HELD if spec.held else JobState.WAITING if w.waits else JobState.PENDING
        rows.append(
            {
                "id": job_id,
                "org_id": actor.org_id,
                "project_id": projects[spec.project],
                "user_id": actor.user_id,
                "name": spec.name,
                "app": spec.app,
                "app_version": spec.app_version,
                "spec": spec_json(spec),
                "state": str(state),
                "held": spec.held,
                "tasks": len(w.tasks),
                "reserved": w.reserve,
                "reason": f"begins at {when(spec.begin)}" if spec.begin > now else "",
                "created_at": now,
            }
        )
        share = 0
        for i in range(0, len(w.tasks), MAX_TASKS):
            chunk = w.tasks[i : i + MAX_TASKS]
            last = i + MAX_TASKS >= len(w.tasks)
            part = w.reserve - share if last else w.reserve * len(chunk) // len(w.tasks)
            share += part
            parts.append(
                {
                    "id": ctx.ids.new(),
                    "org_id": actor.org_id,
                    "job_id": job_id,
                    "tasks": compress(chunk),
                    "reserved": part,
                    "not_before": spec.begin,
                }
            )
        ok = set(spec.after_ok) | {i.job for i in spec.inputs if i.job}
        deps += [_dep(actor.org_id, job_id, on, "ok") for on in ok]
        deps += [_dep(actor.org_id, job_id, on, "any") for on in set(spec.after_any) - ok]
        notes.append(
            {
                "kind": "job.created",
                "at": now,
                "org_id": actor.org_id,
                "job_id": job_id,
                "body": {"app": spec.app, "name": spec.name, "user": actor.user, "tasks": len(w.tasks)},
            }
        )
    jobs.insert_jobs(conn, rows, parts, deps)
    events.append_many(conn, notes)
    return ids


def _dep(org_id: int, job_id: int, on: int, kind: str) -> dict[str, Any]:
    return {"org_id": org_id, "job_id": job_id, "on_job_id": on, "kind": kind}


def _project(conn: Connection, org_id: int, name: str) -> int:
    row = orgs.get_project(conn, org_id, name)
    if row is None:
        raise NotFound("project.unknown", f"there is no project {name!r}", hint="`default` is always there")
    return int(row["id"])


def _check_references(conn: Connection, scope: Scope, actor: Actor, wanted: Sequence[Wanted]) -> None:
    """Dependencies and inputs must be the organisation's own."""
    on = {j for w in wanted for j in (*w.spec.after_ok, *w.spec.after_any, *(i.job for i in w.spec.inputs if i.job))}
    # locked: one that ends this moment, by another server's hand, either sees who waits for it or is seen to have ended
    known = jobs.many(conn, on, lock=True) if on else {}
    for job_id in on:
        row = known.get(job_id)
        if row is None or row["org_id"] != actor.org_id:
            raise NotFound("job.unknown", f"there is no job {show('job', job_id)}")
    for sha in {i.sha256 for w in wanted for i in w.spec.inputs if i.sha256}:
        if blobs.get(conn, scope, sha) is None:
            raise NotFound("upload.unknown", f"no upload with hash {sha[:16]}…", hint="upload the file first")


def with_reserve(w: Wanted, micro: int) -> Wanted:
    return replace(w, reserve=micro)
