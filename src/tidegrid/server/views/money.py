"""Use, balances and settlement with a centre, as they go out."""

from __future__ import annotations

from pydantic import Field

from tidegrid.server.views.base import Money, Open, Time, View


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


class Balance(Open):
    """An organisation's prepaid account."""


class Deposit(Open):
    """A journalled deposit."""


class JournalCheck(Open):
    """Whether the books balance, and where they do not."""
