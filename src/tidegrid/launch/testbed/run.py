"""`tide testbed …`: what the verbs do and say."""

from __future__ import annotations

import json as json_text
import sys
import time
from pathlib import Path
from typing import Any

from tidegrid.domain.errors import NotFound
from tidegrid.launch.testbed import bed
from tidegrid.launch.testbed.bed import Testbed


def run_up(directory: Path, clusters: int = 3, *, accounting: bool = False, json: bool = False) -> int:
    """Bring one up and say how to reach it; it goes on after this. The exit status."""
    begun = time.monotonic()
    found = bed.up(directory, clusters, accounting)
    _say(found, json)
    if not json:
        sys.stderr.write(f"up in {time.monotonic() - begun:.1f} s below {found.directory}; `tide testbed down` ends it\n")
    return 0


def run_show(directory: Path, *, json: bool = False) -> int:
    """Say how to reach the one that runs there."""
    _say(bed.load(directory), json)
    return 0


def run_down(directory: Path, *, json: bool = False) -> int:
    """End it and remove everything. NotFound (testbed.absent) where there is none."""
    if not bed.down(directory):
        raise NotFound("testbed.absent", f"no test-bed is in {directory}", hint="`--dir` says where it is")
    if json:
        print(json_text.dumps({"directory": str(directory), "down": True}))
    else:
        sys.stderr.write(f"the test-bed in {directory} is gone\n")
    return 0


def view(found: Testbed) -> dict[str, Any]:
    """As a JSON value."""
    clusters = [
        {
            "name": cluster.name,
            "partitions": list(cluster.partitions),
            "nodes": len(cluster.nodes),
            "accounting": cluster.accounting,
            "ssh": {
                "url": cluster.ssh.url, "host": cluster.ssh.host, "port": cluster.ssh.port, "user": cluster.ssh.user,
                "key": str(cluster.ssh.key), "known_hosts": str(cluster.ssh.known_hosts),
            },
            "slurm_conf": str(cluster.slurm_conf),
            "client_conf": str(cluster.client_conf),
            "bin": str(cluster.bin),
        }
        for cluster in found.clusters
    ]  # fmt: skip
    return {"directory": str(found.directory), "clusters": clusters}


def _say(found: Testbed, json: bool) -> None:
    body = view(found)
    if json:
        print(json_text.dumps(body))
        return
    for cluster in body["clusters"]:
        ssh = cluster["ssh"]
        with_dbd = ", slurmdbd" if cluster["accounting"] else ""
        print(f"{cluster['name']}: {cluster['nodes']} nodes, partitions {' '.join(cluster['partitions'])}{with_dbd}")
        print(f"  ssh -F none -i {ssh['key']} -o UserKnownHostsFile={ssh['known_hosts']} -p {ssh['port']} {ssh['user']}@{ssh['host']}")
        print(f"  SLURM_CONF={cluster['client_conf']} sinfo")
