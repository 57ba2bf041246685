"""Applications that come with the program: documents (`*.yaml`) and the files that travel with them (`*.py`, `*.in`, `*.c` beside them).

`md_lj.py`, `summarise.py`, `machine_card.py` run at a site, not here: they import nothing of tidegrid, and nothing here imports them.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import resources

from tidegrid.catalog.document import Application, parse


@cache
def files() -> tuple[str, ...]:
    """Names of the files that documents may name as `package`."""
    here = resources.files(__name__)
    return tuple(sorted(f.name for f in here.iterdir() if f.name.endswith((".py", ".in", ".c")) and f.name != "__init__.py"))


@cache
def content(name: str) -> bytes:
    """A file's content; KeyError for another name than `files` has."""
    if name not in files():
        raise KeyError(name)
    return resources.files(__name__).joinpath(name).read_bytes()


def sha256(name: str) -> str:
    return hashlib.sha256(content(name)).hexdigest()


@cache
def texts() -> tuple[tuple[str, str], ...]:
    """(file name, YAML) of every document."""
    here = resources.files(__name__)
    return tuple(
        (f.name, f.read_text("utf-8")) for f in sorted(here.iterdir(), key=lambda f: f.name) if f.name.endswith(".yaml")
    )


def documents() -> list[Application]:
    """Every packaged application, checked."""
    hashes = {name: sha256(name) for name in files()}
    return [parse(text, files=hashes) for _, text in texts()]


@cache
def ids() -> frozenset[str]:
    """Of every packaged application."""
    return frozenset(a.id for a in documents())
