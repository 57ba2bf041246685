"""What was asked of placement, as bytes, so that a decision that was made live is made again from what was kept.

A record and the snapshot it names are all that `placement.decide` sees: the same bytes in, the same bytes out, in whatever
process and year, as long as the policy is the same (its hash stands in every answer).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, get_type_hints

import numpy as np

from tidegrid.domain.errors import Broken
from tidegrid.scheduling.decision import Decision
from tidegrid.scheduling.objective import Objective
from tidegrid.scheduling.placement import BEST, Request, decide
from tidegrid.scheduling.snapshot import Snapshot
from tidegrid.scheduling.weighing import Batch

SCHEMA = 1


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """One call of placement. alone: each request as if it were the only one, none charged to the others; k: candidates kept."""

    requests: tuple[Request, ...]
    alone: bool = False
    k: int = BEST
    overrides: Mapping[str, Objective] = dataclasses.field(default_factory=dict)

    def decide(self, snapshot: Snapshot) -> list[Decision]:
        """Byte for byte what was decided on this snapshot, under the same policy."""
        if self.alone:
            batch = Batch(snapshot, self.overrides)
            return [batch.decide(r, self.k, charges=False) for r in self.requests]
        return decide(self.requests, snapshot, self.overrides, self.k)

    def to_bytes(self) -> bytes:
        """Compressed; the same content gives the same bytes."""
        body = {
            "schema": SCHEMA, "alone": self.alone, "k": self.k,
            "overrides": {name: dataclasses.asdict(row) for name, row in self.overrides.items()},
            "requests": [_plain(r) for r in self.requests],
        }  # fmt: skip
        return zlib.compress(json.dumps(body, sort_keys=True, separators=(",", ":")).encode(), 6)

    @staticmethod
    def from_bytes(data: bytes) -> Asked:
        """Broken (decision.record) where `data` is no record that this release reads."""
        try:
            body = json.loads(zlib.decompress(data))
            if body["schema"] != SCHEMA:
                raise ValueError(f"it has schema {body['schema']}, this program reads {SCHEMA}")
            return Asked(
                tuple(_made(Request, r) for r in body["requests"]), body["alone"], body["k"],
                {name: Objective(**row) for name, row in body["overrides"].items()},
            )  # fmt: skip
        except (ValueError, KeyError, TypeError, zlib.error) as error:
            raise Broken("decision.record", f"this is no record of a decision: {error}") from None


def answer(decisions: Sequence[Decision]) -> bytes:
    """The decisions as canonical JSON: what a replay must give again."""
    return json.dumps([d.to_json() for d in decisions], sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest(decisions: Sequence[Decision]) -> str:
    """SHA-256 of `answer`, in hex."""
    return hashlib.sha256(answer(decisions)).hexdigest()


def _plain(value: Any) -> Any:
    """JSON values of a frozen value; an array says what it is, so that its last bit comes back."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        default = {f.name: f.default for f in dataclasses.fields(value)}
        return {
            f.name: _plain(v)
            for f in dataclasses.fields(value)
            if isinstance(v := getattr(value, f.name), np.ndarray) or v != default[f.name]
        }
    if isinstance(value, np.ndarray):
        little = np.ascontiguousarray(value).astype(value.dtype.newbyteorder("<"), copy=False)
        return {"dtype": little.dtype.str, "shape": list(little.shape), "hex": little.tobytes().hex()}
    if isinstance(value, (tuple, list)):
        return [_plain(v) for v in value]
    if isinstance(value, Mapping):
        return {"map": [[_plain(k), _plain(v)] for k, v in value.items()]}
    if isinstance(value, np.generic):
        return value.item()
    return value


def _made(kind: type, body: Mapping[str, Any]) -> Any:
    hints = get_type_hints(kind)
    return kind(**{name: _value(hints[name], value) for name, value in body.items()})


def _value(hint: Any, value: Any) -> Any:
    if isinstance(value, dict):
        if "hex" in value:
            flat = np.frombuffer(bytes.fromhex(value["hex"]), value["dtype"])
            return flat.reshape(value["shape"]).astype(np.dtype(value["dtype"]).newbyteorder("="))
        if "map" in value:
            return {_value(None, k): _value(None, v) for k, v in value["map"]}
        return _made(hint, value)
    return tuple(_value(None, v) for v in value) if isinstance(value, list) else value
