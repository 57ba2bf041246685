"""What the jobs' own witness file says, and what a verdict is. Imports nothing of tidegrid."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime

REFUSED = 75  # exit status of a prologue that did not start its application
DOUBLED = ("overlap", "unlicensed", "early_restart", "submitted_twice")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass
class Run:
    """One execution as its job saw it. Times in ns; end is None where no end line was written."""

    token: str
    task: int
    nonce: str
    start: int
    waited_ms: float
    end: int | None = None

    @property
    def attempt(self) -> str:
        return self.nonce.split("/")[0]

    @property
    def native_id(self) -> str:
        return self.nonce.split("/")[1]

    @property
    def cluster(self) -> str:
        """As the cluster itself told the job; empty where it tells nothing."""
        return self.nonce.split("/")[3] if self.nonce.count("/") >= 3 else ""


@dataclass
class Verdict:
    """violations: [kind, what]; counts: what was looked at."""

    violations: list[tuple[str, str]] = field(default_factory=list)
    counts: dict[str, float] = field(default_factory=dict)

    def bad(self, kind: str, what: str) -> None:
        self.violations.append((kind, what))

    @property
    def kinds(self) -> dict[str, int]:
        return dict(Counter(kind for kind, _ in self.violations))

    @property
    def duplicates(self) -> int:
        """Executions that overlapped another of the same task, or were started again without licence."""
        return sum(n for kind, n in self.kinds.items() if kind in DOUBLED)


def micros(text: str) -> int:
    """ISO 8601 in UTC -> µs, exactly."""
    d = datetime.fromisoformat(text.replace("Z", "+00:00")) - _EPOCH
    return (d.days * 86400 + d.seconds) * 1_000_000 + d.microseconds


def read_witness(lines: list[str], verdict: Verdict) -> list[Run]:
    """Runs, in the order of their starts. A line that cannot be read is a violation: lines are written at once."""
    runs: dict[tuple[str, int, str], Run] = {}
    ends: list[tuple[tuple[str, int, str], int]] = []
    for line in lines:
        words = line.split()
        try:
            what, token, task, nonce, at = words[0], words[1], int(words[2]), words[3], int(words[4])
            if what not in ("start", "end") or len(words) != (7 if what == "start" else 6):
                raise ValueError(line)
            key = (token, task, nonce)
            if what == "end":
                ends.append((key, at))
            elif key in runs:
                verdict.bad("malformed", f"two starts of one nonce: {line}")
            else:
                runs[key] = Run(token, task, nonce, at, float(words[6]))
        except (IndexError, ValueError):
            verdict.bad("malformed", f"witness: {line!r}")
    for key, at in ends:
        run = runs.get(key)
        if run is None or run.end is not None:
            verdict.bad("malformed", f"an end without its start, or twice: {key}")
        else:
            run.end = at
    return sorted(runs.values(), key=lambda r: r.start)
