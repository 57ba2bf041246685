"""The product's own server with faults in front of its clusters: `python -m tests.chaos.server --home DIR …`.

Faults are drawn from a seed, and each is counted by a line in `faults.log` of the control directory, which survives this
process. A cluster is silent while the control directory holds `silent-<cluster>`.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import random
import signal
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

from tests.parts.faults import FaultyFiles, FaultyTransport, Rates, Silence
from tests.parts.faulty_shell import FaultyShell
from tidegrid.connectors.contract import Connector
from tidegrid.connectors.embedded.connector import EmbeddedConnector
from tidegrid.connectors.script import without_fence
from tidegrid.connectors.slurm.connector import SlurmConnector
from tidegrid.connectors.transport import SocketTransport
from tidegrid.control.submit import Submitter
from tidegrid.domain.errors import TideError
from tidegrid.launch import serve

LOST = LATE = 0.10  # of submissions
LATE_S = (1.0, 3.0)
QUESTIONS = Rates(lost_before=0.01, garbage=0.01)
SETTINGS = {
    "embedded": {"call": 3.0, "silent_after": 2.0, "permit_wait": 30, "lease": 10, "resubmit": 0.5},
    "slurm": {"tick": 0.3, "call": 8.0, "silent_after": 5.0, "permit_wait": 60, "lease": 20, "resubmit": 0.5, "orphan": 10.0, "outlived": 10.0},
}


class Logged(Counter[str]):
    """A counter whose every increment is a line in a file."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self._fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def __setitem__(self, kind: str, count: int) -> None:
        os.write(self._fd, f"{kind}\n".encode())
        super().__setitem__(kind, count)


class SilenceFile(Silence):
    """Silent while a file exists."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self._file = file

    @property
    def active(self) -> bool:
        return self._file.exists()


def is_submission(request: bytes) -> bool:
    return b'"op":"submit"' in request


class Faults:
    """Wraps connectors; the `wrap` of `serve`."""

    def __init__(self, data: Path, control: Path, seed: int, late: float = LATE) -> None:
        self.data, self.control, self.seed = data, control, seed
        self.rates = Rates(lost_after=LOST, late=late, late_s=LATE_S)

    def __call__(self, cluster: str, connector: Connector) -> Connector:
        rng = random.Random(f"{self.seed} {cluster}")
        silence = SilenceFile(self.control / f"silent-{cluster}")
        counted = Logged(self.control / "faults.log")
        if isinstance(connector, SlurmConnector):
            return self._slurm(connector, rng, silence, counted)
        socket = SocketTransport(self.data / "clusters" / cluster / "socket")
        questions = FaultyTransport(socket, rng, QUESTIONS, silence=silence, only=lambda r: not is_submission(r))
        submissions = FaultyTransport(questions, rng, self.rates, silence=silence, only=is_submission)
        files = FaultyFiles(connector.files, rng, {"spool": (0.005, 0.0), "unspool": (0.005, 0.005)}, silence=silence)
        for part in (questions, submissions, files):
            part.injected = counted
        return EmbeddedConnector(cluster, submissions, files, timeout_s=float(SETTINGS["embedded"]["call"]))


    def _slurm(
        self, connector: SlurmConnector, rng: random.Random, silence: Silence, counted: Counter[str]
    ) -> Connector:
        """sbatch is lost and late; every other command may be lost or answered with noise."""
        questions = FaultyShell(
            connector.shell,
            lambda inner: FaultyTransport(inner, rng, QUESTIONS, silence=silence, only=lambda r: not is_sbatch(r)),
        )
        submissions = FaultyShell(
            questions, lambda inner: FaultyTransport(inner, rng, self.rates, silence=silence, only=is_sbatch)
        )
        files = FaultyFiles(connector.files, rng, {"spool": (0.005, 0.0), "unspool": (0.005, 0.005)}, silence=silence)
        for part in (questions.faults, submissions.faults, files):
            part.injected = counted
        settings = replace(connector.settings, load_every=4.0)  # so that a run need not wait long for what was orphaned
        return SlurmConnector(connector.cluster, submissions, files, settings)


def is_sbatch(request: bytes) -> bool:
    return b" sbatch --" in request


def cut_the_fence() -> None:
    """For the control run: what is submitted from now on has no fence."""
    make = Submitter.__init__

    def init(self: Submitter, *args: object, **kw: object) -> None:
        make(self, *args, **kw)  # type: ignore[arg-type]
        cut = without_fence(self.template)
        if cut == self.template:
            raise SystemExit("there is no fence to cut out of the batch script")
        self.template = cut

    Submitter.__init__ = init  # type: ignore[method-assign]


def _tell_tasks(*_: object) -> None:
    """`kill -USR1`: where every task waits, to server.err: for a run that does not go on."""
    for task in gc.get_objects():
        if isinstance(task, asyncio.Task) and not task.done():
            task.print_stack(file=sys.stderr)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--control", type=Path, required=True)
    parser.add_argument("--database", default="")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--fence", choices=("on", "off"), default="on")
    parser.add_argument("--kind", choices=tuple(SETTINGS), default="embedded")
    parser.add_argument("--late", type=float, default=LATE)
    parser.add_argument("--data", type=Path, default=None)
    parser.add_argument("--lease", type=float, default=15.0)
    args = parser.parse_args()
    signal.signal(signal.SIGUSR1, _tell_tasks)
    if args.fence == "off":
        cut_the_fence()
    try:
        serve.serve(
            args.home,
            port=args.port,
            database=args.database,
            data=args.data,
            settings={**SETTINGS[args.kind], "server_lease": args.lease},
            wrap=Faults(args.data or args.home, args.control, args.seed, args.late),
            quiet=True,
        )
    except TideError as e:
        print(f"chaos server: {e}", file=sys.stderr)
        return e.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
