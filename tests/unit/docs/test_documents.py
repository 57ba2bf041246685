"""What the documents show is what the product takes."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

from tidegrid.catalog.document import parse

ROOT = Path(__file__).resolve().parents[3]


def test_the_how_tos_application_runs_and_is_near_enough(tmp_path: Path) -> None:
    text = (ROOT / "docs/howto/write-an-application.md").read_text()
    application = parse(re.findall(r"^```yaml\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)[0])
    (test,) = application.tests
    script = application.render(application.validate(test.params))
    subprocess.run(["sh", "-c", script], cwd=tmp_path, check=True)
    (expect,) = test.expect
    assert expect.min is not None and expect.max is not None
    assert expect.min < json.loads((tmp_path / expect.file).read_text())["pi"] < expect.max


def test_links_between_documents_lead_somewhere() -> None:
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} points to {target}, which is not there"


def test_every_make_target_that_a_document_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        named = set(re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(), re.MULTILINE))
        assert named <= targets, f"{page.name}: {named - targets}"
