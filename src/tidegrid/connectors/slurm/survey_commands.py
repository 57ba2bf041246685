"""The commands that tell what a cluster is: who we are there, partitions, nodes, accounts, QOS, filesystems. As in
`commands`: what to run, and how to read what it said; nothing here does I/O."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from tidegrid.connectors.contract import SiteUnsure
from tidegrid.connectors.slurm.commands import bounded, checked, gpus, seconds
from tidegrid.connectors.slurm.shell import Output

NEEDED = ("sbatch", "squeue", "scancel", "scontrol", "sinfo")
OPTIONAL = ("sacct", "sacctmgr")


@dataclass(frozen=True, slots=True)
class Tools:
    """Which of Slurm's commands the account finds: path by name, "" where there is none."""

    seconds: int = 10

    @property
    def command(self) -> str:
        names = " ".join(NEEDED + OPTIONAL)
        return f'for c in {names}; do printf "%s %s\\n" "$c" "$(command -v "$c")"; done'

    def parse(self, answer: Output) -> dict[str, str]:
        rows = dict(line.partition(" ")[::2] for line in checked("command -v", answer).splitlines() if line)
        if set(rows) != set(NEEDED + OPTIONAL):
            raise SiteUnsure(f"command -v: {answer.stdout[:200]!r}", silent=False)
        return rows


@dataclass(frozen=True, slots=True)
class Me:
    """The account at the site. time_zone: "" where it cannot be told."""

    user: str
    uid: int
    groups: tuple[str, ...]
    home: str
    arch: str
    host: str
    time_zone: str


@dataclass(frozen=True, slots=True)
class Identity:
    """Who and where we are."""

    seconds: int = 10

    @property
    def command(self) -> str:
        return 'id -un; id -u; id -Gn; printf "%s\\n" "$HOME"; uname -m; uname -n; readlink -f /etc/localtime || echo'

    def parse(self, answer: Output) -> Me:
        lines = checked("id", answer).split("\n")
        try:
            user, uid, groups, home, arch, host, zone = lines[:7]
            _, found, name = zone.partition("/zoneinfo/")
            return Me(user, int(uid), tuple(groups.split()), home.rstrip("/") or "/", arch, host, name if found else "")
        except ValueError:
            raise SiteUnsure(f"id: {answer.stdout[:200]!r}", silent=False) from None


@dataclass(frozen=True, slots=True)
class PartitionRow:
    """A partition as Slurm describes it. Empty tuples of allowed: everybody; max_time_s, max_nodes: None without a limit."""

    name: str
    state: str
    default: bool
    hidden: bool
    root_only: bool
    nodes: int
    max_time_s: int | None
    max_nodes: int | None
    accounts: tuple[str, ...] = ()
    denied_accounts: tuple[str, ...] = ()
    qos: tuple[str, ...] = ()
    denied_qos: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ShowPartitions:
    """All partitions, hidden ones too. Releases add keys now and then; they are read by name."""

    seconds: int = 15

    @property
    def command(self) -> str:
        return bounded("scontrol show partition -o -a", self.seconds)

    def parse(self, answer: Output) -> list[PartitionRow]:
        rows = []
        for line in checked("scontrol show partition", answer).splitlines():
            if not line.strip() or line.startswith("No partitions"):
                continue
            v = pairs(line)
            try:
                rows.append(
                    PartitionRow(
                        v["PartitionName"], v["State"], v.get("Default") == "YES", v.get("Hidden") == "YES",
                        v.get("RootOnly") == "YES", int(v.get("TotalNodes", "0")), seconds(v.get("MaxTime", "")),
                        _limit(v.get("MaxNodes", "")), _names(v.get("AllowAccounts", "")),
                        _names(v.get("DenyAccounts", "")), _names(v.get("AllowQos", "")), _names(v.get("DenyQos", "")),
                        _names(v.get("AllowGroups", "")),
                    )
                )  # fmt: skip
            except (KeyError, ValueError):
                raise SiteUnsure(f"scontrol show partition: unreadable line {line[:200]!r}", silent=False) from None
        return rows


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """A node. cpus: what Slurm gives to jobs, hardware threads where it counts them (threads of a core > 1); gpus by type,
    untyped ones under the empty name; arch: "" where the node never came up."""

    name: str
    arch: str
    cpus: int
    threads: int
    memory_mib: int
    gpus: tuple[tuple[str, int], ...]
    features: tuple[str, ...]
    state: str
    partitions: tuple[str, ...]

    @property
    def usable(self) -> bool:
        return not re.search(r"DOWN|DRAIN|FAIL|MAINT|UNKNOWN|POWERED_DOWN|INVAL|REBOOT|NOT_RESPONDING|\*", self.state)


