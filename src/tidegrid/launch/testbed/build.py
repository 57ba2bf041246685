"""Writes a test-bed's files and plans its daemons; starts nothing."""

from __future__ import annotations

import os
import random
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tidegrid.domain.errors import InvalidInput, NoSpace, Unreachable
from tidegrid.launch.testbed import conf, packages
from tidegrid.launch.testbed.model import Cluster, Plan, Ssh
from tidegrid.launch.testbed.processes import Part
from tidegrid.launch.testbed.shapes import Shape

# Below the ports that outgoing connections take, above those with a name.
_PORTS = range(11_000, 32_000)
# A Unix socket's path has 108 bytes at most; the longest of ours is this much longer than the directory.
_LONGEST = 107 - len("/database/run/mariadb.sock")


def build(directory: Path, shapes: Sequence[Shape], programs: Mapping[str, str], *, accounting: bool) -> Plan:
    """Files of all clusters below the directory. With accounting the first cluster has slurmdbd, the others do not."""
    if len(os.fsencode(directory)) > _LONGEST:
        raise InvalidInput("testbed.path", f"{directory} is too long for the sockets below it",
                           hint=f"give a directory of at most {_LONGEST} bytes")  # fmt: skip
    if any(character.isspace() or character in '"#%,[]\\' for character in str(directory)):
        raise InvalidInput("testbed.path", f"{directory} has characters that Slurm's files cannot hold",
                           hint="give a directory without blanks and punctuation")  # fmt: skip
    munge = _munge(directory / "shared", programs)
    parts = {"shared/munged": munge}
    _keys(directory / "ssh", programs)
    needed = sum(shape.node_count + 2 for shape in shapes) + 2
    port = free_ports(needed)
    database: conf.Accounting | None = None
    if accounting:
        home = directory / "database"
        _make(home, "log", "run")
        parts |= _database(home, programs, dbd_port=port, database_port=port + 1, munge=_socket(directory))
        database = (_host(), port)
    port += 2
    clusters = []
    for number, shape in enumerate(shapes):
        cluster, own = _cluster(directory, shape, programs, port, database if number == 0 else None)
        clusters.append(cluster)
        parts |= own
        port += shape.node_count + 2
    return Plan(tuple(clusters), parts)


def free_ports(count: int) -> int:
    """The first of `count` ports in a row that nobody listens on."""
    for _ in range(200):
        first = random.randrange(_PORTS.start, _PORTS.stop - count)
        if all(_free(port) for port in range(first, first + count)):
            return first
    raise NoSpace("testbed.ports", f"no {count} free ports in a row between {_PORTS.start} and {_PORTS.stop}")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


def _host() -> str:
    return socket.gethostname().split(".")[0]


def _socket(directory: Path) -> Path:
    return directory / "shared" / "run" / "munge.sock"


def _make(home: Path, *names: str) -> None:
    for name in names:
        (home / name).mkdir(parents=True, exist_ok=True)


def _munge(home: Path, programs: Mapping[str, str]) -> Part:
    _make(home, "log", "run")
    key = home / "munge.key"
    key.touch(0o600)
    key.write_bytes(os.urandom(128))
    run, log = home / "run", home / "log"
    # --force: a directory that others may write to, as /tmp, is above ours, or one that others may not enter.
    argv = (
        programs["munged"], "--foreground", "--force", f"--socket={run}/munge.sock", f"--key-file={key}",
        f"--pid-file={run}/munge.own-pid", f"--log-file={log}/munged.log", f"--seed-file={home}/munge.seed",
        "--num-threads=4",
    )  # fmt: skip
    return Part("munged", home, argv)


def _keys(home: Path, programs: Mapping[str, str]) -> None:
    _make(home, "authorized")
    _keygen(programs, home / "key")
    permit(home, packages.me())


def permit(home: Path, user: str) -> None:
    """Let the test-bed's key in as this account of the machine."""
    (home / "authorized" / user).write_text((home / "key.pub").read_text())


def _keygen(programs: Mapping[str, str], file: Path) -> None:
    done = subprocess.run([programs["ssh-keygen"], "-q", "-t", "ed25519", "-N", "", "-C", "tide-testbed", "-f", str(file)],
                          capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)  # fmt: skip
    if done.returncode:
        raise Unreachable("testbed.failed", f"ssh-keygen failed: {done.stderr.strip()}")


def _cluster(
    directory: Path, shape: Shape, programs: Mapping[str, str], port: int, database: conf.Accounting | None
) -> tuple[Cluster, dict[str, Part]]:
    home = directory / "clusters" / shape.name
    _make(home, "log", "run", "state", "spool", "dev", "login")
    for i in range(conf.most_gpus(shape)):
        (home / "dev" / f"nvidia{i}").symlink_to("/dev/null")
    user, ssh_port = packages.me(), port + 1
    files = {"slurm.conf": False, "client.conf": True}
    for name, client in files.items():
        (home / name).write_text(conf.slurm_conf(
            shape, home, user=user, host=_host(), port=port, node_port=port + 2, munge=_socket(directory),
            accounting=database, client=client,
        ))  # fmt: skip
    (home / "gres.conf").write_text(conf.gres_conf(shape, home / "dev"))
    _keygen(programs, home / "host_key")
    host_key = " ".join((home / "host_key.pub").read_text().split()[:2])
    known = directory / "ssh" / f"known_hosts.{shape.name}"
    known.write_text(f"[127.0.0.1]:{ssh_port} {host_key}\n")
    config = home / "sshd_config"
    config.write_text(conf.sshd_config(home, port=ssh_port, authorized=directory / "ssh" / "authorized",
                                       slurm_conf=home / "slurm.conf", user=user))  # fmt: skip
    settings, nodes = str(home / "slurm.conf"), conf.node_names(shape)
    parts = {
        "slurmctld": (programs["slurmctld"], "-D", "-f", settings),
        "sshd": (programs["sshd"], "-D", "-f", str(config), "-E", f"{home}/log/sshd.log"),
        **{node: (programs["slurmd"], "-D", "-N", node, "-f", settings) for node in nodes},
    }
    cluster = Cluster(
        shape.name, home, tuple(p.name for p in shape.partitions), tuple(nodes),
        Ssh("127.0.0.1", ssh_port, user, directory / "ssh" / "key", known),
        home / "slurm.conf", home / "client.conf", Path(programs["sbatch"]).parent, database is not None,
    )  # fmt: skip
    environment = {"SLURM_CONF": settings}
    return cluster, {f"{shape.name}/{name}": Part(name, home, argv, environment) for name, argv in parts.items()}


def _database(home: Path, programs: Mapping[str, str], *, dbd_port: int, database_port: int, munge: Path) -> dict[str, Part]:
    from tidegrid.launch.testbed import accounting

    password = os.urandom(16).hex()
    config = home / "slurmdbd.conf"
    config.touch(0o600)
    config.write_text(conf.slurmdbd_conf(home, user=packages.me(), host=_host(), port=dbd_port, munge=munge,
                                         database=(database_port, password)))  # fmt: skip
    return {
        "shared/mariadbd": accounting.mariadb(home, programs, port=database_port, password=password),
        "shared/slurmdbd": Part("slurmdbd", home, (programs["slurmdbd"], "-D"), {"SLURM_CONF": str(home / "slurm.conf")}),
    }
