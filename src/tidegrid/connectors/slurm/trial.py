"""The tiny jobs by which a cluster is tried: their scripts, and the commands that watch them. Nothing here does I/O.

They are named `tide-check-…`, which the server's own connector does not take for its jobs.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from tidegrid.connectors.contract import SiteUnsure
from tidegrid.connectors.slurm.commands import bounded, checked
from tidegrid.connectors.slurm.shell import Output

PREFIX = "tide-check-"
FIRST, LATE = 0, 1  # fences: the server claims FIRST before the job is sent, the job claims LATE before it says so
RACED = range(10, 30)  # fences that both run for, from opposite ends
GONE_S = 70  # how long a trial waits for the starting shot; network filesystems show new files late
NOT_WRITABLE = 73

# What a node must be able to do is what the batch script of real jobs does there.
SCRIPT = f"""cd @DIRECTORY@ || exit 71
missing=
for c in ln readlink setsid mv cp mkdir date cat sleep kill; do command -v $c >/dev/null || missing="$missing $c"; done
[ -r /proc/sys/kernel/random/uuid ] || missing="$missing /proc/sys/kernel/random/uuid"
me=$SLURM_JOB_ID:$(uname -n)
claim() {{ ln -sn "$me" "fence-$1.0" 2>/dev/null; }}
{{
echo "host $(uname -n)"
echo "clock $(date +%s%6N)"
echo "token $(cat token)"
echo "missing$missing"
if claim {FIRST}; then echo "first won"; else echo "first $(readlink fence-{FIRST}.0)"; fi
if claim {LATE}; then echo "late won"; else echo "late lost"; fi
}} >.said || exit {NOT_WRITABLE}
mv .said said || exit {NOT_WRITABLE}
n=0
until [ -e go ] || [ $n -ge {GONE_S * 10} ]; do sleep 0.1; n=$((n + 1)); done
i={RACED[-1]} won=
while [ $i -ge {RACED[0]} ]; do
if claim $i; then won="$won $i"; fi
i=$((i - 1))
done
echo "won$won" >.won && mv .won won
"""
SLEEPER = "exec sleep 600\n"
ARRAY = 'cd @DIRECTORY@ && echo "$SLURM_ARRAY_TASK_ID" >"task-$SLURM_ARRAY_TASK_ID"\n'
HUNGRY_MIB, FED_MIB = 256, 64  # what the job takes, and what it asked for
HUNGRY = f"""cd @DIRECTORY@ || exit 71
if dd if=/dev/zero of=/dev/null bs={HUNGRY_MIB}M count=1 2>/dev/null; then echo survived >.ate; else echo stopped >.ate; fi
mv .ate ate
"""


def script(text: str, directory: str) -> bytes:
    """directory: absolute."""
    return text.replace("@DIRECTORY@", shlex.quote(directory)).encode()


@dataclass(frozen=True, slots=True)
class Said:
    """What a trial wrote first. clock_us: the node's."""

    host: str
    clock_us: int
    token: str
    missing: tuple[str, ...]
    first: str
    late: str


def said(text: str) -> Said:
    """ValueError where something is missing in it."""
    rows = dict(line.partition(" ")[::2] for line in text.splitlines())
    try:
        return Said(
            rows["host"], int(rows["clock"]), rows["token"], tuple(rows["missing"].split()), rows["first"], rows["late"]
        )
    except KeyError as e:
        raise ValueError(f"no {e} in {text[:200]!r}") from None


@dataclass(frozen=True, slots=True)
class TrialRow:
    """A trial in the queue. status: raw wait status."""

    name: str
    state: str
    reason: str
    status: int

    @property
    def ended(self) -> bool:
        return self.state not in ("PENDING", "RUNNING", "CONFIGURING", "COMPLETING", "SUSPENDED", "STAGE_OUT", "REQUEUED")

    @property
    def how(self) -> str:
        code = f"exit status {self.status >> 8}" if self.status >> 8 else f"signal {self.status}" if self.status else ""
        return f"{self.state}{f', {code}' if code else ''}" + (f", {self.reason}" if self.reason not in ("None", "") else "")


@dataclass(frozen=True, slots=True)
class Trials:
    """Our trials in the controller's memory."""

    names: tuple[str, ...]
    seconds: int = 15

    @property
    def command(self) -> str:
        form = "State:|,Reason:|,exit_code:|,Name:|"
        return bounded(f'squeue -h -a -t all -u "$tide_uid" --name={shlex.quote(",".join(self.names))} -O {shlex.quote(form)}', self.seconds)

    def parse(self, answer: Output) -> list[TrialRow]:
        rows = []
        for line in checked("squeue", answer).splitlines():
            cells = line.split("|")
            if len(cells) < 4 or not cells[3].startswith(PREFIX):
                continue
            try:
                rows.append(TrialRow(cells[3], cells[0], cells[1], int(cells[2] or 0)))
            except ValueError:
                raise SiteUnsure(f"squeue: unreadable line {line[:200]!r}", silent=False) from None
        return rows


@dataclass(frozen=True, slots=True)
class Accounted:
    """Which of these names accounting knows."""

    names: tuple[str, ...]
    seconds: int = 30

    @property
    def command(self) -> str:
        return bounded(
            f'sacct -X -P -n -u "$tide_uid" --name={shlex.quote(",".join(self.names))} -S now-2hours -E now -o JobName,State',
            self.seconds,
        )

    def parse(self, answer: Output) -> set[str]:
        names = {line.partition("|")[0] for line in checked("sacct", answer).splitlines()}
        return names & set(self.names)


def race(won: Sequence[int], server: Sequence[int]) -> str:
    """"" where every raced fence has exactly one holder; else what is wrong."""
    both = sorted(set(won) & set(server))
    neither = sorted(set(RACED) - set(won) - set(server))
    if both:
        return f"{len(both)} of {len(RACED)} links were won by the job and by the login node"
    return f"{len(neither)} of {len(RACED)} links were won by nobody" if neither else ""
