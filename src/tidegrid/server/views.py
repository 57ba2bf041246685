"""What goes out. Fields are added, never renamed; times are ISO 8601 in UTC, money is a decimal text with its currency."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Time = Annotated[str, Field(json_schema_extra={"format": "date-time"}, examples=["2025-01-31T23:59:59.000001Z"])]


class View(BaseModel):
    model_config = ConfigDict(extra="ignore")


class Open(BaseModel):
    """A view to which the platform may add terms."""

    model_config = ConfigDict(extra="allow")


class Money(View):
    amount: str = "0.00"
    currency: str = "CNY"


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


class Output(View):
    path: str
    size: int = 0
    sha256: str | None = None
    state: str | None = None


class OutputList(View):
    items: list[Output]


class Upload(View):
    sha256: str
    size: int


class App(Open):
    """An application: its document, parameters as JSON Schema, and version."""

    id: str


class AppList(View):
    items: list[App]


class Network(Open):
    """The network document as applied."""


class NetworkChange(Open):
    """What applying changed, or would change."""


class Cluster(Open):
    name: str


class Finding(View):
    """One thing that a check found. state: ok, note, missing or skipped; code: stable, empty where all is well."""

    step: str
    state: str
    text: str = ""
    code: str = ""
    hint: str = ""
    partition: str = ""


class CheckReport(View):
    cluster: str
    ok: bool = Field(description="nothing is missing, and nothing could not be tried")
    findings: list[Finding] = []


class Discovered(Open):
    """What a cluster is. `yaml`: a network file with it; `sections`: its entries of providers, sites and clusters."""

    name: str
    yaml: str
    sections: dict[str, str] = {}


class ClusterList(View):
    items: list[Cluster]


class IncidentStep(View):
    at: Time | None = None
    what: str = ""


class Incident(View):
    """A place's trouble from its first sign to its end."""

    id: str
    cluster: str
    partition: str = Field("", description="empty: the cluster as a whole")
    cause: str = Field("", description="submit, run, contact, silent or dead")
    condition: str = Field("", description="the worst it came to: suspect, draining, silent or dead")
    opened_at: Time | None = None
    changed_at: Time | None = None
    closed_at: Time | None = None
    moved: int = Field(0, description="jobs placed anew for it")
    lost: int = Field(0, description="attempts that ended `lost` for it")
    evidence: dict[str, float] = Field({}, description="how often each sign of trouble was seen")
    steps: list[IncidentStep] = []


class IncidentPage(View):
    items: list[Incident]
    next: str | None = None


class RoleHeld(View):
    """role: `submit`, or `cluster:` and its name; token: its holder's, higher at every change of holder."""

    role: str
    token: int = 0
    since: Time | None = None
    expires_at: Time | None = None


class Server(View):
    """A server of this network."""

    name: str
    url: str = Field("", description="where it listens, on its host")
    host: str = ""
    pid: int = 0
    version: str = ""
    live: bool = Field(False, description="it said so within the life of a lease")
    started_at: Time | None = None
    seen_at: Time | None = None
    able: list[str] = Field([], description="roles it could take")
    roles: list[RoleHeld] = []


class ServerList(View):
    items: list[Server]
    free: list[str] = Field([], description="roles that some server could take and nobody holds")


class Usage(Open):
    """One segment of use: what ran where, for how long, and what it was charged."""


class UsagePage(View):
    items: list[Usage]
    next: str | None = None


class MeteredSide(View):
    """What is journalled of a run. source: the weakest witness of its segments."""

    started_at: Time | None = None
    ended_at: Time | None = None
    elapsed_ms: int = 0
    cores: int = 0
    gpus: int = 0
    memory_mib: int = 0
    source: str = ""
    estimated: bool = False
    charge: Money = Money()


class AccountedSide(View):
    """What the centre's accounting has of it; null where it does not say."""

    name: str = ""
    user: str = ""
    account: str = ""
    started_at: Time | None = None
    ended_at: Time | None = None
    elapsed_ms: int = 0
    cores: int | None = None
    gpus: int | None = None
    memory_mib: int | None = None


class Difference(View):
    """A run, or somebody else's job, on which the two sides differ. explained: nobody needs to look at it."""

    cause: str = Field(description="not_metered, not_accounted, elapsed, allocation, foreign, late, provisional, id_reused, "
                       "clock or free")  # fmt: skip
    explained: bool
    text: str = ""
    job: str | None = None
    attempt: str | None = None
    task: int = 0
    native_id: str | None = Field(None, description="as the centre's users write it")
    metered: MeteredSide | None = None
    accounted: AccountedSide | None = None


