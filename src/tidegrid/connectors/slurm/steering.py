"""A Slurm queue put into a policy's order by the nice values of its waiting jobs, and given back whatever happens.

Before a job's nice is changed, what it had is written down at the site (`undo`). A guard there watches a lease that each step
renews: when it runs out because the steerer was killed, cut off or stopped, the guard gives every job its own nice back. What
the guard could not do, because the login node went down with it, the next start or `undo` does.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tidegrid.connectors.contract import SiteRefused, SiteUnsure
from tidegrid.connectors.slurm.commands import bounded, checked
from tidegrid.connectors.slurm.shell import Output, Shell
from tidegrid.scheduling import steering
from tidegrid.scheduling.kernel.policy import Policy
from tidegrid.scheduling.steering import Change, Ended, Waiting

_FIELDS = (
    ["ArrayJobID", "UserName", "State", "Reason", "EligibleTime", "TimeLimit", "NumCPUs", "PriorityLong", "Nice", "StartTime", "EndTime", "JobID"]
)
# why a job waits, where its place in the queue could change that
_IN_LINE = {"Priority", "Resources", "None", ""}
_LIMIT = re.compile(r"^(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?$")
KEPT = 4000  # ended jobs to learn from
NEVER = 365 * 86_400  # s: a job without a limit

UNDO = r"""#!/bin/sh
# tidegrid: gives waiting jobs the nice values back that they had before their queue was steered.
cd "$(dirname "$0")" || exit 1
exec 9>lock && flock 9
[ -s undo ] || { rm -f undo lease; exit 0; }
: >left
while read -r id nice; do
  said=$(timeout 20 scontrol update JobId="$id" Nice="$nice" 2>&1 </dev/null) && continue
  case $said in
  *"Invalid job id"* | *"no longer pending"* | *"already finished"* | *"not pending"* | *"already completing"*) ;;
  *) echo "$id $nice" >>left ;;
  esac
done <undo
mv left undo
[ -s undo ] && exit 1
rm -f undo lease
"""
GUARD = r"""#!/bin/sh
# tidegrid: undoes the steering of this queue when its lease has run out.
cd "$(dirname "$0")" || exit 1
while [ -e lease ] || [ -s undo ]; do
  sleep 1
  until=$(cat lease 2>/dev/null || echo 0)
  [ "$(date +%s)" -lt "${until:-0}" ] && continue
  sh ./undo.sh && exit 0
  sleep 4
done
"""
# stdin: the ids that still wait, in one line; then a line `id nice own` for each change. Says what Slurm would not do.
APPLY = r"""
cd "$dir" || exit 1
exec 9>lock; flock 9 || exit 1
printf '%s\n' "$(( $(date +%s) + lease ))" >lease.new && mv lease.new lease || exit 1
read -r waiting
[ -s undo ] && { awk -v ids="$waiting" 'BEGIN { n = split(ids, a, " "); for (i = 1; i <= n; i++) k[a[i]] } $1 in k' undo >kept && mv kept undo; }
setsid flock -n guard.lock sh ./guard.sh </dev/null >/dev/null 2>&1 9>&- &
while read -r id nice own; do
  grep -q "^$id " undo 2>/dev/null || echo "$id $own" >>undo || exit 1
  said=$(timeout 20 scontrol update JobId="$id" Nice="$nice" 2>&1 </dev/null) || echo "$id $said"
