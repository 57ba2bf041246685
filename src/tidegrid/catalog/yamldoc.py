"""YAML text -> plain JSON values, with the line and column of every node, in one pass.

The scalars are those of YAML 1.2's core schema: `no` and `on` are texts, `12:30` is no number, a date is a text.
Refused: duplicate keys, keys that are no texts, tags, aliases that blow up, depth above `MAX_DEPTH`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

MAX_BYTES = 4 * 1024 * 1024
MAX_NODES = 200_000
MAX_DEPTH = 60

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """line and column count from 1; path as `show_path` writes it."""

    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        return f"line {self.line}, column {self.column}: {self.path or 'document'}: {self.message}"


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a node stands (counted from 1), and a scalar's own text."""

    line: int
    column: int
    text: str = ""


@dataclass(frozen=True, slots=True)
class Doc:
    """value: JSON values; marks: of every node by path; keys: of the keys; problems: what the text itself has."""

    value: Any
    marks: dict[Path, Mark] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    keys: dict[Path, Mark] = field(default_factory=dict)

    def mark(self, path: Path) -> Mark:
        """The node's place, or its nearest parent's where it does not exist."""
        while path and path not in self.marks:
            path = path[:-1]
        return self.marks.get(path, Mark(1, 1))

    def problem(self, path: Path, message: str, *, key: bool = False) -> Problem:
        """key: it is the key that is wrong, not what stands behind it."""
        at = self.keys.get(path) or self.mark(path) if key else self.mark(path)
        return Problem(at.line, at.column, show_path(path), message)


def show_path(path: Sequence[str | int]) -> str:
    """`("clusters", "a", "gpus", 0)` is `clusters.a.gpus[0]`."""
    out = ""
    for p in path:
        out += f"[{p}]" if isinstance(p, int) else f".{p}" if out else p
    return out


def canonical(value: Any) -> str:
    """The one JSON text of a value: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def content_hash(value: Any) -> str:
    """SHA-256 of the canonical JSON, in hex."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""])
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?[0-9]{1,300}$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$"),
    list("-+0123456789."),
)
_STANDARD = {f"tag:yaml.org,2002:{t}" for t in ("str", "int", "float", "bool", "null", "map", "seq")}


def load(text: str) -> Doc:
    """Parse `text`. Never raises on bad text: `problems` says what is wrong, and `value` holds what could be read."""
    if len(text) > MAX_BYTES:
        return Doc(None, {}, (Problem(1, 1, "", f"longer than {MAX_BYTES} characters"),))
    try:
        root = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        return Doc(None, {}, (Problem(line, column, "", f"not YAML: {e.problem or e.context}"),))
    except yaml.YAMLError as e:
        return Doc(None, {}, (Problem(1, 1, "", f"not YAML: {str(e).splitlines()[0]}"),))
    except RecursionError:
        return Doc(None, {}, (Problem(1, 1, "", "nested too deeply"),))
    if root is None:
        return Doc(None, {(): Mark(1, 1)}, (Problem(1, 1, "", "empty"),))
    walk = _Walk()
    value = walk.plain(root, ())
    return Doc(value, walk.marks, tuple(sorted(walk.problems)), walk.keys)


class _Walk:
    def __init__(self) -> None:
        self.marks: dict[Path, Mark] = {}
        self.keys: dict[Path, Mark] = {}
        self.problems: list[Problem] = []
        self.nodes = 0

    def bad(self, node: yaml.Node, path: Path, message: str) -> None:
        at = node.start_mark
        self.problems.append(Problem(at.line + 1, at.column + 1, show_path(path), message))

    def plain(self, node: yaml.Node, path: Path) -> Any:
        self.nodes += 1
        if self.nodes >= MAX_NODES or len(path) > MAX_DEPTH:
            if self.nodes == MAX_NODES or len(path) > MAX_DEPTH:
                self.bad(node, path, "too many nodes or nested too deeply")
            return None
        at = node.start_mark
        scalar = node.value if isinstance(node, yaml.ScalarNode) else ""
        self.marks[path] = Mark(at.line + 1, at.column + 1, scalar)
        if node.tag not in _STANDARD:
            self.bad(node, path, f"tag {node.tag} is not allowed")
            return None
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.plain(child, (*path, i)) for i, child in enumerate(node.value)]
        return self.scalar(node, path, scalar)

    def mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for key, child in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:null":
                self.bad(key, path, "a key is a text")
                continue
            name = str(key.value)
            if name in out:
                first = self.marks.get((*path, name), Mark(0, 0)).line
                self.bad(key, (*path, name), f"appears twice (first on line {first})")
                continue
            self.keys[(*path, name)] = Mark(key.start_mark.line + 1, key.start_mark.column + 1, name)
            out[name] = self.plain(child, (*path, name))
        return out

    def scalar(self, node: yaml.Node, path: Path, text: str) -> Any:
        kind = node.tag.rpartition(":")[2]
        try:
            if kind == "int":
                return int(text)
            if kind == "float":
                value = float(text)
                if value in (float("inf"), float("-inf")) or value != value:
                    raise ValueError(text)
                return value
        except ValueError:
            self.bad(node, path, f"{text!r} is no number that can be kept")
            return None
        if kind == "bool":
            return text.lower() == "true"
        return None if kind == "null" else text
