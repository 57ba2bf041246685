"""A cluster of the Slurm test-bed as the conformance tests want it: here or over ssh."""

from __future__ import annotations

import itertools
import random
import secrets
from pathlib import Path
from typing import Any

from tests.parts.faults import FaultyTransport, Rates
from tests.parts.faulty_shell import FaultyShell
from tests.parts.staged import StagedSite
from tidegrid.connectors.files import LocalFiles
from tidegrid.connectors.slurm.connector import SlurmConnector, SlurmSettings
from tidegrid.connectors.slurm.sftp_files import SftpFiles
from tidegrid.connectors.slurm.shell import LocalShell, Shell
from tidegrid.connectors.slurm.ssh import SshLink, SshShell, SshTarget

SETTINGS = SlurmSettings(environment="clean", load_every=0.0)


class SlurmSite(StagedSite):
    """home: a directory of the test's own; the root lies in it. cluster: one of the test-bed, of alpha's shape."""

    partition, single, single_cores = "cpu", "debug", 32
    whole = (4, 32)
    clock_us = 1_000_000
    wall_us, wall_slack_us = 60_000_000, 45_000_000  # minutes, looked at now and then
    kills_memory = False  # no cgroups on the test-bed
    exact_load = False
    catches_daemons = False  # as before: linuxproc follows parents
    patience_s = 120.0
    too_much = (
        ({"partition": "gone"}, "site.no_partition"),
        ({"cores": 33}, "site.impossible"),
        ({"memory_mib": 128_001}, "site.impossible"),
        ({"nodes": 5}, "site.impossible"),
    )

    def __init__(self, home: Path, cluster: Any, *, ssh: bool) -> None:
        super().__init__()
        self.name, self.home, self.cluster, self.ssh = cluster.name, home, cluster, ssh
        self.root = home / "site"
        self.numbers = itertools.count(secrets.randbelow(1 << 40) << 16)  # accounting remembers names of earlier tests
        self._local = LocalFiles(str(self.root))
        self._local.make_root()
        # the tests' own files: the connector's are tested through it, and in `test_files`
        self.files = self._local

    def target(self) -> SshTarget:
        s = self.cluster.ssh
        return SshTarget(s.host, s.user, str(s.key), str(s.known_hosts), s.port)

    def link(self) -> SshLink:
        return SshLink(self.target())

    def shell(self, link: SshLink | None = None) -> Shell:
        if self.ssh:
            return SshShell(link or self.link())
        environment = self.cluster.environment
        return LocalShell(environment={k: environment[k] for k in ("SLURM_CONF", "PATH")})

    def connector(self, shell: Shell | None = None, settings: SlurmSettings = SETTINGS) -> SlurmConnector:
        if not self.ssh:
            return SlurmConnector(self.name, shell or self.shell(), self._local, settings)
        link = self.link()
        shell = shell or self.shell(link)
        return SlurmConnector(self.name, shell, SftpFiles(link, shell, str(self.root)), settings)

    def faulty(self, rng: random.Random, rates: Rates) -> tuple[SlurmConnector, FaultyTransport]:
        """A connector whose submissions are hit."""
        shell = FaultyShell(
            self.shell(), lambda inner: FaultyTransport(inner, rng, rates, only=lambda request: b"sbatch" in request)
        )
        return self.connector(shell), shell.faults
