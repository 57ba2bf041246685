"""Each Slurm command: what to run, and how to read what it said. Nothing here does I/O.

`parse` raises SiteUnsure for whatever is not exactly an answer: absence counts only in a complete one.
"""

from __future__ import annotations

import datetime
import re
import shlex
from dataclasses import dataclass, replace
from functools import lru_cache

from tidegrid.connectors.contract import SiteRefused, SiteUnsure
from tidegrid.connectors.slurm.refusals import refusal, unreachable
from tidegrid.connectors.slurm.shell import Output
from tidegrid.domain.errors import TideError
from tidegrid.domain.ranges import expand

PREFIX = "tg-"
ENDED_STATES = "BF,CA,CD,DL,F,NF,OOM,PR,RQ,TO"


def bounded(command: str, seconds: int) -> str:
    """A hung command ends at the site too, and does not pile up there."""
    return f"timeout -k 2 {seconds} {command}"


def checked(what: str, answer: Output) -> str:
    """The output of a command that must have succeeded."""
    if answer.rc == 0:
        return answer.stdout
    why = " ".join(answer.stderr.split())[:300] or f"exit status {answer.rc}"
    timed_out = answer.rc in (124, 137)
    raise SiteUnsure(
        f"{what}: {'no answer in time' if timed_out else why}", silent=timed_out or unreachable(answer.stderr)
    )


@dataclass(frozen=True, slots=True)
class QueueRow:
    """A line of squeue. base: the array's id, or the job's own; tasks: None where Slurm does not say which (a cancelled
    rest of an array); asked: the tasks it was submitted with. Times: unix seconds, None where there is none. status: raw wait
    status. allocated: it has or had nodes."""

    base: int
    tasks: tuple[int, ...] | None
    state: str
    reason: str
    submitted: int | None
    start: int | None
    end: int | None
    status: int
    restarts: int
    allocated: bool
    name: str
    asked: tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class Squeue:
    """Our jobs in the controller's memory, ended ones too as long as it keeps them. One query."""

    name: str = ""
    seconds: int = 15
    users: str = '"$tide_uid"'  # as shell text
    _FIELDS = (
        "ArrayJobID ArrayTaskID State Reason SubmitTime StartTime EndTime exit_code RestartCnt NodeList Name Comment"
    )

    @property
    def command(self) -> str:
        form = ",".join(f"{f}:|" for f in self._FIELDS.split())
        named = f" --name={shlex.quote(self.name)}" if self.name else ""
        return bounded(f'squeue -h -a -t all -u {self.users}{named} -O {shlex.quote(form)}', self.seconds)

    def parse(self, answer: Output) -> list[QueueRow]:
        rows = []
        for line in checked("squeue", answer).splitlines():
            cells = line.split("|", 11)
            if len(cells) < 12 or not cells[10].startswith(PREFIX):
                if f"|{PREFIX}" in line:
                    raise SiteUnsure(f"squeue: unreadable line {line[:200]!r}", silent=False)
                continue
            try:
                rows.append(_queue_row(line))
            except (ValueError, TideError):
                raise SiteUnsure(f"squeue: unreadable line {line[:200]!r}", silent=False) from None
        return rows


