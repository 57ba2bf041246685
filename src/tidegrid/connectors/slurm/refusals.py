"""What Slurm says when it refuses a submission for good. Anything that is not here leaves the submission in doubt."""

from __future__ import annotations

import re

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

# Reasons of waiting jobs that Slurm accepted and will not start as they are. Names as in Slurm's job_reason_string, 20.11 to 24.05.
STUCK: dict[str, str] = {
    "PartitionConfig": "site.impossible",
    "PartitionNodeLimit": "site.impossible",
    "PartitionTimeLimit": "site.time_limit",
    "BadConstraints": "site.resources",
    "DependencyNeverSatisfied": "site.dependency",
    "ReservationDeleted": "site.resources",
    "InvalidAccount": "site.account",
    "InvalidQOS": "site.qos",
    "AccountNotAllowed": "site.account",
    "QOSNotAllowed": "site.qos",
    "QOSTimeLimit": "site.time_limit",
    "JobHoldMaxRequeue": "site.launch_failed",
    "launch_failed_requeued_held": "site.launch_failed",
    "user_env_retrieval_failed_requeued_held": "site.launch_failed",
    "job_requeued_in_held_state": "site.held",
    # what may come back, for nobody knows when
    "JobHeldAdmin": "site.held",
    "PartitionDown": "site.partition_down",
    "PartitionInactive": "site.partition_down",
    "NodeDown": "site.nodes_down",
    "ReqNodeNotAvail": "site.nodes_down",
}
# Limits of associations and QOS. One job's own size or wall time never fits them; a budget of minutes is used up. All others (so
# many jobs, cores or running minutes at once) are cured by waiting.
_NEVER = re.compile(r"^(Assoc|QOS)(Max|Min)\w*(PerJob|PerNode|NotSatisfied|DurationPerJob)\w*$|^QOSMin\w+$")
_USED_UP = re.compile(r"^(Assoc|QOS)Grp\w*(Minutes|Wall)\w*$")


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
    """Code where a waiting job's reason says that it does not only wait for its turn; empty otherwise."""
    plain = reason.strip("() ").partition(",")[0].strip()
    found = STUCK.get(plain) or STUCK.get(plain.replace(" ", "_"))
    if found:
        return found
    if _NEVER.match(plain) or (_USED_UP.match(plain) and "RunMinutes" not in plain):
        return "site.policy"
    return ""