@dataclass(frozen=True, slots=True)
class ShowNodes:
    """All nodes."""

    seconds: int = 30

    @property
    def command(self) -> str:
        return bounded("scontrol show node -o -a", self.seconds)

    def parse(self, answer: Output) -> list[NodeFacts]:
        rows = []
        for line in checked("scontrol show node", answer).splitlines():
            if not line.strip() or line.startswith("No nodes"):
                continue
            v = pairs(line)
            try:
                rows.append(
                    NodeFacts(
                        v["NodeName"], v.get("Arch", ""), int(v.get("CPUEfctv") or v["CPUTot"]),
                        int(v.get("ThreadsPerCore", "1")),
                        int(v["RealMemory"]) - int(v.get("MemSpecLimit", "0")),
                        tuple(sorted((k, n) for k, n in gpus(v.get("Gres", "")).items() if n)),
                        _names(v.get("ActiveFeatures", "")), v["State"], _names(v.get("Partitions", "")),
                    )
                )  # fmt: skip
            except (KeyError, ValueError):
                raise SiteUnsure(f"scontrol show node: unreadable line {line[:200]!r}", silent=False) from None
        return rows


@dataclass(frozen=True, slots=True)
class Association:
    """What the account may submit under. partition: "" for all; max_submit: jobs at once, None without a limit."""

    account: str
    partition: str
    qos: tuple[str, ...]
    default_qos: str
    max_submit: int | None
    max_wall_s: int | None


@dataclass(frozen=True, slots=True)
class Associations:
    """The account's associations with one cluster, by slurmdbd."""

    cluster: str
    seconds: int = 20
    _FIELDS = "account,partition,qos,defaultqos,maxsubmitjobs,maxwall"

    @property
    def command(self) -> str:
        where = f'user="$(id -un)" cluster={shlex.quote(self.cluster)}'
        return bounded(f"sacctmgr -n -P show assoc {where} format={self._FIELDS}", self.seconds)

    def parse(self, answer: Output) -> list[Association]:
        rows = []
        for line in checked("sacctmgr show assoc", answer).splitlines():
            cells = line.split("|")
            if not line.strip():
                continue
            try:
                account, partition, qos, default, submit, wall = cells[:6]
                rows.append(Association(account, partition, _names(qos), default, _limit(submit), seconds(wall)))
            except ValueError:
                raise SiteUnsure(f"sacctmgr: unreadable line {line[:200]!r}", silent=False) from None
        return rows


@dataclass(frozen=True, slots=True)
class DefaultAccount:
    """Under which account sbatch books where none is named; "" where there is none."""

    seconds: int = 20

    @property
    def command(self) -> str:
        return bounded('sacctmgr -n -P show user name="$(id -un)" format=user,defaultaccount', self.seconds)

    def parse(self, answer: Output) -> str:
        first = checked("sacctmgr show user", answer).strip().partition("\n")[0]
        return first.partition("|")[2].strip("|").strip()


@dataclass(frozen=True, slots=True)
class Qos:
    """A QOS. Limits are of one user; None: no limit."""

    name: str
    priority: int
    max_wall_s: int | None
    max_submit: int | None


