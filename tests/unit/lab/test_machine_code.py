"""Machine code that is of no use any more."""

from __future__ import annotations

import os
from pathlib import Path

from tidegrid.lab import machine_code


def test_machine_code_of_earlier_versions_is_removed_and_nothing_else(tmp_path: Path) -> None:
    for name, at in (("f-1.nbi", 10), ("f-1.py311.1.nbc", 10), ("f-2.nbi", 30), ("f.cpython-311.pyc", 10)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (at, at))
    machine_code.drop_old([tmp_path, tmp_path / "none"], 20.0)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f-2.nbi", "f.cpython-311.pyc"]
