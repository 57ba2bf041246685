"""The whole platform over real Slurm clusters, reached by ssh as a partner's would be."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.parts.platform import running, shell

from tidegrid.launch.testbed import Testbed
from tidegrid.launch.testbed.network import describe, install_keys

SETTINGS = {"tick": 0.3, "silent_after": 8.0, "permit_wait": 60}


def test_jobs_run_on_slurm_clusters_and_are_billed(slurm: Testbed, tmp_path: Path) -> None:
    home, roots = tmp_path / "home", tmp_path / "roots"
    install_keys(slurm, home)
    network = describe(slurm, roots=roots) + "  rival: {opening_balance: 100}\n"

    async def main() -> None:
        async with running(home, network=network, settings=SETTINGS) as net:
            p, ada = net.platform, net.acme
            first = await p.submit(ada, shell("echo out; hostname; echo data > result.txt", outputs=["*.txt"]), None)
            fails = await p.submit(ada, shell("exit 3"), None)
            array = await p.submit(ada, shell("echo $TIDE_TASK; [ $TIDE_TASK != 2 ]", array="0-3"), None)
            inputs = [{"path": "in.txt", "job": first["id"], "source": "result.txt"}]
            second = await p.submit(ada, shell("cat in.txt", inputs=inputs), None)
            placed = [
                await p.submit(ada, shell("echo here", constraints={"any_of": [c.name]}), None) for c in slurm.clusters
            ]
            ids = [x["id"] for x in (first, fails, array, second, *placed)]
            views = await net.wait(*ids, actor=ada, timeout=120)
            assert [v["state"] for v in views[:4]] == ["succeeded", "failed", "failed", "succeeded"], views
            assert [(v["state"], v["attempts"][-1]["cluster"]) for v in views[4:]] == [("succeeded", c.name) for c in slurm.clusters]
            assert (await p.logs(ada, first["id"], 0, "out", 0, 1000)).startswith(b"out\n")
            assert await p.logs(ada, second["id"], 0, "out", 0, 1000) == b"data\n"
            usage, _ = await p.usage(ada, limit=100)
            assert sum(1 for u in usage if u["job"] == array["id"]) == 4
            assert (await p.journal_check(net.operator))["balanced"]

    asyncio.run(main())


def test_several_nodes_whole_nodes_and_features_are_given_and_charged(slurm: Testbed, tmp_path: Path) -> None:
    """What the controller gave is what is charged: cores of all nodes, and of a node that is not shared."""
    home, roots = tmp_path / "home", tmp_path / "roots"
    install_keys(slurm, home)
    network = describe(slurm, roots=roots) + "  rival: {opening_balance: 100}\n"
    look = "scontrol show job $SLURM_JOB_ID | grep -o 'Num[NCT][a-zA-Z]*=[0-9]*' | tr '\\n' ' '"
    asked = {
        "spread": ({"nodes": 2, "cores": 4, "ranks": 2}, {}, "alpha"),
        "whole": ({"cores": 2, "exclusive": True}, {}, "alpha"),
        "feature": ({"cores": 1}, {"features": "rome", "warn_s": 60}, "beta"),  # alpha has none such: it refuses
    }

    async def main() -> None:
        async with running(home, network=network, settings=SETTINGS) as net:
            p, ada = net.platform, net.acme
            whole = {"constraints": {"any_of": ["alpha/cpu"]}, "resources": {"cores": 32, "memory_mib": 64, "wall_s": 120, "nodes": 2}}
            async with asyncio.timeout(60):  # else the list's second takes it: alpha has not answered, or somebody is still on its nodes
                while [o["wait_ahead_s"] for o in (await p.offers(ada, shell("true") | whole))["offers"]] != [0]:
                    await asyncio.sleep(0.1)
            ids = []
            for name, (resources, site, _) in asked.items():
                script = look + ("; srun sh -c 'echo $SLURMD_NODENAME' | sort | uniq -c" if name == "spread" else "")
                body = shell(script, site=site, constraints={"ordered": ["alpha/cpu", "beta/short"]})
                body["resources"] = {"memory_mib": 64, "wall_s": 120, **resources}
                ids.append((await p.submit(ada, body, None))["id"])
            views = await net.wait(*ids, actor=ada, timeout=120)
            told = [(await p.logs(ada, i, 0, "out", 0, 1000)).decode().split() for i in ids]
            assert [(v["state"], v["attempts"][-1]["cluster"]) for v in views] == [("succeeded", a[2]) for a in asked.values()]
            assert told[0][:3] == ["NumNodes=2", "NumCPUs=8", "NumTasks=4"] and told[0][3::2] == ["2", "2"], told
            assert len(set(told[0][4::2])) == 2, told
            assert told[1][:2] == ["NumNodes=1", "NumCPUs=32"] and told[2][:2] == ["NumNodes=1", "NumCPUs=1"], told
            usage, _ = await p.usage(ada, limit=100)
            assert {u["job"]: u["cores"] for u in usage} == dict(zip(ids, (8, 32, 1), strict=True))
            assert (await p.journal_check(net.operator))["balanced"]

    asyncio.run(main())
