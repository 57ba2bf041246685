"""Accounting for a cluster: a private MariaDB and slurmdbd, from a prepared database kept in the user's cache."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tidegrid.domain.errors import Unreachable
from tidegrid.launch.testbed import packages, processes
from tidegrid.launch.testbed.model import Cluster
from tidegrid.launch.testbed.processes import Part

ACCOUNTS = ("physics", "chemistry")
QOS = "urgent"
# Changed with anything that is put into the prepared database.
_EDITION = 1


def mariadb(home: Path, programs: Mapping[str, str], *, port: int, password: str) -> Part:
    """The database's daemon. It holds nothing worth a disk flush; the password is set anew at each start."""
    setup = home / "start.sql"
    setup.touch(0o600)
    setup.write_text(
        "CREATE DATABASE IF NOT EXISTS slurm_acct_db;\n"
        "CREATE USER IF NOT EXISTS 'slurm'@'127.0.0.1' IDENTIFIED BY 'x';\n"
        f"ALTER USER 'slurm'@'127.0.0.1' IDENTIFIED BY '{password}';\n"
        "GRANT ALL ON slurm_acct_db.* TO 'slurm'@'127.0.0.1';\n"
    )
    argv = (
        programs["mariadbd"], "--no-defaults", f"--user={packages.me()}", f"--datadir={home}/data",
        f"--socket={home}/run/mariadb.sock", f"--pid-file={home}/run/mariadb.own-pid", f"--tmpdir={home}/run",
        "--bind-address=127.0.0.1", f"--port={port}", f"--init-file={setup}", "--skip-name-resolve", "--skip-log-bin",
        "--innodb-buffer-pool-size=64M", "--innodb-log-file-size=8M", "--innodb-flush-log-at-trx-commit=0",
        "--innodb-doublewrite=0", "--innodb-lock-wait-timeout=900", "--sync-frm=0", "--performance-schema=0",
    )  # fmt: skip
    return Part("mariadbd", home, argv)


def start(database: Part, dbd: Part, cluster: Cluster, programs: Mapping[str, str]) -> None:
    """Both daemons, answering, with the cluster, its accounts and this user in the database."""
    home = database.home
    cache = _cache(programs)
    prepared = cache.is_dir()
    if prepared:
        shutil.copytree(cache, home / "data")
    else:
        _install(home, programs)
    _both(database, dbd)
    if prepared:
        return
    _register(cluster, programs)
    processes.stop(dbd, signal.SIGTERM)
    processes.stop(database, signal.SIGTERM)
    _keep(home / "data", cache)
    _both(database, dbd)


def _both(database: Part, dbd: Part) -> None:
    processes.start(database)
    port = next(word.partition("=")[2] for word in database.argv if word.startswith("--port="))
    processes.await_that(lambda: listens(int(port)), "MariaDB does not answer", parts=[database])
    start_dbd(dbd)


def start_dbd(dbd: Part) -> None:
    settings = (dbd.home / "slurmdbd.conf").read_text().splitlines()
    port = next(line.partition("=")[2] for line in settings if line.startswith("DbdPort="))
    processes.start(dbd)
    processes.await_that(lambda: listens(int(port)), "slurmdbd does not answer", parts=[dbd])


def listens(port: int) -> bool:
    """Whether something on loopback takes connections there."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _install(home: Path, programs: Mapping[str, str]) -> None:
    _run([programs["mariadb-install-db"], "--no-defaults", f"--datadir={home}/data", f"--user={packages.me()}",
          "--auth-root-authentication-method=normal", "--skip-test-db", "--innodb-log-file-size=8M"], dict(os.environ))  # fmt: skip


def _register(cluster: Cluster, programs: Mapping[str, str]) -> None:
    def manage(*words: str) -> None:
        _run([programs["sacctmgr"], "-i", *words], cluster.environment)

    manage("add", "cluster", cluster.name)
    manage("add", "qos", QOS, "Priority=100")
    for account in ACCOUNTS:
        manage("add", "account", account, f"Cluster={cluster.name}", "Description=test", "Organization=test")
    add_user(cluster, packages.me(), programs["sacctmgr"])


def add_user(cluster: Cluster, user: str, sacctmgr: str) -> None:
    """Let an account of the machine submit under every account of the cluster, the first by default."""
    for account in ACCOUNTS:
        _run([sacctmgr, "-i", "add", "user", user, f"Account={account}", f"DefaultAccount={ACCOUNTS[0]}",
              f"Cluster={cluster.name}", f"Qos=normal,{QOS}", "DefaultQos=normal"], cluster.environment)  # fmt: skip


def _run(argv: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise Unreachable("testbed.failed", f"{' '.join(argv[:4])} … failed: {(done.stderr or done.stdout).strip()[-600:]}")


def _cache(programs: Mapping[str, str]) -> Path:
    """Where the prepared database is; by versions and user, as both are in it."""
    versions = [subprocess.run([programs[name], option], capture_output=True, text=True, check=False).stdout.split()
                for name, option in (("mariadbd", "--version"), ("slurmdbd", "-V"))]  # fmt: skip
    numbers = [next((word for word in words if word[0].isdigit()), "0") for words in versions]
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    name = "-".join(["accounting", str(_EDITION), *numbers, packages.me()])
    return base / "tidegrid" / "testbed" / "".join(c if c.isalnum() or c in "-._" else "_" for c in name)


def _keep(data: Path, cache: Path) -> None:
    """Publish at once or not at all; another may have been first. A cache that cannot be written is done without."""
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".new-", dir=cache.parent))
    except OSError:
        return
    try:
        shutil.copytree(data, temporary / "data")
        (temporary / "data").rename(cache)
    except OSError:
        pass
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
