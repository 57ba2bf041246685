"""How a place is doing: signs of trouble and of work done, counted with decay, and what follows from them.

A place is a cluster, or one partition of it. Each sign speaks of one faculty: taking jobs (submit), running them (run), answering
(contact). A place whose troubles are many *and* a large share of what happens there becomes suspect, then is drained; it comes back
by probes, half-open at first. Leaving a condition takes less trouble than entering it took. An operator's word wins over all of it.

Pure: times are microseconds, passed in; the same signs at the same times give the same standing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

SECOND = 1_000_000


class Faculty(StrEnum):
    SUBMIT = "submit"
    RUN = "run"
    CONTACT = "contact"


class Sign(StrEnum):
    """What was seen. Weights are numbers of jobs, for ANSWERED and UNANSWERED of ten seconds."""

    ACCEPTED = "accepted"
    REFUSED = "refused"  # for a reason that is the site's, not the job's
    DOUBT = "doubt"  # a submission or a job of which nothing could be said
    RAN = "ran"  # to an end of its own, whatever the exit status
    NODE_FAILED = "node_failed"
    LAUNCH_FAILED = "launch_failed"  # allocated, and never came to its application
    NODES_DOWN = "nodes_down"  # waits for nodes that are not there
    ANSWERED = "answered"
    UNANSWERED = "unanswered"


_MEANS: Mapping[Sign, tuple[Faculty, bool]] = {  # (faculty, trouble)
    Sign.ACCEPTED: (Faculty.SUBMIT, False),
    Sign.REFUSED: (Faculty.SUBMIT, True),
    Sign.DOUBT: (Faculty.SUBMIT, True),
    Sign.RAN: (Faculty.RUN, False),
    Sign.NODE_FAILED: (Faculty.RUN, True),
    Sign.LAUNCH_FAILED: (Faculty.RUN, True),
    Sign.NODES_DOWN: (Faculty.RUN, True),
    Sign.ANSWERED: (Faculty.CONTACT, False),
    Sign.UNANSWERED: (Faculty.CONTACT, True),
}
TEXTS: Mapping[Faculty, str] = {
    Faculty.SUBMIT: "it refuses jobs or leaves them in doubt",
    Faculty.RUN: "jobs fail there before they end",
    Faculty.CONTACT: "it answers only now and then",
}


class Condition(StrEnum):
    """ok, suspect and draining follow from signs; the others come from elsewhere and win, the later the stronger."""

    OK = "ok"
    SUSPECT = "suspect"  # still used, where nothing better is to be had
    DRAINING = "draining"  # nothing new is sent there until probes succeed
    SILENT = "silent"
    DRAINED = "drained"  # by an operator
    DEAD = "dead"  # by an operator


@dataclass(frozen=True, slots=True)
class Limits:
    """half_life: of every count; level: how much trouble, at most `burst` of it in `burst_s`, so that what fails in one moment is
    one event; share: of all signs of the faculty; calm: below which level or share it is over; trial: shortest time as suspect;
    rest: before the first probe, doubled with every further drain and every failed probe up to rest_max; probes: that must succeed
    in a row; probe_wait: for one; forget: time as ok after which earlier drains count no more; hush: after an operator's
    `resume`, nothing is drained for so long. Seconds. auto: False: nothing is ever drained."""

    half_life: float = 600.0
    burst: float = 2.0
    burst_s: float = 10.0
    suspect_level: float = 2.0
    suspect_share: float = 0.2
    drain_level: float = 4.0
    drain_share: float = 0.5
    calm_level: float = 1.0
    calm_share: float = 0.05
    trial: float = 120.0
    rest: float = 30.0
    rest_max: float = 3600.0
    probes: int = 2
    probe_wait: float = 900.0
    forget: float = 3600.0
    hush: float = 600.0
    auto: bool = True


@dataclass(frozen=True, slots=True)
class Counts:
    """Of one faculty, decayed to the standing's time. bad, good: all signs; level: bad ones, bursts cut."""

    good: float = 0.0
    bad: float = 0.0
    level: float = 0.0
    burst: float = 0.0
    burst_at: int = 0

    @property
    def share(self) -> float:
        return self.bad / (self.bad + self.good) if self.bad else 0.0


_NONE = Counts()


@dataclass(frozen=True, slots=True)
class Standing:
    """condition: OK, SUSPECT or DRAINING; since, at: when it became so, and what the counts are decayed to; cause: the faculty that
    brought it there; trips: drains that are not forgotten; due: when a probe may go; passed: probes in a row; hush_until: an
    operator's resume holds until then."""

    condition: Condition = Condition.OK
    since: int = 0
    at: int = 0
    cause: str = ""
    counts: Mapping[str, Counts] = field(default_factory=dict)
    trips: int = 0
    due: int = 0
    passed: int = 0
    hush_until: int = 0

    def of(self, faculty: Faculty) -> Counts:
        return self.counts.get(faculty, _NONE)

    def to_json(self) -> dict[str, Any]:
        body = asdict(self)
        body["condition"] = str(self.condition)
        return body

    @staticmethod
    def from_json(body: Mapping[str, Any]) -> Standing:
        counts = {k: Counts(**v) for k, v in body["counts"].items()}
        return Standing(**{**body, "condition": Condition(body["condition"]), "counts": counts})

    def figures(self) -> dict[str, float]:
        """For people: of the faculty that is worst now, its share of trouble and the level, rounded."""
        worst = Faculty(self.cause) if self.cause else max(Faculty, key=lambda f: self.of(f).level)
        c = self.of(worst)
        return {"trouble": round(c.bad, 1), "fine": round(c.good, 1), "share": round(c.share, 2), "level": round(c.level, 1)}


