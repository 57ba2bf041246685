"""Acceptance tests of an application: the job of one, and whether its run did what the document expects.

    tests:
      - name: the energy of the melt example
        params: {cells: 10}
        resources: {cores: 2}                    # else what the document says
        array: 0-3                               # then a result is `2/result.json`
        inputs: {case.txt: "a small text\n"}      # small files that it is given
        exit: 0
        expect: [{file: result.json, path: $.energy, min: -2.29, max: -2.27}]   # or `equals`; a file alone: it is there
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from tidegrid.catalog.document import Application, AppTest, Expect

_STEP = re.compile(r"\.([A-Za-z_][A-Za-z0-9_]*)|\[(\d+)\]")


def submission(app: Application, test: AppTest, place: str = "") -> dict[str, Any]:
    """The job of a test as the API takes it, its inputs (`AppTest.inputs`) left out. place: `cluster` or `cluster/partition`."""
    body: dict[str, Any] = {
        "app": f"{app.id}@{app.version}", "params": dict(test.params), "name": f"test {app.id}: {test.name}"[:200],
        "resources": dict(test.resources), "array": test.array, "constraints": {"any_of": [place]} if place else {},
        "outputs": sorted({_inside(test, e.file) for e in test.expect if not e.file.startswith("log/")} | set(app.outputs)),
    }  # fmt: skip
    return {k: v for k, v in body.items() if v not in ("", {}, [])}


def _inside(test: AppTest, file: str) -> str:
    """Of an array, a pattern is below each task's own directory."""
    return file.partition("/")[2] if test.array else file


def values(test: AppTest, read: Callable[[str], str | None]) -> list[tuple[str, Any]]:
    """(name, value) of what the test looks at; those that are not there are left out."""
    out = []
    for expect in test.expect:
        text = read(expect.file)
        if text is None or expect.path == "$":
            continue
        try:
            name = (expect.file.rpartition("/")[0] + ":" if test.array else "") + expect.path.removeprefix("$.")
            out.append((name, pick(json.loads(text), expect.path)))
        except (ValueError, LookupError):
            continue
    return out


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