@dataclass(frozen=True, slots=True)
class ListQos:
    """Every QOS of the centre; which of them the account may use is in its associations."""

    seconds: int = 20
    _FIELDS = "name,priority,maxwall,maxsubmitpu"

    @property
    def command(self) -> str:
        return bounded(f"sacctmgr -n -P show qos format={self._FIELDS}", self.seconds)

    def parse(self, answer: Output) -> list[Qos]:
        rows = []
        for line in checked("sacctmgr show qos", answer).splitlines():
            if not line.strip():
                continue
            try:
                name, priority, wall, submit = line.split("|")[:4]
                rows.append(Qos(name, int(priority or 0), seconds(wall), _limit(submit)))
            except ValueError:
                raise SiteUnsure(f"sacctmgr: unreadable line {line[:200]!r}", silent=False) from None
        return rows


@dataclass(frozen=True, slots=True)
class Place:
    """A directory that the account may write to. kind: the filesystem's type; free: bytes."""

    path: str
    kind: str
    free: int

    @property
    def networked(self) -> bool:
        """Whether compute nodes can see it at all, going by the type; that they do, only a job can tell."""
        return any(w in self.kind.lower() for w in _NETWORKED)


_NETWORKED = (
    "nfs", "lustre", "gpfs", "beegfs", "ceph", "panfs", "weka", "gluster", "orangefs", "pvfs", "cifs", "smb", "afs",
    "daos", "juicefs", "parastor", "yrfs", "quobyte", "moosefs", "fhgfs",
)  # fmt: skip
_VARIABLES = ("SCRATCH", "WORK", "PROJECT", "DATA")
_BASES = ("/scratch", "/work", "/data", "/lustre", "/gpfs", "/beegfs", "/project", "/share")


@dataclass(frozen=True, slots=True)
class Places:
    """Where the root may lie: the home, what the login shell's variables name, and usual directories of the account."""

    seconds: int = 20

    @property
    def command(self) -> str:
        words = " ".join(f'"${v}"' for v in _VARIABLES)
        bases = " ".join(_BASES)
        return f"""me=$(id -un); sh=$(getent passwd "$me" 2>/dev/null | cut -d: -f7)
{{ printf '%s\\n' "$HOME"
timeout -k 1 5 "${{sh:-/bin/sh}}" -lc 'printf "%s\\n" {words}' </dev/null 2>/dev/null
for b in {bases}; do printf '%s\\n' "$b/$me" "$b/home/$me" "$b/users/$me"; done; }} |
while read -r d; do
case $d in /*) ;; *) continue ;; esac
[ -d "$d" ] && [ -w "$d" ] || continue
timeout -k 1 5 df -PTk "$d" 2>/dev/null | tail -n 1 | while read -r _ kind _ _ free _; do printf '%s\\t%s\\t%s\\n' "$kind" "$free" "$d"; done
done; :"""

    def parse(self, answer: Output) -> list[Place]:
        """What cannot be read is left out: these are suggestions."""
        found: dict[str, Place] = {}
        for line in checked("df", answer).splitlines():
            kind, _, rest = line.partition("\t")
            free, tab, path = rest.partition("\t")
            path = path.rstrip("/")
            if tab and free.isdigit() and path.startswith("/") and path.isprintable():
                found.setdefault(path, Place(path, kind, int(free) * 1024))
        return list(found.values())


# Values ---------------------------------------------------------------------------------------------------------------

_KEY = re.compile(r"(?:^|\s)([A-Za-z][A-Za-z_]*)=")


def pairs(line: str) -> dict[str, str]:
    """`Key=value Key=value …` of `scontrol -o`; a value may hold blanks. Of a key that comes twice, the first counts."""
    marks = list(_KEY.finditer(line))
    ends = [m.start() for m in marks[1:]] + [len(line)]
    found: dict[str, str] = {}
    for mark, end in zip(marks, ends, strict=False):  # one end too many where there is no mark
        found.setdefault(mark[1], line[mark.end() : end].strip())
    return found


def _names(text: str) -> tuple[str, ...]:
    return () if text in ("", "ALL", "(null)", "N/A", "NONE") else tuple(n for n in text.split(",") if n)


def _limit(text: str) -> int | None:
    """ValueError where it is neither a number nor a word for none."""
    return None if text.upper() in ("", "UNLIMITED", "INFINITE", "N/A", "(NULL)") else int(text)
