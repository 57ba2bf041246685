"""Amounts as people write them: `64 GiB`, `1h30m`, `24:00:00`."""

from __future__ import annotations

import re

_MEMORY = re.compile(r"^(\d+(?:\.\d+)?)\s*(MiB|GiB|TiB)$")
_SPAN = re.compile(r"^(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?:in)?)?(?:(\d+)s)?$")
_CLOCK = re.compile(r"^(?:(\d+)-)?(\d+):(\d\d):(\d\d)$")
_UNIT = {"MiB": 1, "GiB": 1024, "TiB": 1024 * 1024}
MAX = 1 << 50


def mib(value: object) -> int:
    """MiB of `512`, `64 GiB`, `1.5 TiB`; ValueError otherwise. A bare number counts MiB."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MAX:
        return value
    match = _MEMORY.match(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{value!r} is no amount of memory (a number of MiB, or like 64 GiB)")
    scaled = float(match[1]) * _UNIT[match[2]]
    if scaled != int(scaled) or not 0 < scaled <= MAX:
        raise ValueError(f"{value!r} is no whole number of MiB above 0")
    return int(scaled)


def seconds(value: object) -> int:
    """Seconds of `3600`, `1h30m`, `2d`, `24:00:00`, `1-00:00:00`; ValueError otherwise."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MAX:
        return value
    text = value.strip() if isinstance(value, str) else ""
    match = _CLOCK.match(text) or _SPAN.match(text or "-")
    if match is None:
        raise ValueError(f"{value!r} is no span of time (a number of seconds, or like 90m, 1h30m, 24:00:00)")
    days, hours, minutes, rest = (int(g or 0) for g in match.groups())
    total = ((days * 24 + hours) * 60 + minutes) * 60 + rest
    if not 0 < total <= MAX:
        raise ValueError(f"{value!r} is no span of time above 0")
    return total
