"""Record what real Slurm says to our commands, for the parsers' tests: `python tests/unit/connectors/recorded/record.py`.

Brings up a test-bed with accounting, gives it jobs in every state, and writes one file a command below `<release>/`. Host name and
directory of the test-bed are replaced. Times and ids differ with every recording; the tests look at what must not.
"""

from __future__ import annotations

import asyncio
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tidegrid.connectors.slurm import commands as c
from tidegrid.connectors.slurm import survey_commands as s
from tidegrid.connectors.slurm.shell import LocalShell, Output
from tidegrid.launch import testbed

HERE = Path(__file__).parent
REFUSALS = {
    "no_partition": "--partition=gone --mem=10M",
    "impossible": "--partition=cpu --cpus-per-task=4000 --mem=10M",
    "account": "--partition=cpu --account=nobody --mem=10M",
    "qos": "--partition=cpu --qos=gold --mem=10M",
    "node": "--partition=cpu --nodelist=elsewhere --mem=10M",
    "feature": "--partition=cpu --constraint=quantum --mem=10M",
    "gres": "--partition=gpu --gres=gpu:h100:1 --mem=10M",
    "array": "--partition=cpu --array=0-5000 --mem=10M",
    "too_many_nodes": "--partition=debug --nodes=3 --mem=10M",
    "option": "--no-such-option",
    "time": "--partition=cpu --time=soon",
}


class Recorder:
    def __init__(self, bed: testbed.Testbed, target: Path) -> None:
        self.bed, self.target = bed, target
        self.shells: dict[str, LocalShell] = {}

    async def ask(self, cluster: str, command: str, stdin: str = "") -> Output:
        environment = self.bed.cluster(cluster).environment
        shell = self.shells.setdefault(
            cluster, LocalShell(environment={k: environment[k] for k in ("SLURM_CONF", "PATH")})
        )
        return await shell.run(command, stdin, timeout=120)

    async def keep(self, name: str, cluster: str, command: Any, stdin: str = "") -> Output:
        text = command if isinstance(command, str) else command.command
        answer = await self.ask(cluster, text, stdin)
        body = f"rc {answer.rc}\n--- stdout\n{answer.stdout}\n--- stderr\n{answer.stderr}"
        for was, becomes in ((str(self.bed.directory), "/opt/site"), (platform.node().split(".")[0], "login1")):
            body = body.replace(was, becomes) if len(was) > 3 else _word(body, was, becomes)
        (self.target / f"{name}.txt").write_text(body)
        return answer


def _word(text: str, was: str, becomes: str) -> str:
    import re

    return re.sub(rf"(?<![\w-]){re.escape(was)}(?![\w-])", becomes, text)


