"""A directory of files by content: paths with hash and size. Its own hash names it, so that the same files are the same tree."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

from tidegrid.domain.errors import InvalidInput

MAX_FILES = 1_000_000
MAX_BYTES = 256 << 20  # of its text
_SHA = re.compile(r"^[0-9a-f]{64}\Z")


@dataclass(frozen=True, slots=True)
class TreeFile:
    """path: below the tree, with forward slashes; size in bytes."""

    path: str
    sha256: str
    size: int


def encode(files: Iterable[TreeFile]) -> bytes:
    """Its text: the same for the same files, in whatever order."""
    rows = [[f.path, f.sha256, f.size] for f in sorted(files, key=lambda f: f.path)]
    return json.dumps({"tree": 1, "files": rows}, ensure_ascii=False, separators=(",", ":")).encode()


def decode(text: bytes) -> tuple[TreeFile, ...]:
    """InvalidInput (tree.malformed) for what `encode` does not write."""
    if len(text) > MAX_BYTES:
        raise _bad(f"its text has more than {MAX_BYTES} bytes")
    try:
        body = json.loads(text)
        rows = body["files"]
        if body["tree"] != 1 or not isinstance(rows, list):
            raise ValueError
        files = tuple(TreeFile(*row) for row in rows)
    except (ValueError, KeyError, TypeError, RecursionError):
        raise _bad("it is no list of files") from None
    if len(files) > MAX_FILES:
        raise _bad(f"it has more than {MAX_FILES} files")
    last = ""
    folders: set[str] = set()
    for f in files:
        if not isinstance(f.path, str) or not isinstance(f.sha256, str) or type(f.size) is not int:
            raise _bad("a row is not path, hash and size")
        if not _SHA.match(f.sha256) or f.size < 0:
            raise _bad(f"{f.path[:80]!r} has no hash or size")
        if why := unsafe(f.path):
            raise _bad(f"{f.path[:80]!r} {why}")
        if last and f.path <= last:
            raise _bad(f"{f.path[:80]!r} is twice, or not in order")
        last = f.path
        step = f.path
        while "/" in step:
            step = step.rpartition("/")[0]
            folders.add(step)
    for f in files:
        if f.path in folders:
            raise _bad(f"{f.path[:80]!r} is a file and a directory")
    return files


def unsafe(path: str) -> str:
    """Why it can be no path below a directory; empty where it can."""
    steps = path.split("/")
    if not path or any(s in ("", ".", "..") for s in steps) or "\\" in path:
        return "is no path below a directory"
    if any(ord(c) < 32 or ord(c) == 127 or 0xD800 <= ord(c) < 0xE000 for c in path):
        return "has characters that no name here can have"
    if len(path.encode()) > 1000 or any(len(s.encode()) > 255 for s in steps):
        return "is too long"
    return ""


def _bad(why: str) -> InvalidInput:
    return InvalidInput("tree.malformed", f"this is no directory of uploads: {why}", hint="upload the directory again")
