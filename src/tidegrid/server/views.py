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


class Output(View):
    path: str
    size: int = 0
    sha256: str | None = None
    state: str | None = None


class OutputList(View):
    items: list[Output]


class BatchRemark(View):
    """line: in the script, 0 elsewhere; fate: used, or left out."""

    line: int = 0
    where: str = ""
    option: str = ""
    fate: str = ""
    text: str


class BatchScript(View):
    """submission: the body for `POST /jobs`, to which inputs may be added; wait, dry_run: what sbatch was asked for."""

    submission: dict[str, Any]
    remarks: list[BatchRemark] = []
    wait: bool = False
    dry_run: bool = False


class Upload(View):
    sha256: str
    size: int


class UploadState(View):
    """id: null once it is done; offset: bytes that have arrived."""

    id: str | None = None
    sha256: str
    size: int
    offset: int = 0
    done: bool = False


class Packed(View):
    stored: int
    bytes: int


class Hashes(View):
    hashes: list[str]


class Dataset(View):
    name: str
    sha256: str
    files: int = 0
    bytes: int = 0
    regions: list[str] = []
    created_at: Time | None = None


class DatasetList(View):
    items: list[Dataset]


class Freed(View):
    name: str
    files: int
    bytes: int


class ProjectQuota(View):
    """bytes, files: in use; arriving_bytes: promised to uploads under way; limits: null for none."""

    project: str = ""
    bytes: int = 0
    files: int = 0
    arriving_bytes: int = 0
    limit_bytes: int | None = None
    limit_files: int | None = None


class Quota(ProjectQuota):
    org: str
    projects: list[ProjectQuota] = []


class App(Open):
    """An application: its document, parameters as JSON Schema, and version."""

    id: str


class AppList(View):
    items: list[App]


class AppVersion(Open):
    """One version. by: who published it, for operators; empty: it came with the program."""

    id: str
    version: str
    current: bool = False
    added_at: Time | None = None


class AppVersions(View):
    items: list[AppVersion]


class AppFile(View):
    path: str
    sha256: str


class Published(Open):
    """A published version. new: it was not there before."""

    id: str
    version: str
    new: bool
    dry_run: bool = False
    files: list[AppFile] = []


class Progress(View):
    """percent: null where nothing is known. source: `log` (the application says so), `tasks` (of an array that have ended) or
    `state`."""

    job: str
    state: str
    percent: float | None = None
    done: float | None = None
    of: float | None = None
    source: str = "state"


class Score(View):
    """n runs; mdape: median of |said / came - 1|; p90_coverage: share of runs that stayed within the p90."""

    n: int
    mdape: float | None = None
    p90_coverage: float | None = None


class PartitionScore(Score):
    partition: str


class PeakScore(View):
    n: int
    p90_coverage: float | None = None


class Accuracy(View):
    """Of one application: what was predicted from its history, beside the wall time asked for and the mean of its earlier runs, for
    the same runs. first: placed before any run was known."""

    app: str
    runs: int
    first: int
    predicted: Score
    wall_time_asked: Score
    mean_of_application: Score
    partitions: list[PartitionScore]
    peak_memory: PeakScore


class AccuracyList(View):
    items: list[Accuracy]


class Network(Open):
    """The network document as applied."""


class SiteFairness(View):
    """A site that promises its own users that they lose nothing by the network. Seconds and bounded slowdowns are those of all its own jobs of
    the last seven days together, wherever they ran."""

    site: str
    clusters: list[str]
    home_of: list[str] = Field(description="organisations whose home it is")
    fair: str = Field(description="what they may not lose: `wait`, or `slowdown` (both)")
    takes_guests: bool
    jobs: int
    waited_s: float
    alone_s: float = Field(description="what they would have waited with this site alone")
    gained_s: float
    slowdown: float
    alone_slowdown: float
    lends_s: float = Field(description="by how much they may be behind")


