"""Application documents as files: the document, and beside it the files that travel with it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidegrid.domain.errors import InvalidInput

if TYPE_CHECKING:
    from tidegrid.catalog.document import Application
    from tidegrid.catalog.yamldoc import Problem

SUFFIXES = (".yaml", ".yml")
MAX_BYTES = 16 << 20  # of a file that travels


@dataclass(frozen=True)
class Looked:
    """A document as `lint` found it. beside: the files it names that stand beside it, by their names there."""

    path: Path
    text: str
    application: Application | None
    problems: tuple[Problem, ...]
    notes: tuple[Problem, ...]
    beside: Mapping[str, Path] = field(default_factory=dict)

    def contents(self) -> dict[str, bytes]:
        return {name: path.read_bytes() for name, path in self.beside.items()}

    def require(self) -> None:
        """InvalidInput (document.invalid) with every problem, where there are any."""
        if self.problems:
            first = self.problems[0]
            more = f"; and {len(self.problems) - 1} more" if len(self.problems) > 1 else ""
            raise InvalidInput("document.invalid", f"{self.path}: {first}{more}", hint=f"see `tide apps lint {self.path}`",
                               details={"problems": [_view(p) for p in self.problems]})  # fmt: skip

    def view(self) -> dict[str, Any]:
        a = self.application
        return {
            "file": str(self.path), "id": a.id if a else None, "version": a.version if a else None, "ok": not self.problems,
            "problems": [_view(p) for p in self.problems], "notes": [_view(p) for p in self.notes],
        }  # fmt: skip


def _view(p: Problem) -> dict[str, Any]:
    return {"line": p.line, "column": p.column, "path": p.path, "message": p.message}


def named(paths: Sequence[Path]) -> list[Path]:
    """The documents that files and directories name. InvalidInput (file.missing) where there are none."""
    out: list[Path] = []
    for path in paths:
        found = sorted(p for p in path.iterdir() if p.suffix in SUFFIXES and p.is_file()) if path.is_dir() else [path]
        if not found or not (path.is_dir() or path.is_file()):
            raise InvalidInput("file.missing", f"there is no document {str(path)!r}", hint="documents are *.yaml files")
        out += found
    return out


def look(path: Path) -> Looked:
    """Read and check one. A file it names is looked for beside it, then among those that come with the program."""
    from tidegrid import apps as packaged
    from tidegrid.catalog.lint import lint
    from tidegrid.catalog.yamldoc import Problem, load

    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return Looked(path, "", None, (Problem(1, 1, "", "is no UTF-8 text"),), ())
    hashes = {name: packaged.sha256(name) for name in packaged.files()}
    beside: dict[str, Path] = {}
    large: list[Problem] = []
    doc = load(text)
    listed = doc.value.get("files") if isinstance(doc.value, dict) else None
    for i, f in enumerate(listed if isinstance(listed, list) else ()):
        name = f.get("package") if isinstance(f, dict) else None
        if not isinstance(name, str) or "/" in name or name in ("", ".", "..") or "\0" in name:
            continue
        file = path.parent / name
        if file.is_file():
            if file.stat().st_size > MAX_BYTES:
                large.append(doc.problem(("files", i, "package"), f"{name} has more than {MAX_BYTES} bytes"))
                continue
            beside[name] = file
            hashes[name] = hashlib.sha256(file.read_bytes()).hexdigest()
    found = lint(text, files=hashes)
    problems = tuple(sorted({*found.problems, *large}))
    return Looked(path, text, None if problems else found.application, problems, found.notes, beside)
