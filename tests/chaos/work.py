"""The jobs of a chaos run: short shell scripts that say when they begin and end, in a file outside the platform."""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tidegrid.client import Tide
from tidegrid.domain.errors import TideError, Unreachable

# The batch script is this one's parent: its age is what the job's own clock says of the time before this line.
SCRIPT = """\
read -r stat <"/proc/$PPID/stat"
read -r up _ </proc/uptime
token=$CHAOS_TOKEN witness=$CHAOS_WITNESS pause=$CHAOS_SLEEP
set -- ${stat##*) }
now=$(date +%s%N)
waited=$(((${up%.*}${up#*.} - ${20}) * 10))
nonce=$TIDE_ATTEMPT/$TIDE_NATIVE_ID/$now.$$/${SLURM_CLUSTER_NAME:-}
printf 'start %s %s %s %s %s %s\\n' "$token" "$TIDE_TASK" "$nonce" "$now" $$ "$waited" >>"$witness"
sleep "$pause"
printf 'end %s %s %s %s %s\\n' "$token" "$TIDE_TASK" "$nonce" "$(date +%s%N)" $$ >>"$witness"
"""


@dataclass(frozen=True, slots=True)
class Work:
    """One job. token: its name, and what it writes; ordered: where it would like to run, first choice first."""

    token: str
    tasks: list[int]
    seconds: float
    movable: bool | None
    restartable: bool
    cores: int = 1
    ordered: tuple[str, ...] = ()

    def body(self, witness: Path) -> dict[str, Any]:
        body: dict[str, Any] = {
            "app": "script",
            "params": {"script": SCRIPT},
            "name": self.token,
            "resources": {"cores": self.cores, "memory_mib": 64, "wall_s": 60},
            "env": {"CHAOS_TOKEN": self.token, "CHAOS_WITNESS": str(witness), "CHAOS_SLEEP": f"{self.seconds:.3f}"},
            "movable": self.movable,
            "restartable": self.restartable,
        }
        if len(self.tasks) > 1:
            body["array"] = f"0-{len(self.tasks) - 1}"
        if self.ordered:
            body["constraints"] = {"ordered": list(self.ordered)}
        return body


def make(rng: random.Random, jobs: int) -> list[Work]:
    """A third wait for no permit, for half of the others their owner says that they do; a tenth restartable, a twentieth arrays of
    three."""
    return [
        Work(
            token=f"w{i:05d}",
            tasks=list(range(3 if rng.random() < 0.05 else 1)),
            seconds=rng.uniform(0.05, 0.6),
            movable=rng.choice((None, True, False)),
            restartable=rng.random() < 0.1,
        )
        for i in range(jobs)
    ]


def spread(rng: random.Random, jobs: int, places: Sequence[str], seconds: Callable[[random.Random], float]) -> list[Work]:
    """The same mix over `places` in every order, of one to four cores, with run times drawn from `seconds`."""
    return [
        replace(
            w,
            seconds=seconds(rng),
            cores=rng.choice((1, 1, 2, 4)),
            ordered=tuple(rng.sample(list(places), len(places))),
        )
        for w in make(rng, jobs)
    ]


class Submitter(threading.Thread):
    """Submits what it is given, singly and in bulk, each with an idempotency key, until the server has acknowledged it.

    A request whose answer was lost is sent again with the same key and body. retries: how often that was needed.
    """

    def __init__(self, tide: Tide, rng: random.Random, witness: Path) -> None:
        super().__init__(name="submitter", daemon=True)
        self._tide, self._rng, self._witness = tide, rng, witness
        self._queue: deque[list[Work]] = deque()
        self._wake = threading.Condition()
        self._closed = False
        self.retries = 0
        self.acknowledged = 0
        self.failure: Exception | None = None

    def give(self, work: Sequence[Work]) -> None:
        """Half of the requests are single jobs, half bulks of up to thirty."""
        rest = list(work)
        with self._wake:
            while rest:
                n = 1 if self._rng.random() < 0.5 else self._rng.randint(2, 30)
                self._queue.append(rest[:n])
                rest = rest[n:]
            self._wake.notify()

    def close(self) -> None:
        """Nothing more will be given."""
        with self._wake:
            self._closed = True
            self._wake.notify()

    def run(self) -> None:
        while True:
            with self._wake:
                while not self._queue and not self._closed:
                    self._wake.wait()
                if not self._queue:
                    return
                batch = self._queue.popleft()
            try:
                self._send(batch)
            except TideError as e:
                self.failure = e
                return

    def _send(self, batch: list[Work]) -> None:
        key = f"chaos-{batch[0].token}-{len(batch)}"
        bodies = [w.body(self._witness) for w in batch]
        while True:
            try:
                if len(bodies) == 1:
                    self._tide.submit(key=key, **bodies[0])
                else:
                    self._tide.submit_many(bodies, key=key)
                self.acknowledged += len(batch)
                return
            except Unreachable:
                self.retries += 1