@lru_cache(maxsize=1 << 16)
def _queue_row(line: str) -> QueueRow:
    """Most lines are those of the last answer, for minutes: what has ended, and what waits."""
    base, tasks, state, reason, submit, start, end, status, restarts, nodes, name, comment = line.split("|", 11)
    comment = comment.rstrip("|")
    asked = comment.removeprefix("tide:") if comment.startswith("tide:") else ""
    which: tuple[int, ...] | None = (0,)
    if tasks != "N/A":
        which = expand(tasks.partition("%")[0])
    elif asked:
        which = None
    return QueueRow(
        int(base), which, state, reason, _time(submit), _time(start), _time(end), int(status), int(restarts or 0),
        nodes not in ("", "(null)", "None assigned", "n/a"), name, expand(asked) if asked else None,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class AccountRow:
    """An allocation that ended, of accounting. peak_mib: of its largest step."""

    raw: int
    base: int
    tasks: tuple[int, ...]
    state: str
    code: int
    signal: int
    submitted: int | None
    start: int | None
    end: int
    allocated: bool
    name: str
    peak_mib: int | None = None


@dataclass(frozen=True, slots=True)
class Sacct:
    """Allocations that ended in [since, until) (unix seconds; until 0: now), duplicates of an id included. The window is
    always given: without it sacct begins at midnight, and without states it forgets jobs cancelled early."""

    since: int
    until: int = 0
    name: str = ""
    seconds: int = 30
    users: str = '"$tide_uid"'  # as shell text
    _FIELDS = "JobIDRaw,JobID,State,ExitCode,Submit,Start,End,NodeList,MaxRSS,JobName"

    @property
    def command(self) -> str:
        named = f" --name={shlex.quote(self.name)}" if self.name else ""
        until = _stamp(self.until) if self.until else "now"
        return bounded(
            f'sacct -D -P -n --noconvert -u {self.users} -s {ENDED_STATES}{named} -S {_stamp(self.since)} -E {until} -o {self._FIELDS}',
            self.seconds,
        )

    def parse(self, answer: Output) -> list[AccountRow]:
        rows: list[AccountRow] = []
        peaks: dict[tuple[int, int], int] = {}  # (raw id, number of the row it belongs to)
        current = -1
        for line in checked("sacct", answer).splitlines():
            cells = line.split("|", 9)
            if len(cells) < 10:
                if f"|{PREFIX}" in line:
                    raise SiteUnsure(f"sacct: unreadable line {line[:200]!r}", silent=False)
                continue
            try:
                if "." in cells[0]:  # a step of the allocation above it
                    if current >= 0 and rows[current].raw == int(cells[0].split(".")[0]) and cells[8]:
                        key = (rows[current].raw, current)
                        peaks[key] = max(peaks.get(key, 0), _mib(cells[8]))
                    continue
                current = -1
                if cells[9].startswith(PREFIX) and (row := _account_row(cells)) is not None:
                    rows.append(row)
                    current = len(rows) - 1
            except (ValueError, TideError):
                raise SiteUnsure(f"sacct: unreadable line {line[:200]!r}", silent=False) from None
        return [replace(r, peak_mib=peaks.get((r.raw, i))) for i, r in enumerate(rows)]

    @staticmethod
    def disabled(answer: Output) -> bool:
        return answer.rc != 0 and "accounting storage is disabled" in answer.stderr


_JOBID = re.compile(r"^(\d+)(?:_(?:(\d+)|\[([^\]]*)\]))?$")


def _account_row(cells: list[str]) -> AccountRow | None:
    raw, job, state, code, submit, start, end, nodes, _, name = cells
    match = _JOBID.match(job)
    if match is None:
        raise ValueError(job)
    ended = _time(end)
    if ended is None:
        return None
    tasks = (int(match[2]),) if match[2] else expand(match[3].partition("%")[0]) if match[3] else (0,)
    exit_code, _, killed = code.partition(":")
    return AccountRow(
        int(raw), int(match[1]), tasks, state.split()[0], int(exit_code), int(killed or 0), _time(submit), _time(start),
        ended, nodes not in ("", "None assigned"), name,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sbatch:
    """Submit a script. directory: absolute, of the attempt, made and staged before; whoever makes `.sent` there (O_EXCL) submits, and
    what was answered is kept beside it, so that a name that is sent again gets the first answer and is not submitted twice. `log`, where
    Slurm writes, is made where staging has not."""

    directory: str
    script: str
    options: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()
    seconds: int = 20

    @property
    def command(self) -> str:
        options = " ".join(shlex.quote(o) for o in self.options)
        return f"""cd {shlex.quote(self.directory)} 2>/dev/null || {{ echo 'the attempt has no directory' >&2; exit 90; }}
[ -f {shlex.quote(self.script)} ] || {{ echo 'the batch script is not there' >&2; exit 91; }}
[ -d log ] || mkdir -p log || exit 92
set -C
if {{ true >.sent; }} 2>/dev/null; then
set +C
{bounded(f"sbatch {options}", self.seconds)} >.sent.out 2>.sent.err
echo $? >.sent.rc
fi
[ -e .sent ] || exit 92
n=0
while [ ! -s .sent.rc ]; do n=$((n + 1)); [ "$n" -le 50 ] || exit 93; sleep 0.1; done
while IFS= read -r line || [ -n "$line" ]; do printf '%s\\n' "$line"; done <.sent.out
[ ! -s .sent.err ] || cat .sent.err >&2
read -r code <.sent.rc; echo "sent $code" """

    @property
    def stdin(self) -> str:
        """The batch job: Slurm's variables for this client's own use do not reach it."""
        exports = "".join(f"export {k}={shlex.quote(v)}\n" for k, v in self.environment)
        return (
            "#!/bin/sh\nexport SLURM_EXPORT_ENV=ALL\nunset SLURM_TIME_FORMAT SLURM_BITSTR_LEN TZ LC_ALL\n"
            f"{exports}. {shlex.quote(f'{self.directory}/{self.script}')}\n"  # in this shell: one process less
        )

    def parse(self, answer: Output) -> int:
        if answer.rc in (90, 91):
            raise SiteRefused("site.no_script", f"{self.directory}: {answer.stderr.strip()}: stage the job first")
        if answer.rc == 92:
            raise SiteRefused("site.staging", f"{self.directory}: {' '.join(answer.stderr.split())[:300]}")
        lines = answer.stdout.split("\n")
        code = next((x for x in reversed(lines) if x.startswith("sent ")), "")
        if answer.rc != 0 or not code:
            raise SiteUnsure(f"sbatch: no answer is kept in {self.directory}/.sent.rc", silent=False)
        if code == "sent 0":
            if match := re.search(r"^(\d+)(?:;\S+)?$", answer.stdout, re.M):
                return int(match[1])
            raise SiteUnsure(f"sbatch: no id in {answer.stdout[:200]!r}", silent=False)
        said = refusal(answer.stderr)
        if said is not None and code in ("sent 1", "sent 255"):
            raise SiteRefused(*said)
        why = " ".join(answer.stderr.split())[:300] or code
        raise SiteUnsure(f"sbatch: {why}", silent=unreachable(answer.stderr) or code in ("sent 124", "sent 137"))


@dataclass(frozen=True, slots=True)
class Scancel:
    """By name, always: an id alone may be somebody else's by now. base, tasks: single tasks of an array, as a range.

    scancel with a name *and* tasks cancels every waiting task of the array, so there the id is checked against the name first.
    """

    name: str
    base: int = 0
    tasks: str = ""
    seconds: int = 15

    @property
    def command(self) -> str:
        ours = f'-u "$tide_uid" --name={shlex.quote(self.name)}'
        if not self.tasks:
            return bounded(f"scancel {ours}", self.seconds)
        known = bounded(f"squeue -h -a {ours} -o %F", self.seconds)
        cancel = bounded(f"scancel {shlex.quote(f'{self.base}_[{self.tasks}]')}", self.seconds)
        return f'known=$({known}) || exit 124\ncase " "$(echo $known)" " in *" {self.base} "*) {cancel};; esac'

    def parse(self, answer: Output) -> None:
        gone = all(
            "Invalid job id" in x or "already completing or completed" in x
            for x in answer.stderr.splitlines()
            if x.strip()
        )
        if answer.rc not in (0, 1) or not gone:
            checked("scancel", answer if answer.rc else Output(1, answer.stdout, answer.stderr))


@dataclass(frozen=True, slots=True)
class Ping:
    """The health probe: quick also when the controller is down."""

    seconds: int = 5

    @property
    def command(self) -> str:
        return bounded("scontrol ping", self.seconds)

    def parse(self, answer: Output) -> None:
        if " is UP" not in checked("scontrol ping", answer):
            raise SiteUnsure("scontrol ping: no controller is up")


@dataclass(frozen=True, slots=True)
class Config:
    """What the cluster says of itself. Values by lower-case key."""

    seconds: int = 15

    @property
    def command(self) -> str:
        return bounded("scontrol show config", self.seconds)

    def parse(self, answer: Output) -> dict[str, str]:
        pairs = (line.partition("=") for line in checked("scontrol show config", answer).splitlines())
        values = {k.strip().lower(): v.strip() for k, eq, v in pairs if eq}
        if "slurm_version" not in values:
            raise SiteUnsure("scontrol show config: no version in it", silent=False)
        return values


@dataclass(frozen=True, slots=True)
class NodeRow:
    """A node in one partition. cpus: (in use, idle, unusable, total); limit_s: longest wall time, None: none."""

    partition: str
    node: str
    cpus: tuple[int, int, int, int]
    memory_mib: int
    used_mib: int
    gpus: dict[str, int]
    used_gpus: int
    state: str
    limit_s: int | None

    @property
    def usable(self) -> bool:
        state = self.state.rstrip("*~#!%$@^-+").lower()
        return not any(w in state for w in ("down", "drain", "fail", "maint", "unknown", "power", "reboot", "inval"))

    @property
    def responds(self) -> bool:
        """Whether it answers its controller; a drained one may."""
        state = self.state.lower()
        return "*" not in state and not any(w in state for w in ("down", "unk", "power", "reboot"))


@dataclass(frozen=True, slots=True)
class Sinfo:
    """All nodes of all partitions."""

    seconds: int = 15
    _FIELDS = "Partition NodeList CPUsState Memory AllocMem Gres GresUsed StateLong Time"

    @property
    def command(self) -> str:
        form = ",".join(f"{f}:|" for f in self._FIELDS.split())
        return bounded(f"sinfo -h -a -N -O {shlex.quote(form)}", self.seconds)

    def parse(self, answer: Output) -> list[NodeRow]:
        rows = []
        for line in checked("sinfo", answer).splitlines():
            cells = line.split("|")
            try:
                partition, node, cpus, memory, used, gres, gres_used, state, limit = cells[:9]
                a, i, o, t = (int(x) for x in cpus.split("/"))
                rows.append(
                    NodeRow(
                        partition.rstrip("*"), node, (a, i, o, t), int(memory), int(used or 0), gpus(gres),
                        sum(gpus(gres_used).values()), state, seconds(limit),
                    )
                )  # fmt: skip
            except ValueError:
                raise SiteUnsure(f"sinfo: unreadable line {line[:200]!r}", silent=False) from None
        return rows


@dataclass(frozen=True, slots=True)
class LoadRow:
    """A job of anybody. left_s: of its wall time."""

    partition: str
    running: bool
    left_s: int
    wall_s: int
    cores: int
    memory_mib: int
    gpus: int


@dataclass(frozen=True, slots=True)
class Load:
    """Everybody's running and waiting jobs, waiting ones in the order of priority."""

    rows: int = 2000
    seconds: int = 15
    _FIELDS = "Partition State TimeLeft TimeLimit NumCPUs tres-alloc NumNodes tres-per-node tres-per-job"

    @property
    def command(self) -> str:
        form = ",".join(f"{f}:|" for f in self._FIELDS.split())
        return bounded(f"squeue -h -a -t R,PD -S -p -O {shlex.quote(form)}", self.seconds)

    def parse(self, answer: Output) -> list[LoadRow]:
        rows = []
        for line in checked("squeue", answer).splitlines()[: self.rows]:
            cells = line.split("|")
            if len(cells) < 9:
                continue
            wall = seconds(cells[3]) or 0
            tres = dict(p.partition("=")[::2] for p in cells[5].split(","))
            # a cluster that does not account for GPUs leaves them out of the allocation
            asked = _asked_gpus(cells[7]) * int(cells[6] or 1) or _asked_gpus(cells[8])
            rows.append(
                LoadRow(
                    cells[0].split(",")[0], cells[1] == "RUNNING", seconds(cells[2]) or 0, wall, int(cells[4] or 0),
                    _mib(tres.get("mem", "0")), int(tres.get("gres/gpu", "0") or 0) or asked,
                )
            )  # fmt: skip
        return rows


# Values ---------------------------------------------------------------------------------------------------------------

_SPAN = re.compile(r"^(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)$")
_GPU = re.compile(r"(?:^|,)gpu(?::([^:,(]+))?:(\d+)")
_ASKED = re.compile(r"(?:^|[,:/])gpu(?::[^:=,(]*[^\d:=,(][^:=,(]*)?(?:[:=](\d+))?(?=$|[,(])")
_UNITS = {"": 1 / (1 << 20), "K": 1 / 1024, "M": 1.0, "G": 1024.0, "T": 1024.0 * 1024}


def seconds(text: str) -> int | None:
    """`1-02:03:04` as seconds; None for no limit. ValueError otherwise."""
    if text.lower() in ("unlimited", "infinite", "n/a", "invalid", "not_set", ""):
        return None
    match = _SPAN.match(text)
    if match is None:
        raise ValueError(text)
    days, hours, minutes, rest = (int(x or 0) for x in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + rest


def gpus(text: str) -> dict[str, int]:
    """`gpu:a100:4(S:0-1)` -> {"a100": 4}; untyped ones under the empty name."""
    found: dict[str, int] = {}
    for kind, count in _GPU.findall(text):
        found[kind] = found.get(kind, 0) + int(count)
    return found


def _asked_gpus(text: str) -> int:
    """GPUs in `gres:gpu:a100:2`, `gres/gpu:a100=2` or `gres/gpu:2`: releases write it differently; a bare `gpu` is one."""
    return sum(int(count or 1) for count in _ASKED.findall(text))


def _mib(text: str) -> int:
    """`2904K`, `100M`, `4G` or bytes, rounded up to MiB."""
    unit = text[-1] if text and text[-1] in "KMGT" else ""
    value = float(text[: len(text) - len(unit)] or 0) * _UNITS[unit]
    return -int(-value // 1)


def _time(text: str) -> int | None:
    """Unix seconds of SLURM_TIME_FORMAT=%s; None for Unknown, None, N/A. ValueError otherwise."""
    if text in ("Unknown", "None", "N/A", "", "0"):
        return None
    return int(text)


def _stamp(at: int) -> str:
    return datetime.datetime.fromtimestamp(at, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S")
