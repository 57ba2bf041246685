"""Where the server is, how answers are shown, how errors end."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tidegrid.domain.errors import InvalidInput, Unreachable

if TYPE_CHECKING:
    from tidegrid.client import Tide

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.", show_default=False)]


@dataclass
class Options:
    """What stands before the verb."""

    url: str = ""
    token: str = ""
    home: Path | None = None


options = Options()


def home() -> Path:
    """The server's directory: --home, TIDE_HOME, or ~/.tidegrid."""
    return options.home or Path(os.environ.get("TIDE_HOME") or Path.home() / ".tidegrid")


def address() -> tuple[str, str]:
    """(url, token): from the options, the environment, or a server's home on this machine, each on its own."""
    url = options.url or os.environ.get("TIDE_URL", "")
    token = options.token or os.environ.get("TIDE_TOKEN", "")
    if not url:
        try:
            found = json.loads((home() / "server.json").read_text())
            url = str(found["url"])
        except (OSError, ValueError, KeyError, TypeError):
            raise Unreachable("server.unknown", f"no server is known: {home() / 'server.json'} is not there",
                              hint="start one with `tide up`, or give --url and --token") from None  # fmt: skip
    if not token and not (options.url or os.environ.get("TIDE_URL")):  # the home's token goes to the home's server only
        try:
            token = (home() / "admin.token").read_text().strip()
        except OSError:
            token = ""
    if any(ord(c) < 33 or ord(c) > 126 for c in token):
        raise InvalidInput("token.malformed", "the token has characters that no token has", hint="see TIDE_TOKEN")
    return url, token


@contextmanager
def connected() -> Iterator[Tide]:
    """The SDK, open."""
    from tidegrid.client import Tide

    url, token = address()
    with Tide(url, token or None) as tide:
        yield tide


def emit(value: Any) -> None:
    """A JSON value on standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None) + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """A remark for people, on standard error."""
    sys.stderr.write(text + "\n")


@contextmanager
def noted_after(seconds: float, text: str) -> Iterator[None]:
    """A note where what is done takes longer than that."""
    import threading

    timer = threading.Timer(seconds, note, [text])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