async def record(bed: testbed.Testbed, target: Path) -> None:
    r = Recorder(bed, target)
    script = "#!/bin/sh\n{}\n"

    async def submit(cluster: str, options: str, body: str) -> None:
        answer = await r.ask(cluster, f"sbatch --parsable --no-requeue -o /dev/null {options}", script.format(body))
        assert answer.rc == 0, answer

    await submit("alpha", "-J tg-done -p cpu --mem=10M", "true")
    await submit("alpha", "-J tg-failed -p cpu --mem=10M", "exit 3")
    await submit("alpha", "-J tg-killed -p cpu --mem=10M", "kill -9 $$")
    await submit("alpha", "-J tg-array -p cpu --mem=10M --array=0-5%2 --comment=tide:0-5", "[ $SLURM_ARRAY_TASK_ID != 1 ] || exit 4; sleep 600")
    await submit("alpha", "-J tg-held -p cpu --mem=10M --hold", "true")
    await submit("alpha", "-J tg-long -p debug --mem=10M --time=9:00:00", "true")
    await submit("alpha", "-J 'other|job' -p cpu --mem=10M -t 1-02:03:04 -c 4", "sleep 600")
    await submit("alpha", "-J tg-gone -p cpu --mem=10M --hold", "true")
    await submit("gamma", "-J tg-gpu -p gpu --mem=4G --gres=gpu:v100:2 -c 8", "sleep 600")
    await r.ask("alpha", "scancel --name=tg-gone")
    await asyncio.sleep(2)
    await r.keep("sacct_early", "alpha", c.Sacct(int(time.time()) - 3600))
    await asyncio.sleep(10)  # slurmctld tells slurmdbd of starts every five seconds
    await r.keep("squeue", "alpha", c.Squeue())
    await r.keep("squeue_named", "alpha", c.Squeue("tg-array"))
    await r.keep("sacct", "alpha", c.Sacct(int(time.time()) - 3600))
    await r.keep("sacct_disabled", "beta", c.Sacct(int(time.time()) - 3600))
    for cluster in ("alpha", "gamma"):
        await r.keep(f"sinfo_{cluster}", cluster, c.Sinfo())
        await r.keep(f"load_{cluster}", cluster, c.Load())
        await r.keep(f"config_{cluster}", cluster, c.Config())
        await r.keep(f"partitions_{cluster}", cluster, s.ShowPartitions())
        await r.keep(f"nodes_{cluster}", cluster, s.ShowNodes())
    await r.keep("ping", "alpha", c.Ping())
    await r.keep("assoc", "alpha", s.Associations("alpha"))
    await r.keep("assoc_disabled", "beta", s.Associations("beta"))
    await r.keep("default_account", "alpha", s.DefaultAccount())
    await r.keep("qos", "alpha", s.ListQos())
    await r.keep("tools", "alpha", s.Tools())
    await r.keep("identity", "alpha", s.Identity())
    await r.keep("places", "alpha", s.Places())
    await r.keep("unknown_job", "alpha", "squeue -h -j 999999")
    await r.keep("scancel_unknown", "alpha", c.Scancel("tg-unknown"))
    for name, options in REFUSALS.items():
        await r.keep(f"refused_{name}", "gamma" if name == "gres" else "alpha", f"sbatch --parsable {options}", script.format("true"))
    await r.keep("refused_no_script", "alpha", "sbatch --parsable --partition=cpu", "not a script\n")
    with tempfile.TemporaryDirectory() as d:
        directory = Path(d)
        (directory / "job.sh").write_text("#!/bin/sh\ntrue\n")
        sbatch = c.Sbatch(str(directory), "job.sh", ("--parsable", "--job-name=tg-sbatch", "--partition=cpu", "--mem=10M"))
        await r.keep("sbatch", "alpha", sbatch, sbatch.stdin)
    await r.ask("alpha", "scancel --name=tg-array; scancel --name='other|job'")
    await r.ask("gamma", "scancel --name=tg-gpu")
    bed.kill_node("beta", "beta3")
    await r.ask("beta", "scontrol update nodename=beta2 state=drain reason='disk is full = bad'")
    await r.keep("nodes_beta", "beta", s.ShowNodes())
    await r.keep("sinfo_beta", "beta", c.Sinfo())
    bed.kill_controller("alpha")
    await r.keep("down_ping", "alpha", c.Ping())
    await r.keep("down_squeue", "alpha", c.Squeue())
    await r.keep("down_sbatch", "alpha", "sbatch --parsable --partition=cpu", script.format("true"))
    await r.keep("down_scancel", "alpha", c.Scancel("tg-x"))
    await r.keep("down_config", "alpha", c.Config())
    for shell in r.shells.values():
        await shell.close()


def main() -> int:
    os.environ.pop("SLURM_CONF", None)
    bed = testbed.up(Path(tempfile.mkdtemp(prefix="tide-record-")), 3, True, bound=True)
    try:
        release = next(x for x in bed.run("alpha", "sinfo", "--version").stdout.split() if x[0].isdigit())
        target = HERE / release.rpartition(".")[0]
        target.mkdir(exist_ok=True)
        asyncio.run(record(bed, target))
    finally:
        bed.down()
    return 0


if __name__ == "__main__":
    sys.exit(main())
