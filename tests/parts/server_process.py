"""The product's own server, to be stopped at chosen points: `python -m tests.parts.server_process --home DIR …`.

While the control directory holds `stop-at-<point>`, the process stops itself there (SIGSTOP, all threads), once, and leaves a line
in `stopped`. Points: `submit` (before the submission leaves, after its lease was looked at), `unspool` (before permits are
given, after the tick was committed), `transaction` (in the middle of a tick's transaction, with everything it has locked).

With `--check off` the server trusts its memory: no token is checked, and no lease is ever believed to be lost.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import signal
import sys
from pathlib import Path
from typing import Any

from tidegrid.connectors.contract import Connector
from tidegrid.control import acting, actions, committing, leases, permits
from tidegrid.domain.errors import TideError
from tidegrid.launch import serve

SETTINGS = {"tick": 0.1, "call": 5.0, "silent_after": 4.0, "permit_wait": 30, "lease": 10, "resubmit": 0.5}


class Stops:
    def __init__(self, control: Path) -> None:
        self.control = control

    def at(self, point: str) -> None:
        try:
            (self.control / f"stop-at-{point}").unlink()
        except FileNotFoundError:
            return
        with (self.control / "stopped").open("a") as f:
            f.write(f"{point}\n")
        os.kill(os.getpid(), signal.SIGSTOP)


class Stopping:
    """A connector, or its files, whose calls stop the process before they do anything."""

    def __init__(self, inner: Any, stops: Stops) -> None:
        self.__dict__["_inner"], self.__dict__["_stops"] = inner, stops

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name == "files":
            return Stopping(found, self._stops)
        if name not in ("submit", "unspool"):
            return found

        async def call(*args: Any, **kw: Any) -> Any:
            self._stops.at(name)
            return await found(*args, **kw)

        return call


def stop_in_transactions(stops: Stops) -> None:
    inner = committing.refresh

    def refresh(*args: Any, **kw: Any) -> Any:
        found = inner(*args, **kw)
        if args[2]:  # something was touched
            stops.at("transaction")
        return found

    for module in (committing, permits, actions):
        module.refresh = refresh


def trust_memory() -> None:
    """The control: what it once held, it holds for ever."""
    acting.Held.still = lambda self, conn: True  # type: ignore[method-assign,assignment]
    acting.Held.require = lambda self: None  # type: ignore[method-assign]
    step = leases.Leases._step

    def blind(self: Any, conn: Any, mine: Any) -> Any:
        return dataclasses.replace(step(self, conn, mine), kept=frozenset(mine), give=(), usurped=False)

    leases.Leases._step = blind  # type: ignore[method-assign]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--control", type=Path, required=True)
    parser.add_argument("--database", required=True)
    parser.add_argument("--lease", type=float, required=True)
    parser.add_argument("--check", choices=("on", "off"), default="on")
    args = parser.parse_args()
    stops = Stops(args.control)
    stop_in_transactions(stops)
    if args.check == "off":
        trust_memory()

    def wrap(cluster: str, connector: Connector) -> Connector:
        found: Any = Stopping(connector, stops)
        return found

    try:
        serve.serve(
            args.home, port=0, database=args.database, data=args.data, wrap=wrap, quiet=True,
            settings={**SETTINGS, "server_lease": args.lease},
        )  # fmt: skip
    except TideError as e:
        print(f"server: {e}", file=sys.stderr)
        return e.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
