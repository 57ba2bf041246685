"""Where results lie at home, which names they may have, and which files of a site are a job's outputs.

`home/results/<org b32>/<job b32>/`: a plain job's files by their path; an array's below `<task>/`; logs as
`log/<task>.out` and `log/<task>.err`. What another attempt has already brought there keeps its place (the newest is fetched first): later files of the
same name go below `attempts/<attempt b32>/`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from tidegrid.connectors.contract import FileInfo
from tidegrid.domain.ids import b32

MAX_FILES = 10_000  # of one task
MAX_FILES_OF_ARRAY = 100_000
TEMPORARY = ".part-"


def job_directory(home: Path, org_id: int, job_id: int) -> Path:
    return home / "results" / b32(org_id) / b32(job_id)


def unsafe(path: str) -> str:
    """Why a relative path cannot be used here; empty where it can."""
    steps = path.split("/")
    if not path or path.startswith("/") or any(s in ("", ".", "..") for s in steps):
        return "is no path below a directory"
    if any(ord(c) < 32 or ord(c) == 127 for c in path):
        return "has control characters in its name"
    try:
        if len(path.encode()) > 1000 or any(len(s.encode()) > 255 for s in steps):
            return "has too long a name"
    except UnicodeEncodeError:
        return "has a name that is no Unicode text"
    return "is a temporary name" if steps[-1].startswith(TEMPORARY) else ""


def matches(path: str, pattern: str) -> bool:
    """Step by step: `*` stays within a step, `**` takes any number of them; a directory stands for all below it."""
    return _match(path.split("/"), pattern.strip("/").split("/"))


def _match(steps: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern:
        return True  # the pattern named a directory above
    if pattern[0] == "**":
        return any(_match(steps[i:], pattern[1:]) for i in range(len(steps) + 1)) and bool(steps)
    return bool(steps) and fnmatchcase(steps[0], pattern[0]) and _match(steps[1:], pattern[1:])


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file to bring home. site_path: below the site's root; path: below the job's results; problem: why it cannot be."""

    site_path: str
    path: str
    size: int
    problem: str = ""


def select_logs(directory: str, found: Iterable[FileInfo]) -> list[Wanted]:
    base = f"{directory}/log"
    return [_wanted(base, _below(base, f.path), f"log/{_below(base, f.path)}", f.size) for f in found]


def select_outputs(
    directory: str, found: Iterable[FileInfo], patterns: Sequence[str], tasks: Sequence[int], *, array: bool
) -> list[Wanted]:
    """Files of the working directory that the patterns name; of an array only those of its attempt's tasks."""
    base = f"{directory}/work"
    mine = {str(t) for t in tasks}
    out: list[Wanted] = []
    for f in found:
        relative = _below(base, f.path)
        task, _, inner = relative.partition("/") if array else ("", "", relative)
        if array and (task not in mine or not inner):
            continue
        if any(matches(inner, p) for p in patterns):
            path = f"work/{relative}" if relative.startswith(("log/", "attempts/")) else relative
            out.append(_wanted(base, relative, path, f.size))
    return out


def _below(base: str, path: str) -> str:
    return path[len(base) + 1 :] if path.startswith(f"{base}/") else path


def _wanted(base: str, relative: str, path: str, size: int) -> Wanted:
    return Wanted(f"{base}/{relative}", path, size, unsafe(relative))


def apart(path: str, attempt_id: int) -> str:
    """The name of a file whose own name another attempt has taken."""
    return f"attempts/{b32(attempt_id)}/{path}"
