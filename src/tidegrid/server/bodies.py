"""What comes in: strict, bounded, nothing unknown."""

from __future__ import annotations

import base64
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from tidegrid.server.fields import (
    Amount,
    AppName,
    Array,
    EnvName,
    Feature,
    JobId,
    Json,
    Label,
    Name,
    Place,
    RelativePath,
    Sha256,
    Text,
)  # fmt: skip

MAX_BULK = 1000
Directory = Annotated[str, Field(pattern=r"^(/[^\x00-\x1f\x7f]*)?$", max_length=80)]


def _base64(text: str) -> str:
    try:
        base64.b64decode(text, validate=True)
    except ValueError:
        raise ValueError("is no base64") from None
    return text


Base64 = Annotated[str, AfterValidator(_base64), Field(json_schema_extra={"contentEncoding": "base64"})]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ResourcesBody(Body):
    """What one task needs, cores, memory and GPUs on each of its nodes; what is left out comes from the application."""

    cores: Annotated[int, Field(ge=1, le=1_000_000, strict=True)] | None = None
    memory_mib: Annotated[int, Field(ge=1, le=1 << 31, strict=True)] | None = None
    gpus: Annotated[int, Field(ge=0, le=100_000, strict=True)] | None = None
    gpu_type: Label | None = None
    wall_s: (
        Annotated[int, Field(ge=1, le=31_622_400, strict=True, description="limit in seconds")] | Literal["auto"] | None
    ) = Field(default=None, description="limit in seconds; `auto`: from earlier runs of the application, else its document's")
    nodes: Annotated[int, Field(ge=1, le=100_000, strict=True)] | None = None
    ranks: Annotated[int, Field(ge=1, le=100_000, strict=True, description="MPI processes on each node")] | None = None
    exclusive: Annotated[bool, Field(strict=True, description="whole nodes, which are paid for")] | None = None


class ConstraintsBody(Body):
    """Where it may run; empty: anywhere. any_of, ordered, exclude: `cluster` or `cluster/partition`."""

    arch: list[Name] = Field(default=[], max_length=20)
    regions: list[Label] = Field(default=[], max_length=100)
    any_of: list[Place] = Field(default=[], max_length=200)
    ordered: list[Place] = Field(default=[], max_length=200)
    exclude: list[Place] = Field(default=[], max_length=200)
    residency: list[Label] = Field(default=[], max_length=100, description="regions that its data must not leave")


class InputBody(Body):
    """A file for the working directory: an upload by its hash, or an output of another job. tree: an uploaded directory, by the
    hash of the list of its files; they go below the path."""

    path: RelativePath
    sha256: Sha256 | None = None
    tree: Sha256 | None = None
    job: JobId | None = None
    source: RelativePath | None = None

    @model_validator(mode="after")
    def _one_origin(self) -> InputBody:
        if [self.sha256, self.tree, self.job].count(None) != 2 or (self.job is None) != (self.source is None):
            raise ValueError("give sha256, or tree, or job and source")
        return self


class SiteBody(Body):
    """What is passed on to a site that knows it; one that does not refuses the job, which is then placed elsewhere."""

    features: Feature = Field(default="", description="of nodes, as in Slurm's --constraint: `icelake`, `rome|milan`")
    qos: Name | Literal[""] = ""
    warn_s: Annotated[int, Field(ge=0, le=65535, strict=True, description="SIGUSR1 so long before the limit")] = 0


