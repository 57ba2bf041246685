"""What of a job tells how long it will run: numbers and words, under stable names.

Words are kept as 64-bit codes of their content, so that no text of a parameter is stored twice, and none can be read back.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from tidegrid.domain.job import JobSpec

MAX_NUMBERS, MAX_WORDS = 24, 16  # of an application; what is above is not looked at


@dataclass(frozen=True, slots=True)
class Traits:
    """numbers: finite values by name; words: codes (int64) by name. Names: `param.steps`, `cores`, `input_bytes`, `version`…"""

    numbers: Mapping[str, float] = field(default_factory=dict)
    words: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {"numbers": dict(self.numbers), "words": dict(self.words)}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Traits:
        return Traits(
            {str(k): float(v) for k, v in value["numbers"].items()}, {str(k): int(v) for k, v in value["words"].items()}
        )


@lru_cache(maxsize=1 << 16)
def code(text: str) -> int:
    """A text as int64; equal for equal texts, else different but for one chance in 2**63."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little", signed=True)


def of(params: Mapping[str, Any], numbers: Mapping[str, float], words: Mapping[str, str] | None = None) -> Traits:
    """Traits of an application's parameters (JSON values) beside what else is known. Numbers stay numbers; texts and truth
    values are words; a list or a table is its length and, as a whole, a word."""
    found, said = dict(numbers), {k: code(v) for k, v in (words or {}).items()}
    for name, value in params.items():
        key = f"param.{name}"
        if isinstance(value, bool) or value is None or isinstance(value, str):
            said[key] = code(json.dumps(value))
            if isinstance(value, str) and len(value) > 64:
                found[key + ".length"] = float(len(value))
        elif isinstance(value, int | float):
            if math.isfinite(value):
                found[key] = float(value)
        else:
            said[key] = code(json.dumps(value, sort_keys=True))
            found[key + ".length"] = float(len(value))
    return Traits(found, said)


def of_job(spec: JobSpec, input_bytes: int = 0) -> Traits:
    """Traits of one task of an accepted job."""
    r = spec.resources
    numbers = {
        "cores": float(r.cores), "nodes": float(r.nodes), "ranks": float(r.ranks), "gpus": float(r.gpus),
        "memory_mib": float(r.memory_mib), "wall_s": float(r.wall_s), "input_bytes": float(input_bytes),
    }  # fmt: skip
    return of(spec.params, numbers, {"version": spec.app_version, "gpu_type": r.gpu_type})
