"""What a document's schema cannot say: names lead somewhere, expressions are some, the script and the formulas work for the
defaults and for the parameters of every test."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tidegrid.catalog import needs as amounts
from tidegrid.catalog import params as _params
from tidegrid.catalog.needs import Inputs, Needs
from tidegrid.catalog.template import Script, TemplateError
from tidegrid.catalog.yamldoc import Doc, Path, Problem, show_path
from tidegrid.domain.errors import InvalidInput
from tidegrid.domain.job import Resources

RESERVED = frozenset({"python", "command", "restart"})


def scripts(schema: Mapping[str, Any]) -> frozenset[str]:
    """Parameters whose value is itself a shell script."""
    return frozenset(
        name
        for name, p in schema.get("properties", {}).items()
        if isinstance(p, Mapping) and p.get("type") == "string" and p.get("contentMediaType") == "text/x-shellscript"
    )


def names(doc: Doc, body: Mapping[str, Any], problems: list[Problem]) -> None:
    """Names that must lead somewhere, and the regular expressions."""
    known = set(body["params"].get("properties", {}))
    for name in sorted(known & RESERVED):
        problems.append(doc.problem(("params", "properties", name), "the name is kept for the platform", key=True))
    for name in body.get("ui", {}):
        if name not in known:
            problems.append(doc.problem(("ui", name), "is not a parameter", key=True))
    try:
        if "progress" in body and re.compile(body["progress"]).groups not in (1, 2):
            problems.append(doc.problem(("progress",), "needs one group (percent) or two (done, of)"))
    except re.error as e:
        problems.append(doc.problem(("progress",), f"not a regular expression: {e}"))
    for key in ("progress_in", "progress_of"):
        if key in body and "progress" not in body:
            problems.append(doc.problem((key,), "there is no progress, the expression to look for"))
    of = body.get("progress_of")
    if of is not None and body["params"].get("properties", {}).get(of, {}).get("type") not in ("integer", "number"):
        problems.append(doc.problem(("progress_of",), f"{of} is no number among the parameters"))
    software = body.get("software", {})
    if {"command", "variants"} <= set(software):
        problems.append(doc.problem(("software", "command"), "stands beside variants: make it one of them"))
    for i, v in enumerate(software.get("variants", ())):
        ways = {"module", "apptainer", "spack"} & set(v)
        if len(ways) > 1 or not (ways or "command" in v):
            problems.append(doc.problem(("software", "variants", i), "needs one of command, module, apptainer, spack"))
    free = RESERVED if {"command", "variants", "embedded"} & set(software) else {"python", "restart"}
    if "restart" not in body:
        free = free - {"restart"}
    texts: dict[Path, str] = {("script",): body["script"]}
    if "script" in body.get("restart", {}):
        texts["restart", "script"] = body["restart"]["script"]
    for path, text in texts.items():
        try:
            variables = Script(text, scripts(body["params"])).variables
        except TemplateError as e:
            at = f"line {e.line} of the script: " if e.line else ""
            problems.append(doc.problem(path, f"{at}{e}"))
            continue
        for name in sorted(variables - known - free):
            problems.append(doc.problem(path, f"{name} is not a parameter"))
        if path == ("script",) and "arguments" in body.get("restart", {}) and "restart" not in variables:
            where = ("restart", "arguments")
            problems.append(doc.problem(where, "the script never says {{ restart }}, where they would go"))


def behaviour(doc: Doc, body: Mapping[str, Any], needs: Needs, problems: list[Problem]) -> Resources | None:
    """The tests' parameters fit, the script can be made of them, and of the defaults where these suffice, and the formulas have
    values within the limits. What the defaults need; None where they do not suffice."""
    schema, shell = body["params"], scripts(body["params"])
    recipe = body.get("restart", {})
    made: list[tuple[Path, Script, list[str]]] = [(("script",), Script(body["script"], shell), [])]
    if "arguments" in recipe:
        made.append((("script",), made[0][1], recipe["arguments"]))
    elif recipe:
        made.append((("restart", "script"), Script(recipe["script"], shell), []))
    default: Resources | None = None
    cases: list[tuple[Path, Mapping[str, Any], bool]] = [(("script",), {}, False)]
    cases += [(("tests", i, "params"), t.get("params", {}), True) for i, t in enumerate(body.get("tests", ()))]
    for path, given, must in cases:
        try:
            full = _params.validate(schema, given)
        except InvalidInput as e:
            for p in e.details["problems"] if must else ():
                problems.append(doc.problem(path, f"{p['path']}: {p['message']}"))
            continue
        where_from = show_path(path) if must else "the defaults"
        found = _needed(doc, body, path, full, needs, where_from, problems)
        default = default if must else found
        for where, script, words in made:
            try:
                script.render({**full, "python": "python3", "command": "command", "restart": words})
            except TemplateError as e:
                problems.append(doc.problem(where, f"with {where_from}: {e}"))
    return default


def _needed(
    doc: Doc, body: Mapping[str, Any], path: Path, full: Mapping[str, Any], needs: Needs, whence: str, problems: list[Problem]
) -> Resources | None:
    asked: Mapping[str, int] = {}
    inputs = Inputs()
    try:
        if path[0] == "tests":
            t = body["tests"][path[1]]
            asked = amounts.plain(t.get("resources", {}))
            inputs = Inputs(sum(len(x.encode()) for x in t.get("inputs", {}).values()), len(t.get("inputs", {})))
        return needs.resolve(full, inputs, asked)
    except ValueError as e:
        problems.append(doc.problem((*path[:2], "resources"), str(e)))
    except InvalidInput as e:
        if e.code == "resources.formula":
            (p,) = e.details["problems"]
            problems.append(doc.problem(tuple(p["path"].split(".")), f"with {whence}: {p['message']}"))
        else:
            where: Path = (*path[:2], "resources") if asked else ("resources",)
            problems.append(doc.problem(where, f"with {whence}: {e.message}"))
    return None