class Submission(Body):
    """A job to be."""

    app: AppName = Field(description="`id` or `id@version`")
    params: Json = Field(default={}, description="by the application's schema")
    name: Label = ""
    project: Name = "default"
    resources: ResourcesBody = ResourcesBody()
    constraints: ConstraintsBody = ConstraintsBody()
    objective: Literal["balanced", "cheapest", "fastest", "deadline", "budget", "patient"] | None = Field(
        default=None, description="default: `deadline` or `budget` where it has one, as its kind of work has it, else `balanced`"
    )
    work: Literal["batch", "interactive", "may_wait", "training"] | None = Field(
        default=None, description="what kind of work it is; default: the application's"
    )
    array: Array = Field(default="", description="task numbers and throttle: `0-9%3`")
    after_ok: list[JobId] = Field(default=[], max_length=1000)
    after_any: list[JobId] = Field(default=[], max_length=1000)
    env: dict[EnvName, Text] = Field(default={}, max_length=256)
    inputs: list[InputBody] = Field(default=[], max_length=1000)
    outputs: list[RelativePath] = Field(default=[], max_length=200, description="globs below the working directory")
    movable: bool | None = None
    restartable: bool = False
    checkpoint_every_s: (
        Annotated[int, Field(ge=1, le=31_622_400, strict=True, description="between two copies of its checkpoint; default: the application's")] | None
    ) = None
    held: bool = False
    begin: AwareDatetime | None = Field(default=None, description="not placed before")
    deadline: AwareDatetime | None = Field(
        default=None, description="by when it should have ended: it goes where that is kept, at the best score; where no place keeps it, where it ends first"
    )
    budget: Amount | None = Field(default=None, description="yuan: places where all of it could cost more, at its full wall time, are left out")
    site: SiteBody = SiteBody()

    def plain(self) -> dict[str, Any]:
        """For the platform: only what was given, so that an application's defaults are not hidden."""
        return self.model_dump(mode="json", exclude_unset=True, exclude_none=True)


class OfferBody(Submission):
    """A job that is asked about only: its inputs need not be there yet."""

    input_bytes: Annotated[int, Field(ge=0, le=1 << 53, strict=True, description="of inputs that are not uploaded yet")] = 0
    input_files: Annotated[int, Field(ge=0, le=1_000_000, strict=True, description="how many those are")] = 0


class ApplicationBody(Body):
    """An application document (YAML) and the files it names, in base64, by the names that `files[].package` has."""

    document: Annotated[str, Field(min_length=1, max_length=1 << 20)]
    files: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,100}$")], Base64] = Field(default={}, max_length=100)

    def contents(self) -> dict[str, bytes]:
        return {name: base64.b64decode(text) for name, text in self.files.items()}


class UploadBody(Body):
    """A content to be sent piece by piece. project: that it is counted to."""

    sha256: Sha256
    size: Annotated[int, Field(ge=0, le=1 << 46, strict=True)]
    project: Name | Literal[""] = ""


class HashesBody(Body):
    hashes: list[Sha256] = Field(max_length=100_000)


class DatasetBody(Body):
    """sha256: of the list of a directory's files, which are uploaded; regions: that they must not leave."""

    sha256: Sha256
    regions: list[Label] = Field(default=[], max_length=100)


class QuotaBody(Body):
    """org: by default one's own; project: of it; null: no limit."""

    org: Name | None = None
    project: Name | Literal[""] = ""
    bytes: Annotated[int, Field(ge=0, le=1 << 61, strict=True)] | None = None
    files: Annotated[int, Field(ge=0, le=1 << 61, strict=True)] | None = None


class BatchScriptBody(Body):
    """A script written for sbatch. options: of the command line; environment: `SBATCH_*` variables; variables: values for
    `--export=NAME`; ignore: options to leave out; utc_offset_s: what the submitter's clock is ahead of UTC."""

    script: Annotated[str, Field(max_length=800_000)] = ""
    name: Label = ""
    options: list[Text] = Field(default=[], max_length=500)
    args: list[Text] = Field(default=[], max_length=1000)
    environment: dict[Annotated[str, Field(pattern=r"^SBATCH_[A-Z0-9_]*$", max_length=128)], Text] = Field(default={}, max_length=100)
    variables: dict[EnvName, Text] = Field(default={}, max_length=256)
    ignore: list[Label] = Field(default=[], max_length=100)
    utc_offset_s: Annotated[int, Field(ge=-86_400, le=86_400, strict=True)] = 0


class SubmissionList(Body):
    jobs: list[Submission] = Field(min_length=1, max_length=MAX_BULK)


class OrgBody(Body):
    name: Name


class ProjectBody(Body):
    name: Name