class Reconciliation(View):
    """A cluster's metered use against its centre's accounting, for runs that ended in [since, until)."""

    cluster: str
    since: Time
    until: Time
    runs: int = Field(description="of this platform, compared")
    matched: int = Field(description="of them without any difference")
    unexplained: int = Field(description="differences that somebody must look at")
    corrected: int = Field(0, description="runs for which accounting's word was taken just now")
    counts: dict[str, int] = Field({}, description="differences by cause")
    metered_core_hours: str
    accounted_core_hours: str
    metered_gpu_hours: str
    accounted_gpu_hours: str
    foreign_core_hours: str
    charged: Money = Money()
    differences: list[Difference] = []
    left_off: int = Field(0, description="differences beyond `limit`")


class Binding(View):
    """Whose an account at a centre is or was, for a time."""

    org: str
    project: str | None = Field(None, description="null: all of the organisation's")
    valid_from: Time
    valid_until: Time | None = None
    bound_by: str = ""
    released_by: str | None = None


class BindingList(View):
    items: list[Binding]


class SiteAccount(View):
    """A Unix account at a centre. identity (the name of the secret with its key) and binding: for operators only."""

    id: str
    cluster: str
    user: str
    uid: int
    root: str
    account: str = Field("", description="Slurm's account")
    qos: str = ""
    kind: str = Field(description="pool or dedicated")
    state: str = Field(description="free, bound, dirty (released, not yet cleaned) or retired")
    trouble: str = Field("", description="why it does not answer")
    live_attempts: int = 0
    identity: str | None = None
    binding: Binding | None = None
    created_at: Time | None = None
    retired_at: Time | None = None


class SiteAccountList(View):
    items: list[SiteAccount]


class Balance(Open):
    """An organisation's prepaid account."""


class Deposit(Open):
    """A journalled deposit."""


class JournalCheck(Open):
    """Whether the books balance, and where they do not."""


class Event(View):
    seq: int
    at: Time | None = None
    kind: str
    org: str | None = None
    job: str | None = None
    attempt: str | None = None
    cluster: str | None = None
    body: dict[str, Any] = {}


class EventPage(View):
    items: list[Event]
    next: str | None = Field(None, description="give it as `after`; null where no event followed")


class Org(View):
    id: str
    name: str
    created_at: Time | None = None


class OrgList(View):
    items: list[Org]


class Project(View):
    id: str
    name: str
    created_at: Time | None = None


class ProjectList(View):
    items: list[Project]


class User(View):
    id: str
    name: str
    role: str
    created_at: Time | None = None


class UserList(View):
    items: list[User]


class Token(View):
    """A token without its secret, which is shown once, when it is made."""

    id: str
    user: str
    label: str = ""
    scopes: list[str] = []
    created_at: Time | None = None
    expires_at: Time | None = None
    revoked_at: Time | None = None


class TokenList(View):
    items: list[Token]


class NewToken(Token):
    token: str = Field(description="the secret; it cannot be read again")


class Me(View):
    """Whose token this is."""

    org: str
    user: str
    role: str
    permissions: list[str]


class Health(View):
    status: str
    version: str


class Differing(View):
    call: str
    at: Time
    why: str = Field(description="place; here and elsewhere: whether what waits is better off placed anew")
    snapshot: str


class Replay(View):
    """Kept calls of placement, decided again."""

    since: Time
    calls: int
    requests: int = Field(description="of all these calls")
    identical: int = Field(description="gave the same bytes again")
    differ: int = Field(description="did not, under the same policy: a defect")
    other_policy: int = Field(description="were decided by another policy than this program's")
    changed: int = Field(description="of these, by which this program decides otherwise")
    no_picture: int = Field(description="whose picture of the network is no longer kept")
    differences: list[Differing]


class SteeredQueue(View):
    at: Time | None = None
    waiting: int | None = None
    changed: int | None = Field(default=None, description="nice values, by the last step")
    first: list[str] = Field(default=[], description="native ids of those that are to start first")
    error: str = ""


class Steering(View):
    """Whether and how a cluster's queue is put into the product's order."""

    cluster: str
    mode: str = Field(description="on or off")
    why: str = Field(default="", description="why it was turned off by itself")
    partitions: list[str]
    policy: str
    bound: int
    last: dict[str, SteeredQueue] = Field(description="by partition; of this server's steps only")


class SteeredJob(View):
    id: str
    user: str
    cores: int
    limit_s: int
    waited_s: int
    nice: int
    to: int = Field(description="the nice value it would get")


class SteeringPreview(View):
    cluster: str
    partition: str
    policy: str
    waiting: int
    changes: int
    order: list[SteeredJob] = Field(description="who would come first, first")
