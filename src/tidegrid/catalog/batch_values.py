"""Values of sbatch's options: times, sizes, generic resources, signals, dependencies, file names, moments.

Each raises ValueError with a text that says what is wrong and what may be written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

UNLIMITED = -1
_MIB = {"K": 1 / 1024, "M": 1, "G": 1024, "T": 1024 * 1024}
_SIZE = re.compile(r"^(\d+(?:\.\d+)?)([KMGT]?)B?$", re.IGNORECASE)
_COUNT = re.compile(r"^(\d+)([Kk]?)$")
_TOKEN = re.compile(r"%(\d*)(.)")
_SIGNALS = {"HUP": 1, "INT": 2, "QUIT": 3, "KILL": 9, "USR1": 10, "USR2": 12, "TERM": 15, "CONT": 18, "STOP": 19, "URG": 23}


def minutes(text: str) -> int:
    """A wall time in seconds: `M`, `M:S`, `H:M:S`, `D-H`, `D-H:M`, `D-H:M:S`; UNLIMITED for `0`, `-1`, `infinite`, `unlimited`."""
    if text.strip().lower() in ("infinite", "unlimited", "-1"):
        return UNLIMITED
    days, dash, clock = text.strip().rpartition("-")
    parts = clock.split(":")
    if not all(p.isascii() and p.isdigit() for p in parts) or len(parts) > 3 or (dash and not (days.isascii() and days.isdigit())):
        raise ValueError(f"{text!r} is no time: write minutes, MM:SS, HH:MM:SS, D-HH, D-HH:MM or D-HH:MM:SS")
    n = [int(p) for p in parts]
    if dash:
        h, m, s = (*n, 0, 0)[:3]
    elif len(n) == 3:
        h, m, s = n
    else:
        h, m, s = 0, *(*n, 0)[:2]
    return int(days or 0) * 86400 + h * 3600 + m * 60 + s or UNLIMITED


def mebibytes(text: str) -> int:
    """`4G`, `512M`, `2048` (MiB) -> MiB; 0 stays 0: all of a node's."""
    match = _SIZE.match(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no amount of memory: write 512M, 4G, or MiB")
    found = float(match[1]) * _MIB[match[2].upper() or "M"]
    return max(1, round(found)) if found else 0


def count(text: str, *, least: int = 1) -> int:
    """A number, `2k` for 2048 as Slurm writes it."""
    match = _COUNT.match(text.strip())
    found = int(match[1]) * (1024 if match[2] else 1) if match is not None and text.isascii() else -1
    if found < least:
        raise ValueError(f"{text!r} is no number of at least {least}")
    return found


def nodes(text: str) -> tuple[int, int]:
    """(least, most) of `4`, `2-8`, `2-8:2`, `2,4,8`."""
    sizes = [count(x) for part in text.split(",") for x in part.partition(":")[0].split("-", 1)]
    if not sizes or min(sizes) > max(sizes) or ("-" in text and "," not in text and sizes[0] > sizes[-1]):
        raise ValueError(f"{text!r} is no number of nodes: write 4 or 2-4")
    return min(sizes), max(sizes)


@dataclass(frozen=True, slots=True)
class Gpus:
    number: int
    type: str = ""


def gpus(text: str) -> Gpus:
    """`2`, `a100:2`; two kinds at once cannot be had."""
    kinds = [k for k in text.split(",") if k]
    if len(kinds) > 1:
        raise ValueError(f"{text!r} asks for several kinds of GPU; one can be given")
    kind, colon, number = (kinds[0] if kinds else "").rpartition(":")
    if not colon and number and not number[0].isdigit():
        kind, number = number, "1"
    if kind.count(":") or "(" in text:
        raise ValueError(f"{text!r} is no number of GPUs: write 2 or a100:2")
    return Gpus(count(number, least=0), kind)


def gres(text: str) -> tuple[Gpus, tuple[str, ...]]:
    """(GPUs a node, other generic resources with a count above 0) of `gpu:a100:2,nvme:1`; `none` is nothing."""
    found: list[Gpus] = []
    others: list[str] = []
    for item in (x.strip().removeprefix("gres/").removeprefix("gres:") for x in text.split(",")):
        name, _, rest = item.partition(":")
        if item in ("", "none"):
            continue
        if name != "gpu":
            number = rest.rpartition(":")[2]
            if number not in ("0", "no_consume"):
                others.append(item)
            continue
        found.append(gpus(rest) if rest else Gpus(1))
    if len({g.type for g in found}) > 1:
        raise ValueError(f"{text!r} asks for several kinds of GPU; one can be given")
    return Gpus(sum(g.number for g in found), found[0].type if found else ""), tuple(others)


@dataclass(frozen=True, slots=True)
class Signal:
    """name: without SIG; before_s: the wall time's end; batch: to the script itself, not to what it started."""

    name: str
    before_s: int
    batch: bool


def signal(text: str) -> Signal:
    """`B:USR1@120`, `USR1@120`, `10`; without `@`, 60 s before the end."""
    head, at, seconds = text.partition("@")
    flags, colon, name = head.rpartition(":")
    flags, name = (flags, name) if colon else ("", head)
    name = name.upper().removeprefix("SIG")
    if name.isdigit():
        name = next((k for k, v in _SIGNALS.items() if v == int(name)), name)
    if name not in _SIGNALS or set(flags) - set("RB") or (at and not (seconds.isascii() and seconds.isdigit())):
        raise ValueError(f"{text!r} is no signal: write [B:]USR1@120")
    before = int(seconds) if at else 60
    if before > 65535:
        raise ValueError(f"{text!r}: at most 65535 s before the end")
    return Signal(name, before, "B" in flags)


@dataclass(frozen=True, slots=True)
class Dependencies:
    ok: tuple[str, ...] = ()
    any: tuple[str, ...] = ()


def dependency(text: str) -> Dependencies:
    """`afterok:job-a:job-b,afterany:job-c`. Jobs are named as this platform names them."""
    ok: list[str] = []
    any_: list[str] = []
    if "?" in text:
        raise ValueError("alternatives (?) between dependencies are not known here: all must hold")
    for item in filter(None, text.split(",")):
        kind, _, rest = item.partition(":")
        if kind not in ("afterok", "afterany"):
            raise ValueError(f"{kind!r}: only afterok and afterany are known here")
        ids = [i for i in rest.split(":") if i]
        if not ids or any("+" in i for i in ids):
            raise ValueError(f"{item!r}: write {kind}:job-…, without a delay")
        for i in ids:
            if not i.lower().startswith("job-"):
                raise ValueError(f"{i!r} is no job of this platform: its jobs are called job-…, as `tide sbatch` prints them")
        (ok if kind == "afterok" else any_).extend(i.lower() for i in ids)
    return Dependencies(tuple(ok), tuple(any_))


def file_name(pattern: str, fixed: Mapping[str, str]) -> tuple[str, bool]:
    """A pattern of sbatch as a template of a name below the job's directory: what is known now is filled in from `fixed` (letters
    of sbatch: x, u), the rest stays as %j, %A, %a, %N, with the width it had. (name, whether it lost its directory)."""
    if "\\" in pattern:  # a backslash takes what follows as it is
        pattern, fixed_only = pattern.replace("\\", ""), True
    else:
        fixed_only = False

    def fill(match: re.Match[str]) -> str:
        width, letter = match[1], match[2]
        if fixed_only:
            return match[0]
        if letter == "%":
            return "%"
        if letter in fixed:
            return fixed[letter].replace("/", "_")
        if letter in ("n", "t", "s", "J"):
            return {"n": "0", "t": "0", "s": "batch", "J": "%j"}[letter]
        if letter in "jAaN":
            return f"%{width}{letter}"
        return match[0]

    name = _TOKEN.sub(fill, pattern.strip())
    steps = [s for s in name.split("/") if s not in ("", ".")]
    lost = name.startswith("/") or ".." in steps
    return (steps[-1] if lost and steps else "/".join(steps)), lost


# Moments ----------------------------------------------------------------------------------------------------------------

_UNITS = {"second": 1, "seconds": 1, "minute": 60, "minutes": 60, "hour": 3600, "hours": 3600, "day": 86400, "days": 86400,
          "week": 604800, "weeks": 604800, "": 1}  # fmt: skip
_NOON = {"midnight": 0, "noon": 43200, "fika": 54000, "teatime": 57600}
_CLOCK = re.compile(r"^(\d{1,2}):(\d{2})(?::(\d{2}))?\s*(am|pm)?$", re.IGNORECASE)
_DATE = re.compile(r"^(\d{4})-(\d{2})-(\d{2})(?:T(\d{2}:\d{2}(?::\d{2})?))?$")
_AMERICAN = re.compile(r"^(\d{2})[/.]?(\d{2})(?:[/.]?(\d{2}))?(?:-(\d{2}:\d{2}(?::\d{2})?))?$")


def moment(text: str, now_s: int, offset_s: int) -> int:
    """`--begin` as a unix time in seconds, 0 for now. now_s: unix time; offset_s: what the submitter's clock is ahead of UTC."""
    word = text.strip().lower()
    if word == "now":
        return 0
    if word.startswith("now+"):
        match = re.match(r"^(\d+)\s*([a-z]*)$", word[4:])
        if match is None or match[2] not in _UNITS:
            raise ValueError(f"{text!r} is no time: write now+2hours")
        return now_s + int(match[1]) * _UNITS[match[2]]
    local = now_s + offset_s
    midnight = local - local % 86400
    if word in _NOON or _CLOCK.match(word):
        at = midnight + (_NOON[word] if word in _NOON else _clock(word))
        return at + (86400 if at <= local else 0) - offset_s
    if word in ("today", "tomorrow"):
        return midnight + (86400 if word == "tomorrow" else 0) - offset_s
    if match := _DATE.match(text.strip()):
        return _days(int(match[1]), int(match[2]), int(match[3])) * 86400 + _clock(match[4] or "00:00") - offset_s
    if match := _AMERICAN.match(text.strip()):
        year = 2000 + int(match[3]) if match[3] else _year(midnight // 86400)
        at = _days(year, int(match[1]), int(match[2])) * 86400 + _clock(match[4] or "00:00")
        if not match[3] and at < midnight:
            at = _days(year + 1, int(match[1]), int(match[2])) * 86400 + _clock(match[4] or "00:00")
        return at - offset_s
    raise ValueError(f"{text!r} is no time: write now+2hours, 16:00 or 2026-12-01T08:00")


def _clock(text: str) -> int:
    match = _CLOCK.match(text)
    if match is None:
        raise ValueError(f"{text!r} is no time of a day: write 16:00")
    h, m, s = int(match[1]), int(match[2]), int(match[3] or 0)
    if match[4]:
        h = h % 12 + (12 if match[4].lower() == "pm" else 0)
    if h > 23 or m > 59 or s > 59:
        raise ValueError(f"{text!r} is no time of a day: write 16:00")
    return h * 3600 + m * 60 + s


def _days(year: int, month: int, day: int) -> int:
    """Days from 1970-01-01 in the Gregorian calendar; ValueError for a day that is none."""
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    lengths = (31, 29 if leap else 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
    if not 1970 <= year <= 2200 or not 1 <= month <= 12 or not 1 <= day <= lengths[month - 1]:
        raise ValueError(f"{year}-{month:02}-{day:02} is no day")
    before = year - 1
    whole = before * 365 + before // 4 - before // 100 + before // 400
    return whole + sum(lengths[: month - 1]) + day - 1 - 719_162


def _year(day: int) -> int:
    year = 1970 + day // 366
    while _days(year + 1, 1, 1) <= day:
        year += 1
    return year
