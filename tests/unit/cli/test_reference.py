"""The generated reference says what the code says."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

BY_ASKER = {"`network.none`", "`price.missing`"}  # a question finds nothing, an order cannot be carried out
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "tools" / "reference.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["reference"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["cli.md", "rest.md", "errors.md"])
def test_the_reference_is_up_to_date(reference: ModuleType, page: str) -> None:
    written = (ROOT / "docs" / "reference" / page).read_text(encoding="utf-8")
    assert written == reference.pages()[page], "run: python tools/reference.py"


def test_a_code_means_one_kind_of_error(reference: ModuleType) -> None:
    seen: dict[str, set[str]] = {}
    for line in reference.errors().splitlines():
        cells = [c.strip() for c in line.split("|")]
        if len(cells) == 7 and cells[1].startswith("`"):
            seen.setdefault(cells[1], set()).add(cells[2])
    assert seen
    assert {code for code, kinds in seen.items() if len(kinds) > 1} <= BY_ASKER
