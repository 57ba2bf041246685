"""What Slurm says when it refuses a submission for good. Anything that is not here leaves the submission in doubt."""

from __future__ import annotations

# Text in sbatch's error output -> stable code. From Slurm's own table of errors, 20.11 to 24.05.
REFUSALS: tuple[tuple[str, str], ...] = (
    ("Invalid partition name specified", "site.no_partition"),
    ("invalid partition specified", "site.no_partition"),
    ("Requested partition configuration not available now", "site.partition_down"),
    ("User's group not permitted to use this partition", "site.forbidden"),
    ("Access/permission denied", "site.forbidden"),
    ("Invalid account or account/partition combination specified", "site.account"),
    ("Invalid account or partition combination", "site.account"),
    ("Invalid qos specification", "site.qos"),
    ("Invalid qos", "site.qos"),
    ("Job violates accounting/QOS policy", "site.policy"),
    ("Requested node configuration is not available", "site.impossible"),
    ("Memory specification can not be satisfied", "site.impossible"),
    ("Memory required by task is not available", "site.impossible"),
    ("CPU count per node can not be satisfied", "site.impossible"),
    ("CPU count specification invalid", "site.impossible"),
    ("Node count specification invalid", "site.impossible"),
    ("More processors requested than permitted", "site.impossible"),
    ("Requested nodes are busy", "site.impossible"),
    ("Requested time limit is invalid", "site.time_limit"),
    ("Invalid generic resource (gres) specification", "site.resources"),
    ("Invalid Trackable RESource (TRES) specification", "site.resources"),
    ("Invalid feature specification", "site.resources"),
    ("Invalid node name specified", "site.resources"),
    ("Invalid license specification", "site.resources"),
    ("Requested reservation is invalid", "site.resources"),
    ("Invalid job array specification", "site.array"),
    ("Job dependency problem", "site.dependency"),
    ("Invalid wckey specification", "site.account"),
    ("This does not look like a batch script", "site.bad_request"),
    ("Batch script contains DOS line breaks", "site.bad_request"),
    ("Pathname of a file, directory or other parameter too long", "site.bad_request"),
    ("Unable to open file", "site.no_script"),
    ("Invalid --", "site.bad_request"),
    ("Invalid time specification", "site.bad_request"),
    ("Invalid numeric value", "site.bad_request"),
    ("unrecognized option", "site.bad_request"),
)
# Where one of these stands, nothing else that stands there counts.
DOUBTS = (
    "Unable to contact",
    "Socket timed out",
    "timed out",
    "temporarily unable to accept job",
    "Zero Bytes were transmitted",
    "Unexpected message received",
    "communication",
    "connection failure",
    "connect failure",
    "Connection refused",
)
UNREACHABLE = ("Unable to contact", "connect failure", "Connection refused", "Socket timed out", "is DOWN")

# Reasons of waiting jobs that no waiting cures: Slurm accepted them and will never start them as they are.
STUCK: dict[str, str] = {
    "PartitionConfig": "site.impossible",
    "PartitionNodeLimit": "site.impossible",
    "PartitionTimeLimit": "site.time_limit",
    "BadConstraints": "site.resources",
    "DependencyNeverSatisfied": "site.dependency",
    "InvalidAccount": "site.account",
    "InvalidQOS": "site.qos",
    "AccountNotAllowed": "site.account",
    "QOSNotAllowed": "site.qos",
    "QOSTimeLimit": "site.time_limit",
    "JobHoldMaxRequeue": "site.held",
    "launch_failed_requeued_held": "site.launch_failed",
    "AssocMaxCpuPerJobLimit": "site.policy",
    "AssocMaxNodePerJobLimit": "site.policy",
    "AssocMaxWallDurationPerJobLimit": "site.policy",
    "QOSMaxCpuPerJobLimit": "site.policy",
    "QOSMaxWallDurationPerJobLimit": "site.policy",
    "QOSMaxMemoryPerJob": "site.policy",
    "QOSMaxNodePerJobLimit": "site.policy",
}


def refusal(stderr: str) -> tuple[str, str] | None:
    """(code, the line that says it), or None where nothing is certain."""
    if any(d in stderr for d in DOUBTS):
        return None
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    for text, code in REFUSALS:
        for line in lines:
            if text in line:
                return code, line.removeprefix("sbatch: error: ")[:300]
    return None


def unreachable(stderr: str) -> bool:
    """Whether the controller itself did not answer."""
    return any(t in stderr for t in UNREACHABLE)


def stuck(reason: str) -> str:
    """Code where a waiting job's reason says that it can never start; empty otherwise."""
    plain = reason.strip("() ")
    return STUCK.get(plain) or STUCK.get(plain.replace(" ", "_")) or ""
