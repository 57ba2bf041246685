"""docs/tutorial.md, typed into a shell."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.chaos.processes import stop_supervisors

ROOT = Path(__file__).resolve().parents[2]
# A person waits until the server has said where it answers.
_WAIT = "i=0; until [ -e $TIDE_HOME/server.json ] || [ $i -gt 300 ]; do sleep 0.1; i=$((i + 1)); done"


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_it_works_as_typed(tmp_path: Path) -> None:
    blocks = re.findall(r"^```\n(.*?)^```$", (ROOT / "docs" / "tutorial.md").read_text(), re.DOTALL | re.MULTILINE)
    typed = "\n".join(blocks)
    for line, instead in (
        ("make setup\n", ""),
        ('"$PWD/.venv/bin:$PATH"', f'"{Path(sys.executable).parent}:$PATH"'),
        ('"$(mktemp -d)/home"', f'"{tmp_path}/home"'),
        ("tide up --quiet --port 0 &\n", f"tide up --quiet --port 0 &\n{_WAIT}\n"),
        ("kill %1\n", "kill %1; wait %1 || true\n"),
    ):
        assert line in typed, f"the tutorial has no {line!r} any more: mend this test"
        typed = typed.replace(line, instead)
    with (tmp_path / "typed").open("w+") as said:
        shell = subprocess.Popen(["bash", "-c", typed], cwd=tmp_path, stdout=said, stderr=said, start_new_session=True)
        try:
            shell.wait(160)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGTERM)
            stop_supervisors(tmp_path / "home" / "clusters")
        said.seek(0)
        out = said.read()
    assert "command not found" not in out and out.count("error: ") == 2, out
    assert "hello from job-" in out and '"conserved": true' in out and out.count("exit status 2") == 2
    assert "CHARGED" in out and "placed on" in out
