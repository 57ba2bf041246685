"""Jobs, as they go out: their attempts, offers, explanations and progress."""

from __future__ import annotations

from pydantic import Field

from tidegrid.server.views.base import Money, Open, Time, View


class Resources(View):
    cores: int = 1
    memory_mib: int = 0
    gpus: int = 0
    gpu_type: str = ""
    wall_s: int = 0
    nodes: int = 1
    ranks: int = 1
    exclusive: bool = False


class Execution(View):
    """One start of one task, on the site's clock."""

    task: int
    restart: int = 0
    reason: str | None = None
    exit_code: int | None = None
    started_at: Time | None = None
    ended_at: Time | None = None
    source: str | None = Field(None, description="whose word it is: spool, provisional, controller, accounting")
    peak_mib: int | None = None


class Attempt(View):
    """One submission of a set of the job's tasks to one cluster."""

    id: str
    cluster: str = ""
    partition: str = ""
    state: str = ""
    reason: str | None = None
    native_id: str | None = None
    detail: str | None = None
    tasks: str = "0"
    movable: bool = False
    restartable: bool = False
    created_at: Time | None = None
    started_at: Time | None = None
    ended_at: Time | None = None
    executions: list[Execution] = []


class JobSummary(View):
    """A job in a list."""

    id: str
    org: str = ""
    project: str = ""
    user: str = ""
    name: str = ""
    app: str = ""
    app_version: str = ""
    state: str
    reason: str | None = None
    tasks: int = 1
    resources: Resources = Resources()
    objective: str = "balanced"
    deadline: Time | None = None
    budget: Money | None = None
    held: bool = False
    cancel_wanted: bool = False
    created_at: Time | None = None
    started_at: Time | None = None
    ended_at: Time | None = None
    moved: int = 0
    cost: Money = Money()


class Job(JobSummary):
    """A job alone, with its attempts, oldest first."""

    attempts: list[Attempt] = []


class JobPage(View):
    items: list[JobSummary]
    next: str | None = Field(None, description="give it as `after` for the next page; null: this was the last")


class JobList(View):
    items: list[Job]


class Offers(Open):
    """Where a job could run, best first, with predicted wait, run time and price; and why not elsewhere."""


class Explanation(Open):
    """Why a job went where it went: decisions, their best candidates and counted refusals, attempts."""


class Progress(View):
    """percent: null where nothing is known. source: `log` (the application says so), `tasks` (of an array that have ended) or
    `state`."""

    job: str
    state: str
    percent: float | None = None
    done: float | None = None
    of: float | None = None
    source: str = "state"