done
"""


@dataclass(frozen=True, slots=True)
class Seen:
    """The queue of a partition at `at` (unix seconds, the site's clock); ended: with their ids, in order of their ends."""

    at: int
    cores: int
    waiting: tuple[Waiting, ...]
    ended: tuple[tuple[str, Ended], ...]


@dataclass(frozen=True, slots=True)
class Look:
    """One query: the partition's jobs of all users that the controller still knows, and what was written down to be undone."""

    partition: str
    directory: str
    seconds: int = 15

    @property
    def command(self) -> str:
        form = ",".join(f"{f}:|" for f in _FIELDS)
        part = shlex.quote(self.partition)
        return (
            f"date +%s; echo =; cat {shlex.quote(self.directory)}/undo 2>/dev/null; echo =; "
            + bounded(f"sinfo -h -p {part} -o %C", self.seconds)
            + " && echo = && "
            + bounded(f"squeue -h -a -t all -p {part} -O {shlex.quote(form)}", self.seconds)
        )

    def parse(self, answer: Output) -> Seen:
        text = checked("squeue", answer)
        at, _, rest = text.partition("=\n")
        undo, _, rest = rest.partition("=\n")
        cores, _, table = rest.partition("=\n")
        try:
            own = {line.split()[0]: int(line.split()[1]) for line in undo.splitlines() if line.strip()}
            waiting: dict[str, Waiting] = {}
            ended = []
            for line in table.splitlines():
                id_, user, state, reason, since, limit, cpus, priority, nice, start, end, raw = line.split("|")[: len(_FIELDS)]
                if state == "PENDING" and reason in _IN_LINE and int(priority) > 0 and since.isdigit():
                    waiting[id_] = Waiting(
                        id_, user, int(since), limit_s(limit), int(cpus), int(priority), int(nice), own.get(id_, int(nice))
                    )
                elif state in ("COMPLETED", "FAILED", "TIMEOUT") and start.isdigit() and end.isdigit():
                    ended.append((int(end), raw, Ended(user, limit_s(limit), max(0, int(end) - int(start)))))
            total = sum(int(line.split("/")[3]) for line in cores.splitlines() if line.strip())
            ended.sort(key=lambda row: row[:2])
            return Seen(int(at), total, tuple(waiting.values()), tuple((f"{raw}@{end}", e) for end, raw, e in ended))
        except (ValueError, IndexError):
            raise SiteUnsure(f"squeue: unreadable answer {text[:200]!r}", silent=False) from None


def limit_s(text: str) -> int:
    """Slurm's [days-]hours:minutes:seconds or minutes:seconds, in seconds; a year where there is none."""
    match = _LIMIT.match(text.strip())
    if match is None:
        return NEVER
    days, a, b, c = (int(x) if x else None for x in match.groups())
    if c is not None:
        found = (a or 0) * 3600 + (b or 0) * 60 + c
    elif days is not None:
        found = (a or 0) * 3600 + (b or 0) * 60
    else:
        found = (a or 0) * 60 + (b or 0)
    return (days or 0) * 86_400 + found


@dataclass
class Steerer:
    """One partition's queue. directory: absolute, at the site; lease_s: how long the site waits for the next step before it gives
    the queue back; bound: of nice; at_once: changes of one step."""

    shell: Shell
    directory: str
    partition: str
    policy: Policy
    bound: int = 1_000_000
    lease_s: int = 15
    at_once: int = 200
    _past: dict[str, Ended] = field(default_factory=dict)
    _ready: bool = False

    async def look(self) -> tuple[Seen, list[int], list[Change]]:
        """The queue, the order it should have (indices into its waiting jobs), and the changes that make it so. Changes nothing."""
        command = Look(self.partition, self.directory)
        seen = command.parse(await self.shell.run(command.command, timeout=command.seconds * 2 + 5))
        for id_, ended in seen.ended:
            self._past.setdefault(id_, ended)
        while len(self._past) > KEPT:
            del self._past[next(iter(self._past))]
        wanted = steering.order(self.policy, seen.at, seen.cores, seen.waiting, list(self._past.values()))
        return seen, wanted, steering.plan(wanted, seen.waiting, self.bound)[: self.at_once]

    async def step(self) -> dict[str, Any]:
        """Look, and change what is to be changed. SiteRefused where the account may not do it: then nothing stays changed."""
        seen, wanted, changes = await self.look()
        await self._prepare()
        lines = [" ".join(w.id for w in seen.waiting), *(f"{c.id} {c.nice} {c.own_nice}" for c in changes)]
        head = f"dir={shlex.quote(self.directory)} lease={self.lease_s}"
        answer = await self.shell.run(f"{head}\n{APPLY}", "\n".join(lines) + "\n", timeout=30.0 + 0.5 * len(changes))
        said = checked("scontrol update", answer).splitlines()
        denied = [line for line in said if "denied" in line or "not permitted" in line.lower()]
        if denied:
            await self.undo()
            raise SiteRefused("site.not_operator", f"{self.partition}: {denied[0][:200]}")
        return {"waiting": len(seen.waiting), "changed": len(changes) - len(said), "first": [seen.waiting[i].id for i in wanted[:10]]}

    async def undo(self) -> None:
        """Every job that still waits has its own nice again. SiteUnsure where that is not sure."""
        await self._prepare()
        answer = await self.shell.run(f"sh {shlex.quote(self.directory)}/undo.sh", timeout=60.0)
        checked("undo", answer)

    async def _prepare(self) -> None:
        if self._ready:
            return
        place = shlex.quote(self.directory)
        for name, text in (("undo.sh", UNDO), ("guard.sh", GUARD)):
            checked("mkdir", await self.shell.run(f"mkdir -p {place} && cat >{place}/.{name} && mv {place}/.{name} {place}/{name}", text))
        self._ready = True


def summary(seen: Seen, wanted: Sequence[int], changes: Sequence[Change]) -> dict[str, Any]:
    """What a step would do, for people."""
    to = {c.id: c.nice for c in changes}
    return {
        "waiting": len(seen.waiting),
        "changes": len(changes),
        "order": [
            {"id": w.id, "user": w.user, "cores": w.cores, "limit_s": w.limit_s, "waited_s": max(0, seen.at - w.since),
             "nice": w.nice, "to": to.get(w.id, w.nice)}
            for w in (seen.waiting[i] for i in wanted)
        ],
    }  # fmt: skip
