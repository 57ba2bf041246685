"""Kinds of fields, bounded so that what passes can be stored, shown and put on a path: no NUL, no lone surrogate,
nothing beyond 64 bits, nothing endless."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StringConstraints

_ID = "[0-7][0-9a-hjkmnp-tv-z]{12}"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
BIGINT = (1 << 63) - 1

JobId = Annotated[str, StringConstraints(pattern=f"^job-{_ID}$", max_length=17), Field(examples=["job-0000000000001"])]
TokenId = Annotated[str, StringConstraints(pattern=f"^tok-{_ID}$", max_length=17), Field(examples=["tok-0000000000001"])]
IncidentId = Annotated[str, StringConstraints(pattern=f"^inc-{_ID}$", max_length=17), Field(examples=["inc-0000000000001"])]
PortingId = Annotated[str, StringConstraints(pattern=f"^port-{_ID}$", max_length=18), Field(examples=["port-0000000000001"])]
SiteAccountId = Annotated[str, StringConstraints(pattern=f"^acct-{_ID}$", max_length=18), Field(examples=["acct-0000000000001"])]
Partition = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=129), Field(examples=["east/cpu"])
]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64), Field(examples=["default"])]
AppName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(@[0-9a-z]+)?$", max_length=129)]
Place = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?$", max_length=129)]
Label = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]*$", max_length=200)]
Text = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$", max_length=32_768)]
EnvName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=128)]
Feature = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:&|*()\[\]-]*$", max_length=200)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$", max_length=64)]
Array = Annotated[str, StringConstraints(pattern=r"^[0-9][0-9,:-]*(%[0-9]{1,6})?$|^$", max_length=4000), Field(examples=["0-9%3"])]
Cursor = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:=~-]+$", max_length=200)]
Key = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:-]+$", max_length=200)]
Amount = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,12}(\.[0-9]{1,6})?$", max_length=19), Field(examples=["100.00"])]
MAX_DEPTH, MAX_NODES = 32, 20_000


def relative(path: str) -> str:
    """`path` where it names something below a directory; ValueError otherwise."""
    parts = path.split("/")
    if not path or path.startswith("/") or any(p in ("", ".", "..") for p in parts) or "\\" in path:
        raise ValueError("a path is relative, without empty parts, '.', '..' or backslashes")
    if any(ord(c) < 32 or ord(c) == 127 for c in path):
        raise ValueError("a path has no control characters")
    if any(len(p.encode("utf-8", "replace")) > 255 for p in parts):
        raise ValueError("a part of a path is at most 255 bytes")
    return path


RelativePath = Annotated[str, StringConstraints(min_length=1, max_length=1024), AfterValidator(relative)]


def bounded(value: Any) -> Any:
    """`value`, JSON that can be stored and given back; ValueError otherwise."""
    nodes = 0
    stack = [(value, 0)]
    while stack:
        item, depth = stack.pop()
        nodes += 1
        if depth > MAX_DEPTH or nodes > MAX_NODES:
            raise ValueError(f"at most {MAX_DEPTH} levels and {MAX_NODES} values")
        if isinstance(item, str):
            if "\x00" in item or not _encodable(item):
                raise ValueError("texts are Unicode without NUL")
        elif isinstance(item, bool) or item is None:
            continue
        elif isinstance(item, int):
            if not -BIGINT <= item <= BIGINT:
                raise ValueError("integers fit 64 bits")
        elif isinstance(item, float):
            if not math.isfinite(item):
                raise ValueError("numbers are finite")
        elif isinstance(item, dict):
            stack.extend((k, depth + 1) for k in item)
            stack.extend((v, depth + 1) for v in item.values())
        elif isinstance(item, list):
            stack.extend((v, depth + 1) for v in item)
    return value


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


Json = Annotated[dict[str, Any], AfterValidator(bounded)]


def micros(moment: datetime | None) -> int | None:
    """A moment with a zone -> microseconds UTC."""
    return None if moment is None else (moment - _EPOCH) // timedelta(microseconds=1)


def iso(us: int | None) -> str | None:
    """Microseconds UTC -> `2025-01-31T23:59:59.000001Z`."""
    if us is None:
        return None
    return (_EPOCH + timedelta(microseconds=us)).isoformat(timespec="microseconds").replace("+00:00", "Z")
