"""What comes in: strict, bounded, nothing unknown."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

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


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ResourcesBody(Body):
    """What one task needs, cores, memory and GPUs on each of its nodes; what is left out comes from the application."""

    cores: Annotated[int, Field(ge=1, le=1_000_000, strict=True)] | None = None
    memory_mib: Annotated[int, Field(ge=1, le=1 << 31, strict=True)] | None = None
    gpus: Annotated[int, Field(ge=0, le=100_000, strict=True)] | None = None
    gpu_type: Label | None = None
    wall_s: Annotated[int, Field(ge=1, le=31_622_400, strict=True, description="limit in seconds")] | None = None
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


class InputBody(Body):
    """A file for the working directory: an upload by its hash, or an output of another job."""

    path: RelativePath
    sha256: Sha256 | None = None
    job: JobId | None = None
    source: RelativePath | None = None

    @model_validator(mode="after")
    def _one_origin(self) -> InputBody:
        if (self.sha256 is None) == (self.job is None) or (self.job is None) != (self.source is None):
            raise ValueError("give sha256, or job and source")
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
    objective: Literal["balanced", "cheapest", "fastest", "deadline", "budget"] = "balanced"
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
    site: SiteBody = SiteBody()

    def plain(self) -> dict[str, Any]:
        """For the platform: only what was given, so that an application's defaults are not hidden."""
        return self.model_dump(mode="json", exclude_unset=True, exclude_none=True)


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


class CheckBody(Body):
    """wait_s: how long a trial may wait in the queue; document: a network file that describes the cluster, by default the one
    in force."""

    wait_s: Annotated[float, Field(ge=1, le=86_400)] = 60.0
    document: Annotated[str, Field(pattern=r"^[^\x00]*$", max_length=80_000)] = ""