class FairnessList(View):
    items: list[SiteFairness]


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


class Speed(View):
    """Of good runs of acceptance tests: relative to the other partitions measured, whose geometric mean is 1."""

    relative: float | None = None
    seconds: float
    n: int
    spread: float | None = Field(None, description="half the span of the runs, relative to their median")
    tier: str = "measured"


class Installation(View):
    """A version of an application at a partition."""

    app: str
    version: str
    partition: str
    arch: str = ""
    state: str = Field(description="wanted, installed, verified, tuned, failed or withdrawn")
    remark: str = ""
    reason: str = Field("", description="why, where it failed or an operator said so")
    invoked: str = Field("", description="how it is called there")
    way: dict[str, Any] | None = None
    tested: bool = Field(False, description="the application has acceptance tests")
    speed: Speed | None = None
    changed_at: Time | None = None
    changed_by: str | None = None


class InstallationList(View):
    items: list[Installation]


class InstallationEvent(View):
    id: str
    version: str
    state: str
    reason: str = ""
    way: dict[str, Any] | None = None
    at: Time | None = None
    by: str | None = None


class InstallationHistory(View):
    items: list[InstallationEvent]
    next: str | None = None


class Trial(View):
    """A job that verifies an installation or measures a machine. state: running, passed, failed, or void: it says nothing."""

    id: str
    kind: str
    app: str
    version: str
    partition: str
    test: str = ""
    job: str
    state: str
    failed: list[str] = Field([], description="what was not as expected")
    values: dict[str, Any] = Field({}, description="what the test looked at")
    seconds: float | None = None
    by: str = ""
    created_at: Time | None = None
    ended_at: Time | None = None


class TrialList(View):
    items: list[Trial]


class TrialPage(TrialList):
    next: str | None = None


class LicenceHolder(View):
    org: str
    count: int


class Licence(View):
    """A pool of licences that count together. holders: for operators."""

    name: str
    feature: str
    count: int
    used: int = Field(description="by attempts that were placed and have not ended")
    free: int
    at: list[str] = Field([], description="partitions that it serves")
    holders: list[LicenceHolder] | None = None


class LicenceList(View):
    items: list[Licence]


class MachineCard(View):
    """What a node of a partition can do. card: {schema, host, cpu_s, values: {name: {value, unit, tier, error, n, note}}}."""

    id: str
    partition: str
    measured_at: Time | None = None
    hash: str
    job: str | None = None
    by: str | None = None
    card: dict[str, Any]


class MachineCardList(View):
    items: list[MachineCard]


class MachineCardPage(MachineCardList):
    next: str | None = None


class CustomerDemand(View):
    org: str
    core_hours: float


class PortingItem(View):
    """An application on an architecture: a candidate, or an item of the board. Amounts in yuan, of the window."""

    id: str | None = Field(None, description="null: a candidate that nobody has put on the board")
    rank: int | None = None
    app: str
    arch: str
    state: str
    score: float | None = Field(None, description="yuan a person-day; null: no partition of that architecture has a price")
    worth: float | None = Field(None, description="what the window's demand would have been worth")
    gain: float | None = Field(None, description="yuan saved a core-hour that moves")
    speed: float | None = Field(None, description="of a core there against those in use")
    speed_tier: str = ""
    place: str = Field("", description="where it would run")
    used_core_hours: float = 0.0
    refused_core_hours: float = Field(0.0, description="asked for and refused, at full wall time")
    refused_jobs: int = 0
    customers: list[CustomerDemand] = []
    effort_days: float = 0.0
    effort_tier: str = ""
    note: str = ""
    changed_at: Time | None = None
    changed_by: str | None = None


class PortingList(View):
    items: list[PortingItem]


class PortingStep(View):
    at: Time | None = None
    by: str = ""
    state: str
    effort_days: float | None = None
    note: str = ""


class PortingDetails(PortingItem):
    history: list[PortingStep] = []


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
