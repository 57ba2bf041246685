"""The order in which a test-bed's daemons start, and when they count as up."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tidegrid.launch.testbed import accounting, family, processes
from tidegrid.launch.testbed.model import Cluster, Plan
from tidegrid.launch.testbed.processes import Part


def start(plan: Plan, programs: Mapping[str, str]) -> None:
    """All daemons, at the same time where order allows; back when every node of every cluster is idle."""
    parts = plan.parts
    _enter_run()
    munge = parts["shared/munged"]
    processes.start(munge)
    for cluster in plan.clusters:
        processes.start(parts[f"{cluster.name}/sshd"])
    processes.await_that((munge.home / "run" / "munge.sock").exists, "munged does not answer", parts=[munge])
    for cluster in plan.clusters:
        if cluster.accounting:  # a controller that does not find slurmdbd at its first start ends
            accounting.start(parts["shared/mariadbd"], parts["shared/slurmdbd"], cluster, programs)
    for cluster in plan.clusters:
        processes.start(parts[f"{cluster.name}/slurmctld"])
    for cluster in plan.clusters:
        await_controller(cluster, parts[f"{cluster.name}/slurmctld"])
        for node in cluster.nodes:
            processes.start(parts[f"{cluster.name}/{node}"])
    for cluster in plan.clusters:
        own = [parts[f"{cluster.name}/{name}"] for name in ("slurmctld", "sshd", *cluster.nodes)]
        processes.await_that(lambda c=cluster: _idle(c) == len(c.nodes), f"the nodes of {cluster.name} are not idle", parts=own)  # type: ignore[misc]


def await_controller(cluster: Cluster, part: Part) -> None:
    """Wait until it answers a ping."""

    def answers() -> bool:
        done = subprocess.run(["scontrol", "ping"], env=cluster.environment, capture_output=True, text=True, check=False)
        return done.returncode == 0 and " UP" in done.stdout

    processes.await_that(answers, f"the controller of {cluster.name} does not answer", parts=[part])


def _idle(cluster: Cluster) -> int:
    argv = ["sinfo", "-h", "-N", "-o", "%N %t"]
    done = subprocess.run(argv, env=cluster.environment, capture_output=True, text=True, check=False)
    return len({line.split()[0] for line in done.stdout.splitlines() if line.split()[1:] == ["idle"]})


# As root sshd wants an empty directory that Debian makes when its own sshd starts. It is ours as long as no sshd runs.
_RUN = Path("/run/sshd")


def _enter_run() -> None:
    if os.geteuid() == 0:
        _RUN.mkdir(mode=0o755, exist_ok=True)


def leave_run() -> None:
    """Remove sshd's directory once no sshd of this machine runs."""
    if os.geteuid() == 0 and not family.any_runs("sshd"):
        try:
            _RUN.rmdir()
        except OSError:
            pass
