"""The configuration files, as text. The settings are those that let many virtual nodes share one host, unprivileged."""

from __future__ import annotations

from pathlib import Path

from tidegrid.launch.testbed.family import MARK
from tidegrid.launch.testbed.shapes import Nodes, Shape

# slurmdbd stands behind a cluster: where it listens.
Accounting = tuple[str, int]


def _groups(shape: Shape) -> list[tuple[str, int, Nodes]]:
    """(host list, index of the first node, group)."""
    found, first = [], 0
    for group in shape.nodes:
        found.append((f"{shape.name}[{first + 1}-{first + group.count}]", first, group))
        first += group.count
    return found


def node_names(shape: Shape) -> list[str]:
    return [f"{shape.name}{i + 1}" for i in range(shape.node_count)]


def slurm_conf(
    shape: Shape, home: Path, *, user: str, host: str, port: int, node_port: int, munge: Path,
    accounting: Accounting | None, client: bool = False,
) -> str:  # fmt: skip
    """slurm.conf. port: the controller's; node_port: the first of a row, one for each node.

    client: for programs that watch the cluster. Silence of the controller is told in about 3 s instead of a minute.
    """
    lines = [
        f"ClusterName={shape.name}",
        f"SlurmctldHost={host}(127.0.0.1)",
        f"SlurmctldPort={port}",
        f"SlurmUser={user}",
        f"SlurmdUser={user}",
        "AuthType=auth/munge",
        "CredType=cred/munge",
        f"AuthInfo=socket={munge}",
        f"StateSaveLocation={home}/state",
        f"SlurmdSpoolDir={home}/spool/%n",
        f"SlurmctldPidFile={home}/run/slurmctld.slurm-pid",
        f"SlurmdPidFile={home}/run/%n.slurm-pid",
        f"SlurmctldLogFile={home}/log/slurmctld.log",
        f"SlurmdLogFile={home}/log/%n.log",
        "SlurmctldDebug=info",
        "SlurmdDebug=info",
        "ProctrackType=proctrack/linuxproc",
        "TaskPlugin=task/none",
        "JobAcctGatherType=jobacct_gather/linux",
        "SwitchType=switch/none",
        "MpiDefault=none",
        "MailProg=/bin/true",
        "SlurmdParameters=config_overrides",
        "SelectType=select/cons_tres",
        "SelectTypeParameters=CR_Core_Memory",
        "SchedulerType=sched/backfill",
        "SchedulerParameters=bf_interval=2,bf_continue,bf_window=10080,bf_resolution=60",
        "GresTypes=gpu",
        "ReturnToService=2",
        "KillWait=5",
        "SlurmdTimeout=30",
        "TreeWidth=64",
        f"MessageTimeout={3 if client else 10}",
        f"SlurmctldTimeout={5 if client else 120}",
        *shape.settings,
        *_accounting(munge, accounting, home),
    ]
    for names, first, group in _groups(shape):
        cores = group.sockets * group.cores_per_socket
        last = node_port + first + group.count - 1
        lines.append(
            f"NodeName={names} NodeHostname={host} NodeAddr=127.0.0.1 Port={_span(node_port + first, last)} "
            f"Sockets={group.sockets} CoresPerSocket={group.cores_per_socket} ThreadsPerCore=1 CPUs={cores} "
            f"RealMemory={group.memory_mib}"
            + (f" Gres=gpu:{group.gpu_type}:{group.gpus}" if group.gpus else "")
            + (f" Feature={group.feature}" if group.feature else "")
            + " State=UNKNOWN"
        )
    # Without a default a job takes all the memory of its node, and with it the node.
    per_core = min(g.memory_mib // (g.sockets * g.cores_per_socket) for g in shape.nodes)
    for partition in shape.partitions:
        default = " Default=YES" if partition.default else ""
        lines.append(
            f"PartitionName={partition.name} Nodes={shape.name}[{partition.nodes}]{default} MaxTime={partition.max_time} "
            f"DefaultTime=00:10:00 DefMemPerCPU={per_core} State=UP {partition.options}".rstrip()
        )
    return "\n".join(lines) + "\n"


def _span(first: int, last: int) -> str:
    return f"{first}-{last}" if last > first else str(first)


def _accounting(munge: Path, accounting: Accounting | None, home: Path) -> list[str]:
    if accounting is None:  # then the controller's own log of ends is all that outlives its memory
        return [
            "AccountingStorageType=accounting_storage/none",
            "JobCompType=jobcomp/filetxt",
            f"JobCompLoc={home}/log/jobcomp.log",
        ]
    host, port = accounting
    return [
        "AccountingStorageType=accounting_storage/slurmdbd",
        f"AccountingStorageHost={host}",
        f"AccountingStoragePort={port}",
        f"AccountingStoragePass={munge}",
        "AccountingStorageTRES=gres/gpu",
        "AccountingStoreFlags=job_comment",
        "AccountingStorageEnforce=associations,limits,qos",
    ]


def gres_conf(shape: Shape, devices: Path) -> str:
    """gres.conf: the GPUs are links to a character device, which is all that slurmd asks of them."""
    return "".join(
        f"NodeName={names} Name=gpu Type={group.gpu_type} File={devices}/nvidia[0-{group.gpus - 1}] Flags=nvidia_gpu_env\n"
        for names, _, group in _groups(shape)
        if group.gpus
    )


def most_gpus(shape: Shape) -> int:
    return max(group.gpus for group in shape.nodes)


def sshd_config(home: Path, *, port: int, authorized: Path, slurm_conf: Path, user: str) -> str:
    """sshd_config: keys only, on loopback only; whoever logs in finds the cluster's Slurm, as on a login node.

    The account that the test-bed runs under has an empty home there: its own profile may take long, and what is killed with a
    cluster may leave a lock behind in it.
    """
    return f"""ListenAddress 127.0.0.1
Port {port}
HostKey {home}/host_key
PidFile {home}/sshd.pid
AuthorizedKeysFile {authorized}/%u
# Keys may lie below a directory that all may write to, /tmp for one, which strict modes refuse.
StrictModes no
AuthenticationMethods publickey
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
UsePAM no
UseDNS no
X11Forwarding no
PrintMotd no
PrintLastLog no
MaxStartups 50
LogLevel INFO
SetEnv SLURM_CONF={slurm_conf} {MARK}={home}
Subsystem sftp internal-sftp
Match User {user}
  SetEnv SLURM_CONF={slurm_conf} {MARK}={home} HOME={home}/login
"""


def slurmdbd_conf(home: Path, *, user: str, host: str, port: int, munge: Path, database: tuple[int, str]) -> str:
    """slurmdbd.conf. database: (port on loopback, password)."""
    return f"""AuthType=auth/munge
AuthInfo=socket={munge}
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort={port}
SlurmUser={user}
DebugLevel=info
LogFile={home}/log/slurmdbd.log
PidFile={home}/run/slurmdbd.slurm-pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={database[0]}
StorageUser=slurm
StoragePass={database[1]}
StorageLoc=slurm_acct_db
"""