class UserBody(Body):
    name: Name
    role: Literal["user", "project_admin", "provider", "operator", "auditor"] = "user"


class TokenBody(Body):
    """A new token. user: whose, by default one's own; scopes: fewer than the role gives; expires_in_s: from now."""

    user: Name | None = None
    label: Label = ""
    scopes: list[Name | Annotated[str, Field(pattern=r"^[a-z]+:[a-z]+$", max_length=64)]] = Field(default=[], max_length=32)
    expires_in_s: Annotated[int, Field(ge=1, le=3_162_240_000, strict=True)] | None = None


class DepositBody(Body):
    org: Name
    amount: Amount = Field(description="yuan")
    memo: Label = ""


class SiteAccountBody(Body):
    """A Unix account at a centre. identity: the *name* of a secret of the server; root: absolute, the account's own; account,
    qos: Slurm's."""

    cluster: Name
    user: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_.-]*$", max_length=32)]
    identity: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=63)]
    root: Annotated[str, Field(pattern=r"^/[!-~]+$", max_length=80)]
    account: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]*$", max_length=64)] = ""
    qos: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]*$", max_length=64)] = ""
    kind: Literal["pool", "dedicated"] = "pool"


class BindingBody(Body):
    """To whom, and until when. project: null for all of the organisation's."""

    org: Name
    project: Name | None = None
    until: AwareDatetime | None = None


class SteeringBody(Body):
    """mode: on, or off: then the queue is given back at once; partitions: all where none is named; bound: no job's nice is further
    from its own than this."""

    mode: Literal["on", "off"]
    partitions: list[Name] = Field(default=[], max_length=100)
    policy: Name = "default"
    bound: int = Field(default=1_000_000, ge=1, le=1_000_000_000)


class DiscoverBody(Body):
    """A Slurm cluster to look at. url: `ssh://user@host:port`, empty for the server's own machine; identity: a secret's name;
    host_keys: public keys or fingerprints to trust; accept_host_key: trust what is shown now, and nothing else from then on."""

    url: Label = ""
    name: Annotated[str, Field(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$|^$", max_length=63)] = ""
    identity: Name | Literal[""] = ""
    host_keys: list[Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]*$", max_length=4096)]] = Field(default=[], max_length=10)
    accept_host_key: bool = False
    root: Directory = ""
    slurm_conf: Directory = ""
    path: Annotated[str, Field(pattern=r"^(/[^\x00-\x1f\x7f:]*(:/[^\x00-\x1f\x7f:]*)*)?$", max_length=1000)] = ""
    account: Label = ""
    qos: Label = ""


class InstallationBody(Body):
    """A state that an operator knows; verified and failed are what acceptance tests say."""

    state: Literal["wanted", "installed", "verified", "tuned", "failed", "withdrawn"]
    reason: Label = ""


class VerifyBody(Body):
    """partitions: `cluster` or `cluster/partition`, by default wherever the application is; tests: by name, by default all; runs: of each,
    for a speed with a spread."""

    partitions: list[Place] = Field(default=[], max_length=200)
    tests: list[Label] = Field(default=[], max_length=100)
    runs: Annotated[int, Field(ge=1, le=50, strict=True)] = 1


Days = Annotated[float, Field(ge=0.1, le=10_000, allow_inf_nan=False, description="person-days")]
Arch = Annotated[str, Field(pattern=r"^[a-z0-9_]+$", max_length=32)]


class PortingBody(Body):
    """An application for an architecture that it does not run on."""

    app: Name
    arch: Arch
    effort_days: Days
    note: Label = ""


class PortingMoveBody(Body):
    """What is left out stays as it is."""

    state: Literal["planned", "installing", "porting", "testing", "tuning", "serving", "dropped"] | None = None
    effort_days: Days | None = None
    note: Label | None = None


class CheckBody(Body):
    """wait_s: how long a trial may wait in the queue; document: a network file that describes the cluster, by default the one
    in force."""

    wait_s: Annotated[float, Field(ge=1, le=86_400)] = 60.0
    document: Annotated[str, Field(pattern=r"^[^\x00]*$", max_length=80_000)] = ""
