"""Server-sent events, decoded line by line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


def decode(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """(id, data) of every event; data is empty where only the id was told. Comments and heartbeats are left out."""
    seq = ""
    data: list[str] = []
    told = False
    for line in lines:
        if not line:
            if data or told:
                yield seq, "\n".join(data)
            data, told = [], False
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "id":
            seq, told = value, True
        elif name == "data":
            data.append(value)
