"""What the files of a spool and a controller's answer say, as evidence."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tidegrid.connectors.contract import Observation, SpoolEntry
from tidegrid.control.contact import attempt_of
from tidegrid.domain.attempt import SIGNALLED, AppExited, Evidence, GaveUp, Marked, Permitted
from tidegrid.domain.ids import unb32


def id_of(entry: SpoolEntry) -> int | None:
    try:
        return unb32(entry.attempt)
    except ValueError:
        return None


_WORD = re.compile(r"[!-~]{1,128}", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)


def _told(entry: SpoolEntry) -> Evidence | None:
    """What a spool file says. A job may write anything there: what no prologue writes, and no column holds, says nothing."""
    words = entry.body.split()
    match entry.kind, words:
        case "mark", [nonce, native_id, at] if _WORD.fullmatch(nonce) and _WORD.fullmatch(native_id):
            return Marked(entry.task, entry.restart, nonce, native_id, int(at)) if _NUMBER.fullmatch(at) else None
        case "gaveup", [nonce, *_] if _WORD.fullmatch(nonce):
            return GaveUp(entry.task, entry.restart, nonce)
        case "end", [code, *more] if _NUMBER.fullmatch(code) and int(code) <= 255:
            # told to stop: it did not end by itself, whatever it made of the signal
            stopped = "stopped" in more and int(code) < SIGNALLED
            return AppExited(entry.task, entry.restart, SIGNALLED + 15 if stopped else int(code))
    return None


def gather(
    seen: Observation, spool: Iterable[SpoolEntry], given: Iterable[tuple[int, int, int]]
) -> dict[int, list[Evidence]]:
    """Evidence by attempt: permits given, marks, the prologues' and jobs' own words, then accounting."""
    out: dict[int, list[Evidence]] = {}
    for id_, task, restart in given:
        out.setdefault(id_, []).append(Permitted(task, restart))
    for of, told in gather_spool(spool).items():
        out.setdefault(of, []).extend(told)
    for record in seen.records:
        owner = attempt_of(record.name)
        if owner is not None:
            out.setdefault(owner, []).append(record.event)
    return out


def gather_spool(spool: Iterable[SpoolEntry]) -> dict[int, list[Evidence]]:
    out: dict[int, list[Evidence]] = {}
    rank = {"mark": 0, "gaveup": 1, "end": 2}
    for entry in sorted(spool, key=lambda e: rank.get(e.kind, 3)):
        of, ev = id_of(entry), _told(entry)
        if of is not None and ev is not None:
            out.setdefault(of, []).append(ev)
    return out