def step(s: Standing, now: int, signs: Iterable[tuple[Sign, float]] = (), limits: Limits = Limits()) -> Standing:
    """The standing after the signs; without any, after time alone. A clock that went back counts as one that stood still."""
    now = max(now, s.at)
    left = 0.5 ** ((now - s.at) / SECOND / limits.half_life) if s.at else 1.0
    counts = {
        k: replace(c, good=c.good * left, bad=c.bad * left, level=c.level * left) for k, c in s.counts.items()
    }
    for sign, weight in signs:
        faculty, trouble = _MEANS[sign]
        c = counts.get(faculty, _NONE)
        counts[faculty] = _bad(c, now, max(weight, 0.0), limits) if trouble else replace(c, good=c.good + max(weight, 0.0))
    return _judge(replace(s, at=now, counts=counts), now, limits)


def _bad(c: Counts, now: int, weight: float, limits: Limits) -> Counts:
    burst, at = (c.burst, c.burst_at) if now - c.burst_at < limits.burst_s * SECOND else (0.0, now)
    more = min(weight, max(limits.burst - burst, 0.0))
    return replace(c, bad=c.bad + weight, level=c.level + more, burst=burst + more, burst_at=at)


def _judge(s: Standing, now: int, limits: Limits) -> Standing:
    if s.condition is Condition.DRAINING:
        return s  # only probes and operators end it
    if s.condition is Condition.OK and s.trips and now - s.since >= limits.forget * SECOND:
        s = replace(s, trips=0)
    failing = [f for f in Faculty if (c := s.of(f)).level >= limits.drain_level and c.share >= limits.drain_share]
    if failing and limits.auto and now >= s.hush_until:
        cause = max(failing, key=lambda f: s.of(f).share)
        trips = s.trips + 1
        return replace(
            s, condition=Condition.DRAINING, since=now, cause=str(cause), trips=trips, passed=0,
            due=now + _rest(trips, limits),
        )  # fmt: skip
    if s.condition is Condition.OK:
        bad = [f for f in Faculty if (c := s.of(f)).level >= limits.suspect_level and c.share >= limits.suspect_share]
        if bad:
            return replace(s, condition=Condition.SUSPECT, since=now, cause=str(max(bad, key=lambda f: s.of(f).share)))
        return s
    calm = all(c.level < limits.calm_level or c.share < limits.calm_share for c in s.counts.values())
    if calm and now - s.since >= limits.trial * SECOND:
        return replace(s, condition=Condition.OK, since=now, cause="")
    return s


def _rest(times: int, limits: Limits) -> int:
    return int(min(limits.rest * 2.0 ** min(times - 1, 30), limits.rest_max) * SECOND)


def probed(s: Standing, now: int, ok: bool, limits: Limits = Limits()) -> Standing:
    """A probe has ended. What comes back is suspect for a while, and half-way to the next drain."""
    if s.condition is not Condition.DRAINING:
        return s
    now = max(now, s.at)
    if not ok:
        trips = s.trips + 1
        return replace(s, passed=0, trips=trips, due=now + _rest(trips, limits))
    passed = s.passed + 1
    if passed < limits.probes:
        return replace(s, passed=passed, due=now)
    counts = {f: _NONE for f in s.counts} | {s.cause: Counts(good=float(passed), level=limits.suspect_level)}
    return replace(s, condition=Condition.SUSPECT, since=now, at=now, counts=counts, passed=0, due=0)


def resumed(s: Standing, now: int, limits: Limits = Limits()) -> Standing:
    """An operator's word that it is well: counts begin anew, and nothing is drained for `hush`."""
    return Standing(since=now, at=now, hush_until=now + int(limits.hush * SECOND))


def wants_probe(s: Standing, now: int) -> bool:
    return s.condition is Condition.DRAINING and now >= s.due


def shown(condition: Condition, *, silent: bool = False, drained: bool = False, dead: bool = False) -> Condition:
    """The one word for a place: what an operator said wins, then silence, then the signs."""
    if dead:
        return Condition.DEAD
    if drained:
        return Condition.DRAINED
    return Condition.SILENT if silent else condition


# Whose fault a refusal is -----------------------------------------------------------------------------------------------

# These say that the site takes nobody's jobs, or none of ours. Others, as too long a wall time, say something of the job only.
_OF_THE_SITE: Mapping[str, float] = {
    "site.partition_down": 1.0,
    "site.no_partition": 1.0,
    "site.forbidden": 1.0,
    "site.account": 1.0,
    "site.qos": 1.0,
    "site.policy": 0.5,
    "site.staging": 1.0,
    "site.no_script": 0.5,
    "site.launch_failed": 1.0,
    "site.held": 0.5,
    "site.full": 0.5,
    "store.no_space": 1.0,
}


def blame(code: str) -> float:
    """What a refusal with this code says against the site: 0 (it is the job's own) to 1."""
    return _OF_THE_SITE.get(code, 0.0)
