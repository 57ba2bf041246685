"""docs/howto/connect-your-cluster.md, typed into a shell, against a cluster of the test-bed."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from tidegrid.connectors.slurm.hostkeys import host_key
from tidegrid.launch.testbed import Testbed

ROOT = Path(__file__).resolve().parents[2]
_WAIT = "i=0; until [ -e $TIDE_HOME/server.json ] || [ $i -gt 300 ]; do sleep 0.1; i=$((i + 1)); done"


def test_it_works_as_typed(private_slurm: Testbed, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "howto" / "connect-your-cluster.md").read_text()
    typed = "\n".join(re.findall(r"^```\n(.*?)^```$", page, re.DOTALL | re.MULTILINE))
    ssh = private_slurm.cluster("alpha").ssh
    words = ssh.known_hosts.read_text().split()
    fingerprint = host_key(" ".join(words[1:3])).fingerprint
    authorized = private_slurm.directory / "ssh" / "authorized" / ssh.user
    for line, instead in (
        ('"$HOME/.tidegrid"', f'"{tmp_path}/home"'),
        ("tide up --quiet &\n", f"tide up --quiet --port 0 &\n{_WAIT}\n"),
        (">alpha-key.pub\n", f">alpha-key.pub\ncat alpha-key.pub >{authorized}\n"),  # the centre does that, and knows no other key
        ("ssh://tide@login.example.org", ssh.url),
        ("SHA256:LEx9mkSR3fYNsNRdmYGAlNmbMRgHlfwjlcXQHqlYVWw", fingerprint),
        ("/home/tide/tidegrid", f"{tmp_path}/root"),
        ("tide cluster check alpha --file network.yaml\n", 'tide cluster check alpha --file network.yaml; echo "check: $?"\n'),
    ):
        assert line in typed, f"the how-to has no {line!r} any more: mend this test"
        typed = typed.replace(line, instead)
    typed = f'PATH="{Path(sys.executable).parent}:$PATH"\n{typed}\ntide cluster check alpha; echo "in force: $?"\nkill %1; wait %1 || true\n'
    with (tmp_path / "typed").open("w+") as said:
        shell = subprocess.Popen(["bash", "-c", typed], cwd=tmp_path, stdout=said, stderr=said, start_new_session=True)
        try:
            shell.wait(110)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGTERM)
        said.seek(0)
        out = said.read()
    assert "error: " not in out and "command not found" not in out, out
    assert "check: 0\n" in out and "in force: 0\n" in out and "alpha: all is well" in out, out
    assert re.search(r"^hello from \d+$", out, re.M) and "MISSING" not in out, out
    log = (tmp_path / "home" / "server.log").read_text()
    private = (tmp_path / "home" / "secrets" / "alpha-key").read_text().splitlines()[1:-1]
    assert not [line for line in private if line in log + out]  # not in any log, not on any screen
