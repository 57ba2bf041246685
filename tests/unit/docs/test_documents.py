"""What the documents show is what the product takes."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

from tidegrid.catalog.document import parse
from tidegrid.connectors.trouble import WHAT_TO_DO

ROOT = Path(__file__).resolve().parents[3]
UNTOLD = {  # inside the server only: no person meets them
    "cluster.no_office", "site.full", "site.action_failed", "site.outside_root",
}  # fmt: skip


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


def test_every_finding_about_a_cluster_is_in_troubleshooting() -> None:
    page = (ROOT / "docs/howto/troubleshooting.md").read_text()
    told = set(re.findall(r"^\| `([a-z_.]+)` \|", page, re.MULTILINE))
    source = "".join(p.read_text() for p in (ROOT / "src/tidegrid").rglob("*.py"))
    said = set(re.findall(r'"((?:site|secret|staging)\.[a-z_]+|cluster\.(?:root|host_key|no)_[a-z_]+)"', source))
    assert set(WHAT_TO_DO) <= told
    assert said - told <= UNTOLD, said - told - UNTOLD
