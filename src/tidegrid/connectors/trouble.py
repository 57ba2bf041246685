"""What can be wrong with a cluster, by stable code: what to do next. `tide cluster add` and `check` say these."""

from __future__ import annotations

WHAT_TO_DO: dict[str, str] = {
    # Logging in
    "cluster.no_host": "check the name behind ssh://, and this machine's DNS",
    "cluster.no_connection": "check host and port, and that a firewall lets this machine in: nc -vz HOST PORT",
    "cluster.host_key": "compare with the fingerprints the centre publishes; where the key was changed for good, put the new one into host_keys",
    "cluster.login": "have the public key added to ~/.ssh/authorized_keys of that account, or name another account or key",
    "cluster.ssh": "the login node speaks no SSH that is safe enough, or broke off: look at its sshd's log",
    "cluster.silent": "try again; where it stays so, look at the login node's load and the network between",
    "cluster.strange": "the login node answered with something that is no answer: log in by hand and see what it prints",
    "cluster.host_key_unknown": "compare with what the centre publishes, then --host-key FINGERPRINT, or --accept-host-key",
    "secret.missing": "put the key there: tide secret put NAME FILE; or make one: tide secret new NAME",
    "secret.open": "chmod 600 the file: a key that others may read is not used",
    "secret.unusable": "give the private key itself, in OpenSSH's or PEM's form",
    "secret.passphrase": "a server cannot type it: make a key without, for this server alone: tide secret new NAME",
    # Slurm
    "cluster.no_slurm": "log in to a node where sbatch works, or say where Slurm's commands are: path, and slurm_conf",
    "cluster.controller": "slurmctld does not answer: ask the centre, or check again later",
    "cluster.clock": "let the login node's clock be set by NTP; leases reckon with 5 s",
    "cluster.root_user": "have an ordinary account made: nothing needs root at a centre",
    # The root
    "cluster.root": "make the directory and give it to the account, or choose another root",
    "cluster.root_open": "chmod 700 the root: other accounts could read and change jobs in it",
    "cluster.root_unshared": "choose a root that the compute nodes see under the same path: a shared home, scratch or work directory",
    "cluster.root_read_only": "the compute nodes must be able to write there: choose another root, or have it mounted read-write",
    "cluster.space": "free space or raise the quota: jobs are refused where files cannot be written",
    "cluster.staging": "files did not come back as they were sent: check the disk, the network and the login node's sftp-server",
    "cluster.fence": "this filesystem does not make links atomically between nodes: choose a root on another one",
    # Jobs
    "cluster.partition_unknown": "mend the partition's name in the network file: sinfo shows what there is",
    "cluster.partition_down": "ask the centre when the partition is up again; until then leave it out",
    "cluster.partition_differs": "mend the network file: `tide cluster add` proposes what the cluster says",
    "cluster.submit": "see the message; then account, qos and options in the network file",
    "cluster.busy": "nothing is wrong yet: the trial waits in the queue; check again with a longer --wait",
    "cluster.job_failed": "see the message; what the trial printed is in it",
    "cluster.tools": "the batch script needs these commands on every compute node",
    "cluster.cancel": "scancel does not end the account's own jobs: ask the centre",
    "cluster.arrays": "arrays do not work here: raise MaxArraySize above 1000, or submit without arrays",
    "cluster.accounting_off": "usage is taken from the controller's times and marked estimated; slurmdbd makes it exact",
    "cluster.accounting": "slurmdbd is configured and did not tell of the trial: ask the centre whether it runs",
    "cluster.memory": "jobs are not held to the memory they ask for: ConstrainRAMSpace=yes in cgroup.conf, task/cgroup",
    "cluster.left": "remove it by hand",
}  # fmt: skip


def what_to_do(code: str) -> str:
    """One sentence; "" for a code that is not of this table (a site's refusal)."""
    return WHAT_TO_DO.get(code) or _REFUSED.get(code, "")


_REFUSED: dict[str, str] = {
    "site.account": "name one of the accounts that `tide cluster add` lists, as `account` in the connector",
    "site.qos": "name one of the QOS that `tide cluster add` lists, as `qos` in the connector",
    "site.no_partition": "mend the partition's name in the network file",
    "site.forbidden": "the account may not use this partition: leave it out, or ask the centre",
    "site.policy": "a limit of the account or QOS is reached: see `sacctmgr show assoc` and `show qos`",
    "site.partition_down": "ask the centre when the partition is up again",
    "site.time_limit": "put the partition's max_wall into the network file",
    "site.impossible": "mend nodes, cores, memory and gpus of the partition in the network file",
}
