"""The kernel's machine code, which numba keeps beside the source, 26 MB for each version of it, for ever."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from tidegrid.scheduling import kernel
from tidegrid.simulation import network


@cache
def tidy() -> None:
    """Remove that of earlier versions: what is older than the kernel's newest source."""
    here = Path(str(kernel.__file__)).parent
    drop_old((here / "__pycache__", Path(str(network.__file__)).parent / "__pycache__"), max(p.stat().st_mtime for p in here.glob("*.py")))


def drop_old(folders: Iterable[Path], before: float) -> None:
    """Remove the machine code from before then (s)."""
    for folder in folders:
        for path in folder.glob("*.nb[ci]"):
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < before:
                    path.unlink()
