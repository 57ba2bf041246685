"""What was already told to the server: how far accounting was read, and which starts and ends were given out.

Accounting is read again over an overlap, for rows come late; so every end is remembered until no reading can show it again.
An end is (second, array's id, task): ids come back after a controller's crash, an id with its second does not.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from tidegrid.connectors.contract import SiteUnsure
from tidegrid.domain.errors import TideError
from tidegrid.domain.ranges import compress, expand

Key = tuple[int, int]  # the array's id (or the job's), task
KEEP_S = 3600


@dataclass
class Told:
    """Ends given out, by second, each with the second of its start where that is of interest; 0: not noted."""

    by_second: dict[int, dict[Key, int]] = field(default_factory=dict)

    def has(self, key: Key, second: int) -> bool:
        return key in self.by_second.get(second, ())

    def start(self, key: Key, second: int) -> int:
        return self.by_second.get(second, {}).get(key, 0)

    def add(self, key: Key, second: int, start: int = 0) -> None:
        self.by_second.setdefault(second, {})[key] = start

    def tasks(self, base: int) -> set[int]:
        return {t for keys in self.by_second.values() for b, t in keys if b == base}

    def prune(self, before: int, listed: Collection[int]) -> None:
        """Forget what ended earlier and is not listed any more."""
        for second in [s for s in self.by_second if s < before]:
            kept = {k: at for k, at in self.by_second[second].items() if k[0] in listed}
            if kept:
                self.by_second[second] = kept
            else:
                del self.by_second[second]

    def packed(self) -> dict[str, dict[str, str]]:
        """{end, or end-elapsed: ids}."""
        groups: dict[str, list[Key]] = {}
        for end, keys in sorted(self.by_second.items()):
            for key, start in keys.items():
                groups.setdefault(f"{end}-{end - start}" if start else str(end), []).append(key)
        return {when: _pack(keys) for when, keys in groups.items()}

    @classmethod
    def unpack(cls, packed: dict[str, dict[str, str]]) -> Told:
        told = cls()
        for when, keys in packed.items():
            end, _, elapsed = when.partition("-")
            for key in _unpack(keys):
                told.add(key, int(end), int(end) - int(elapsed) if elapsed else 0)
        return told


@dataclass
class Cursor:
    """upto, wide: unix seconds of the last reading of accounting and of the last one with the long overlap; 0: never.
    again: how many runs of a task have ended that were not its last."""

    upto: int = 0
    wide: int = 0
    started: set[Key] = field(default_factory=set)
    accounted: Told = field(default_factory=Told)
    controlled: Told = field(default_factory=Told)
    again: dict[Key, int] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Cursor:
        if not text:
            return cls()
        try:
            raw = json.loads(text)
            return cls(
                int(raw["u"]),
                int(raw["w"]),
                _unpack(raw["s"]),
                Told.unpack(raw["a"]),
                Told.unpack(raw["c"]),
                {_key(k): int(n) for k, n in raw["r"].items()},
            )
        except (ValueError, KeyError, TypeError, AttributeError, TideError) as e:
            raise SiteUnsure(f"the cursor {text[:80]!r} is none of Slurm's: {e!r}", silent=False) from None

    def text(self) -> str:
        return json.dumps(
            {
                "u": self.upto,
                "w": self.wide,
                "s": _pack(self.started),
                "a": self.accounted.packed(),
                "c": self.controlled.packed(),
                "r": {f"{b}_{t}": n for (b, t), n in sorted(self.again.items())},
            },
            separators=(",", ":"),
        )

    def prune(self, listed: Collection[int]) -> None:
        before = self.upto - KEEP_S
        self.accounted.prune(before, listed)
        self.controlled.prune(before, listed)
        if len(self.again) > 1000:
            self.again = {k: n for k, n in self.again.items() if k[0] in listed}


def _pack(keys: Iterable[Key]) -> dict[str, str]:
    """{tasks: ids}: plain jobs and equal arrays with ids in a row take a few bytes together."""
    by_base: dict[int, list[int]] = {}
    for base, task in keys:
        by_base.setdefault(base, []).append(task)
    by_tasks: dict[str, list[int]] = {}
    for base, tasks in by_base.items():
        by_tasks.setdefault(compress(tasks), []).append(base)
    return {tasks: compress(bases) for tasks, bases in sorted(by_tasks.items())}


def _unpack(packed: dict[str, str]) -> set[Key]:
    return {(base, task) for tasks, bases in packed.items() for base in expand(bases) for task in expand(tasks)}


def _key(text: str) -> Key:
    base, _, task = text.partition("_")
    return int(base), int(task)
