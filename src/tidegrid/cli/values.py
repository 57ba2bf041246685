"""Values as people type them on a command line."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tidegrid.domain.errors import InvalidInput
from tidegrid.domain.money import format_amount, parse_amount

_UNITS = {"": 1, "K": 1 / 1024, "M": 1, "G": 1024, "T": 1024 * 1024}
_MEMORY = re.compile(r"^(\d+(?:\.\d+)?)\s*([KMGT]?)(?:iB|B)?$", re.IGNORECASE)
_WALL = re.compile(r"^(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?$")


def memory(text: str) -> int:
    """`4G`, `512M`, `2048` (MiB) -> MiB."""
    match = _MEMORY.match(text.strip())
    if match is None:
        raise InvalidInput("memory.malformed", f"{text!r} is no amount of memory", hint="write 512M, 4G, or MiB")
    return max(1, round(float(match[1]) * _UNITS[match[2].upper()]))


def duration(text: str) -> int:
    """`90`, `90s`, `5m`, `1h30m`, `2d`, `HH:MM:SS`, `D-HH:MM:SS` -> seconds."""
    text = text.strip()
    match = _WALL.match(text)
    if match is not None and text:
        d, h, m, s = (int(g or 0) for g in match.groups())
        return ((d * 24 + h) * 60 + m) * 60 + s
    days, dash, clock = text.rpartition("-")
    parts = clock.split(":")
    if all(p.isdigit() for p in parts) and 2 <= len(parts) <= 3 and (not dash or days.isdigit()):
        h, m, s = ([0, *map(int, parts)] if len(parts) == 2 else map(int, parts))  # fmt: skip
        return (int(days or 0) * 24 + h) * 3600 + m * 60 + s
    raise InvalidInput("duration.malformed", f"{text!r} is no duration", hint="write 90s, 10m, 1h30m or HH:MM:SS")


def point(text: str) -> str | None:
    """A point in time: `2026-11-01`, `2026-11-01T08:00` (on this machine's clock unless it names a zone), or how long ago: `7d`.
    As ISO 8601 with a zone; None where nothing is given."""
    return _instant(text.strip().removesuffix("ago"), -1, "2026-11-01, 2026-11-01T08:00 or 7d")


def ahead(text: str) -> str | None:
    """A point in time to come: as `point`, or in how long: `6h`."""
    return _instant(text, 1, "2026-12-01, 2026-12-01T08:00, or 6h for in six hours")


def _instant(text: str, sign: int, examples: str) -> str | None:
    text = text.strip()
    if not text:
        return None
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone().isoformat()
    except (ValueError, OverflowError):
        pass
    try:
        return (datetime.now(UTC) + sign * timedelta(seconds=duration(text))).isoformat()
    except InvalidInput:
        raise InvalidInput("time.malformed", f"{text!r} is no time", hint=f"write {examples}") from None
    except OverflowError:
        raise InvalidInput("time.malformed", f"{text!r} is beyond every calendar", hint=f"write {examples}") from None


def yuan(text: str) -> str | None:
    """An amount as the API takes it; None where nothing is given."""
    if not text.strip():
        return None
    return format_amount(parse_amount(text.strip(), "budget"))


def date_of(unix: int | None) -> str:
    """A day and a time of Unix seconds, on no zone's clock but UTC; '' for None."""
    return "" if unix is None else datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def pair(text: str, option: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise InvalidInput("option.malformed", f"{option} {text!r}: there is no name=value", hint=f"{option} name=value")
    return name, value


def params(texts: Sequence[str], schema: Mapping[str, Any]) -> dict[str, Any]:
    """`name=value` by the application's schema: texts as they are, everything else as JSON; `name=@file` reads a file,
    `name=@@text` is `@text`."""
    properties = schema.get("properties") or {}
    out: dict[str, Any] = {}
    for text in texts:
        name, value = pair(text, "-p")
        if value.startswith("@@"):
            out[name] = value[1:]
        elif value.startswith("@"):
            out[name] = Path(value[1:]).read_text(encoding="utf-8")
        else:
            out[name] = _typed(value, (properties.get(name) or {}).get("type"))
    return out


def _typed(value: str, kind: Any) -> Any:
    kinds = [kind] if isinstance(kind, str) else list(kind or ())
    if kinds == ["string"]:
        return value
    try:
        found = json.loads(value)
    except ValueError:
        return value
    if isinstance(found, float) and (found != found or found in (float("inf"), float("-inf"))):
        return value
    return value if "string" in kinds and not isinstance(found, bool | int | float | type(None)) else found


def environment(texts: Sequence[str]) -> dict[str, str]:
    """`NAME=value`, or `NAME` for the value it has here."""
    out = {}
    for text in texts:
        if "=" not in text:
            if text not in os.environ:
                raise InvalidInput("env.missing", f"--env {text}: it is not set here", hint="write --env NAME=value")
            out[text] = os.environ[text]
        else:
            name, value = pair(text, "--env")
            out[name] = value
    return out


def array(text: str) -> str:
    """Checked here so that a slip is told before anything is uploaded."""
    from tidegrid.domain.ranges import parse_array

    if text:
        parse_array(text)
    return text
