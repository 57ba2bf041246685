"""Whether a run of an application did what its document's test expects."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from tidegrid.catalog.document import AppTest, Expect

_STEP = re.compile(r"\.([A-Za-z_][A-Za-z0-9_]*)|\[(\d+)\]")


def check(test: AppTest, exit_code: int, read: Callable[[str], str | None]) -> list[str]:
    """What failed; empty when all is as expected. read: a result file's text by its path, None where there is none."""
    failed = [] if exit_code == test.exit else [f"{test.name}: exit status {exit_code}, expected {test.exit}"]
    for expect in test.expect:
        text = read(expect.file)
        if text is None:
            failed.append(f"{test.name}: {expect.file}: missing")
            continue
        problem = _check_one(expect, text)
        if problem:
            failed.append(f"{test.name}: {expect.file} {expect.path}: {problem}")
    return failed


def pick(value: Any, path: str) -> Any:
    """The value at `$.a.b[0]`; LookupError where there is none."""
    for match in _STEP.finditer(path.removeprefix("$")):
        key: Any = match[1] if match[1] is not None else int(match[2])
        if not isinstance(value, dict if isinstance(key, str) else list):
            raise LookupError(f"nothing at {path}")
        try:
            value = value[key]
        except LookupError:
            raise LookupError(f"nothing at {path}") from None
    return value


def _check_one(expect: Expect, text: str) -> str:
    if expect.path == "$" and expect.min is None and expect.max is None and expect.equals is None:
        return ""  # the file is there
    try:
        found = pick(json.loads(text), expect.path)
    except (ValueError, LookupError) as e:
        return str(e)
    if expect.equals is not None and found != expect.equals:
        return f"is {found!r}, expected {expect.equals!r}"
    if expect.min is None and expect.max is None:
        return ""
    if isinstance(found, bool) or not isinstance(found, int | float) or found != found:
        return f"is {found!r}, no number"
    if expect.min is not None and found < expect.min:
        return f"is {found}, below {expect.min}"
    if expect.max is not None and found > expect.max:
        return f"is {found}, above {expect.max}"
    return ""
