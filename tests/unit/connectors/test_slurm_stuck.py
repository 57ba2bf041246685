"""Which of Slurm's reasons for waiting are no waiting for one's turn."""

from __future__ import annotations

import pytest

from tidegrid.connectors.slurm.refusals import stuck

NEVER = {
    "PartitionNodeLimit": "site.impossible",
    "(PartitionConfig)": "site.impossible",
    "PartitionTimeLimit": "site.time_limit",
    "BadConstraints": "site.resources",
    "DependencyNeverSatisfied": "site.dependency",
    "AccountNotAllowed": "site.account",
    "QOSNotAllowed": "site.qos",
    "(launch failed requeued held)": "site.launch_failed",
    "launch_failed_requeued_held": "site.launch_failed",
    "AssocMaxCpuPerJobLimit": "site.policy",
    "AssocMaxWallDurationPerJobLimit": "site.policy",
    "QOSMaxGRESPerNode": "site.policy",
    "QOSMinCpuNotSatisfied": "site.policy",
    "AssocGrpCPUMinutesLimit": "site.policy",
    "AssocGrpBillingMinutes": "site.policy",
    "QOSGrpWallLimit": "site.policy",
    "PartitionDown": "site.partition_down",
    "ReqNodeNotAvail, UnavailableNodes:a[1-4]": "site.nodes_down",
    "JobHeldAdmin": "site.held",
}
CURED_BY_WAITING = [
    "None", "Resources", "Priority", "BeginTime", "Licenses", "Dependency", "JobArrayTaskLimit", "Reservation", "Cleaning",
    "AssocGrpCpuLimit", "AssocGrpNodeLimit", "AssocMaxJobsLimit", "AssocGrpCPURunMinutesLimit", "QOSMaxJobsPerUserLimit",
    "QOSMaxCpuPerUserLimit", "QOSGrpCPURunMinutesLimit", "QOSMaxNodePerUserLimit", "MaxCpuPerAccount",
]  # fmt: skip


@pytest.mark.parametrize(("reason", "code"), sorted(NEVER.items()))
def test_what_no_turn_will_come_for_has_a_code(reason: str, code: str) -> None:
    assert stuck(reason) == code


@pytest.mark.parametrize("reason", CURED_BY_WAITING)
def test_what_waiting_cures_has_none(reason: str) -> None:
    assert stuck(reason) == ""
