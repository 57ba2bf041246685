"""sacct read as a bill: what ended in a span of time, with what it had allocated."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tidegrid.connectors.contract import SiteRefused, SiteUnsure
from tidegrid.connectors.slurm.commands import ENDED_STATES, Sacct, _mib, _stamp, _time, bounded, checked
from tidegrid.connectors.slurm.evidence import ENDS, WITH_CODE
from tidegrid.connectors.slurm.shell import Output
from tidegrid.connectors.statement import Allocation
from tidegrid.domain.attempt import Ended, Reason, Witness
from tidegrid.domain.errors import TideError
from tidegrid.domain.ranges import expand

SECOND = 1_000_000
_ID = re.compile(r"^(\d+)(?:_(?:(\d+)|\[([^\]]*)\]))?$")


@dataclass(frozen=True, slots=True)
class Bill:
    """Allocations that ended in [since, until), unix seconds, of whoever uses this account; earlier runs of a requeued job and
    other jobs under a reused id included."""

    since: int
    until: int
    seconds: int = 60
    users: str = '"$tide_uid"'  # as shell text
    _FIELDS = "JobID,State,ExitCode,Submit,Start,End,ElapsedRaw,AllocCPUS,AllocTRES,NodeList,User,Account,Partition,JobName"

    @property
    def command(self) -> str:
        return bounded(
            f'sacct -X -D -P -n --noconvert -u {self.users} -s {ENDED_STATES} -S {_stamp(self.since)} -E {_stamp(self.until)} '
            f"-o {self._FIELDS}",
            self.seconds,
        )

    def parse(self, answer: Output) -> list[Allocation]:
        if Sacct.disabled(answer):
            raise SiteRefused("site.no_accounting", "this cluster keeps no accounts (no slurmdbd)")
        rows: list[Allocation] = []
        for line in checked("sacct", answer).splitlines():
            cells = line.split("|", 13)
            try:
                rows.extend(_allocations(cells))
            except (ValueError, TideError):
                raise SiteUnsure(f"sacct: unreadable line {line[:200]!r}", silent=False) from None
        # sacct takes the span as "at any time within"; a job belongs to the span in which it ended
        return [r for r in rows if self.since <= r.event.ended_at // SECOND < self.until]


def _allocations(cells: list[str]) -> list[Allocation]:
    """One a task: sacct shows tasks of an array that ended together before they started as one row."""
    job, state, code, submit, start, end, elapsed, cpus, tres, nodes, user, account, partition, name = cells
    match = _ID.match(job)
    if match is None:
        raise ValueError(job)
    ended = _time(end)
    if ended is None:
        return []
    reason = ENDS.get(state.split()[0], Reason.FAILED)
    began = _time(start) if nodes not in ("", "None assigned") else None
    exit_code, _, killed = code.partition(":")
    submitted = _time(submit)
    granted = dict(p.partition("=")[::2] for p in tres.split(",") if p)
    tasks = (int(match[2]),) if match[2] else expand(match[3].partition("%")[0]) if match[3] else (0,)
    return [
        Allocation(
            id=f"{match[1]}_{task}" if match[2] or match[3] else match[1],
            name=name,
            event=Ended(
                task, 0, match[1], reason,
                (128 + int(killed) if int(killed or 0) else int(exit_code)) if reason in WITH_CODE else None,
                None if began is None else began * SECOND, ended * SECOND, Witness.ACCOUNTING,
            ),
            elapsed_ms=int(elapsed or 0) * 1000 if began is not None else 0,
            submitted_at=None if submitted is None else submitted * SECOND,
            cores=int(granted.get("cpu") or cpus or 0),
            gpus=int(granted.get("gres/gpu") or 0),
            memory_mib=_mib(granted["mem"]) if granted.get("mem") else None,
            user=user,
            account=account,
            partition=partition,
        )
        for task in tasks
    ]  # fmt: skip
