"""Scripts written for sbatch: read as the real one reads them, and run by `tide sbatch` on real Slurm as they are."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

from tests.parts.batch_scripts import ARRAY, CASES, PLAIN, WARNED, WARNED_BELOW, Case
from tests.parts.platform import running

from tidegrid.catalog import batch_values as values
from tidegrid.catalog.batch_options import SCRIPT, Takes, of_environment, parse, strongest
from tidegrid.catalog.batch_words import read
from tidegrid.domain.errors import InvalidInput
from tidegrid.launch.testbed import Testbed
from tidegrid.launch.testbed.network import describe, install_keys

_TOLD = re.compile(r"^sbatch: ([a-z][a-z0-9-]*?) +: (.*)$", re.M)
_ITS_OWN = {"verbose", "test-only", "nodes", "ntasks"}  # settled from each other, not only read
_SAID_OTHERWISE = {"begin", "export", "dependency", "mail-type", "exclusive", "get-user-env", "propagate", "nice", "hint", "open-mode"}


def theirs(bed: Testbed, case: Case, tmp_path: Path) -> dict[str, str] | str:
    """The options that sbatch says it read; a text where it refuses to read them."""
    script = tmp_path / "job.sh"
    script.write_text(case.text)
    options = [o for o in case.options if not o.startswith("--ignore-")]
    known = bed.clusters[0].environment
    answer = subprocess.run(["sbatch", "-vv", "--test-only", *options, str(script)], capture_output=True, text=True, cwd=tmp_path,
                            env={**known, **case.environment, "HOME_DIR": "/home/me"}, check=False)  # fmt: skip
    block = answer.stderr.partition("defined options")[2].partition("end of defined options")[0]
    return {k: v.strip() for k, v in _TOLD.findall(block)} if block else answer.stderr


def ours(case: Case) -> dict[str, str]:
    options = [o for o in case.options if not o.startswith("--ignore-")]
    script = read(case.text)
    given = [g for d in script.directives for g in parse(d.words, "", line=d.line, rank=SCRIPT)]
    found = strongest([*given, *of_environment(case.environment)[0], *parse(options, "")])
    return {name: g.value if g.option.takes is not Takes.NOTHING else "set" for name, g in found.items()}


def same(name: str, one: str, other: str) -> bool:
    """Whether sbatch's word for a value says what was written."""
    try:
        if name == "time":
            mine = values.minutes(other)
            return values.minutes(one) == (mine if mine == values.UNLIMITED else -(-mine // 60) * 60)  # it counts in minutes
        if name.startswith("mem"):
            return values.mebibytes(one.rstrip("?")) == values.mebibytes(other)
        if name in ("output", "error", "chdir", "input"):
            return os.path.basename(one) == os.path.basename(other)
        if name == "signal":
            return values.signal(one) == values.signal(other)
    except ValueError:
        return False
    return one.replace("gres:", "").replace("gres/", "").replace("gpu:", "") == other.replace("gpu:", "") or other == "set" or name in _SAID_OTHERWISE


def test_options_are_read_as_sbatch_reads_them(slurm: Testbed, tmp_path: Path) -> None:
    """Every script of the collection: the same options with the same values, and none that sbatch does not take."""
    compared = 0
    for case in CASES:
        if case.name in ("DOS line ends", "wrap", "heterogeneous"):
            continue  # sbatch refuses the first; of the second it sees no script; the third it takes apart
        said = theirs(slurm, case, tmp_path)
        try:
            found = ours(case)
        except InvalidInput as e:
            assert isinstance(said, str) and ("error" in said or "fatal" in said or "unrecognized" in said or "ambiguous" in said), (case.name, e, said)
            continue
        print(case.name, said if isinstance(said, str) else "")
        if isinstance(said, str):
            # 22.05 refuses what is said of memory in two ways, wherever; here the command line wins over the script
            assert case.refused or case.name == "memory of the command line wins", (case.name, said)
            continue
        compared += 1
        assert set(said) - _ITS_OWN - set(found) == set(), (case.name, said, found)
        for name, value in said.items():
            if name in found and name not in _ITS_OWN:
                assert same(name, value, found[name]), (case.name, name, value, found[name])
    assert compared >= 25


def test_scripts_run_on_slurm_as_they_are(slurm: Testbed, tmp_path: Path) -> None:
    home, roots = tmp_path / "home", tmp_path / "roots"
    install_keys(slurm, home)
    network = describe(slurm, roots=roots) + "  rival: {opening_balance: 100}\n"
    two_nodes = "#!/bin/bash\n#SBATCH -N 2 --ntasks-per-node=2 -t 2 --mem=64M -M alpha\nsrun sh -c 'echo $SLURMD_NODENAME' | sort | uniq -c\n"

    async def main() -> None:
        async with running(home, network=network, settings={"tick": 0.3, "silent_after": 8.0, "permit_wait": 60}) as net:
            p, ada = net.platform, net.acme
            sha = (await p.upload(ada, _once(b"abc\n")))["sha256"]
            ids = []
            for script in (PLAIN, ARRAY, WARNED, WARNED_BELOW, two_nodes):
                found = await p.batch_script(ada, {"script": script, "name": "run.sh", "args": ["a b"]})
                inputs = [{"path": "data/in.txt", "sha256": sha}] if script == PLAIN else []
                ids.append((await p.submit(ada, {**found["submission"], "inputs": inputs}, None))["id"])
            views = await net.wait(*ids, actor=ada, timeout=110)
            assert [v["state"] for v in views] == ["succeeded", "succeeded", "failed", "succeeded", "succeeded"], views

            async def content(job: str, path: str) -> str:
                return (await p.output_path(ada, job, path)).read_text()

            told = (await content(ids[0], "log/0.out")).split("\n")
            assert told[:3] == ["hello 2 2 4 1 a b", "to stderr", "2"], told
            assert await content(ids[0], "upper.txt") == "ABC\n"
            assert await content(ids[0], f"logs/hello-{views[0]['attempts'][-1]['native_id']}.out") == "\n".join(told)
            assert [await content(ids[1], f"{t}/o_00{t}.txt") for t in (3, 5, 7)] == ["3 3 7\n", "5 3 7\n", "7 3 7\n"]
            assert await content(ids[2], "log/0.out") == "saved\n"
            assert await content(ids[3], "log/0.out") == "went on after 6\n"
            assert sorted((await content(ids[4], "log/0.out")).split()) == ["2", "2", "alpha1", "alpha2"]

    asyncio.run(main())


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
