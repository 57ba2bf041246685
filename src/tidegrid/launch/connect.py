"""From a cluster in the network file to its connector: names of secrets become values here, and nowhere above or below."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidegrid.catalog.network_model import Cluster
from tidegrid.connectors.contract import Connector
from tidegrid.connectors.embedded.connector import EmbeddedConnector
from tidegrid.connectors.files import LocalFiles
from tidegrid.connectors.transport import SocketTransport
from tidegrid.domain.errors import InvalidInput, NotFound, TideError

if TYPE_CHECKING:
    from tidegrid.connectors.rooted import Owners
    from tidegrid.connectors.slurm.connector import SlurmConnector


def secret(home: Path, name: str) -> str:
    """The text of `secrets/<name>` in the home. NotFound (secret.missing), InvalidInput (secret.open: others may read it)."""
    path = home / "secrets" / name
    try:
        mode = path.stat().st_mode
        if stat.S_IMODE(mode) & 0o077:
            raise InvalidInput("secret.open", f"{path} may be read by others", hint=f"chmod 600 {path}")
        return path.read_text(errors="replace")
    except OSError as e:
        raise NotFound(
            "secret.missing",
            f"there is no secret {name!r}: {path}: {e.strerror}",
            hint=f"put it there: tide secret put {name} FILE",
        ) from None


def embedded(directory: Path, cluster: Cluster) -> tuple[Connector, LocalFiles]:
    files = LocalFiles(str(directory / "site"))
    return EmbeddedConnector(cluster.name, SocketTransport(directory / "socket"), files), files


def pooled(home: Path, cluster: Cluster, accounts: Sequence[Mapping[str, Any]], owners: Owners) -> tuple[Connector, dict[str, TideError]]:
    """A Slurm cluster with further Unix accounts (rows of site_accounts), and what keeps which of them from being connected."""
    from tidegrid.connectors.slurm.pooled import Account, Asking, PooledSlurm

    made: list[Account] = []
    lacking: dict[str, TideError] = {}
    for row in accounts:
        try:
            made.append(Account(row["unix_user"], row["uid"], slurm(home, of_account(cluster, row))))
        except TideError as e:
            lacking[row["unix_user"]] = e
    main = slurm(home, cluster, Asking)
    assert isinstance(main, Asking)
    return PooledSlurm(main, made, owners), lacking


def of_account(cluster: Cluster, row: Mapping[str, Any]) -> Cluster:
    """The cluster as another Unix account there reaches it. InvalidInput (site_account.here) where nobody logs in."""
    if cluster.connector != "slurm" or not cluster.settings.get("host"):
        raise InvalidInput(
            "site_account.here", f"{cluster.name} is not reached by ssh, so that it has no accounts besides its own",
            hint="accounts at centres are for clusters with `host` in their connector",
        )  # fmt: skip
    own = {"user": row["unix_user"], "identity": row["identity"], "root": row["root"]}
    native = {k: v for k, v in (("account", row["native_account"]), ("qos", row["qos"])) if v}
    return replace(cluster, settings={**cluster.settings, **own, **native})


def slurm(home: Path, cluster: Cluster, kind: type[SlurmConnector] | None = None) -> SlurmConnector:
    """A Slurm cluster over ssh, or of this machine where no host is given. Raises what `secret` raises."""
    from tidegrid.connectors.slurm.connector import SlurmConnector, SlurmSettings
    from tidegrid.connectors.slurm.sftp_files import SftpFiles
    from tidegrid.connectors.slurm.shell import LocalShell
    from tidegrid.connectors.slurm.ssh import SshLink, SshShell

    kind = kind or SlurmConnector
    s = cluster.settings
    environment = {"SLURM_CONF": s["slurm_conf"]} if s.get("slurm_conf") else {}
    settings = SlurmSettings(
        account=s.get("account", ""),
        qos=s.get("qos", ""),
        constraint=s.get("constraint", ""),
        options=tuple(s.get("options", ())),
        environment=s.get("environment", "clean"),
    )
    if not s.get("host"):
        found = os.environ.get("PATH", os.defpath)
        path = f"{s['path']}:{found}" if s.get("path") else found
        files = LocalFiles(s["root"])
        return kind(cluster.name, LocalShell(environment={**environment, "PATH": path}), files, settings)
    link = SshLink(ssh_target(home, s))
    shell = SshShell(link, environment=environment, path=s.get("path", ""))
    return kind(cluster.name, shell, SftpFiles(link, shell, s["root"]), settings)


def ssh_target(home: Path, settings: Any) -> Any:
    """Where a network file's connector logs in. Raises what `secret` raises."""
    from tidegrid.connectors.slurm.ssh import LoginFailed, SshTarget, private_key

    host, port = settings["host"], settings.get("port", 22)
    shown = host if port == 22 else f"[{host}]:{port}"
    known = "".join(f"{shown} {key}\n" for key in settings["host_keys"])
    key = secret(home, settings["identity"])
    try:
        private_key(key)
    except LoginFailed as e:
        raise InvalidInput(e.code, f"secret {settings['identity']!r}: {e.message}", hint=e.hint) from None
    return SshTarget(host, settings["user"], key, known, port)
