"""What an embedded cluster makes of a submission."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tidegrid.connectors.embedded.checks import Refused, specification
from tidegrid.connectors.embedded.config import ClusterConfig, PartitionConfig


def _asked(root: Path, **changes: Any) -> dict[str, Any]:
    (root / "a").mkdir(exist_ok=True)
    (root / "a" / "job.sh").touch()
    return {"name": "tg-1", "directory": "a", "script": "job.sh", "partition": "gpu", "cores": 1, "memory_mib": 10, "wall_s": 60, "nodes": 1, "gpus": 0,
            "gpu_type": "", "tasks": "0", "throttle": 0, **changes}  # fmt: skip


def _config(root: Path) -> ClusterConfig:
    return ClusterConfig("east", str(root), (PartitionConfig("gpu", 2, 8, 1000, 4, "a100"),))


def test_whole_nodes_come_with_all_their_cores_and_gpus_and_the_memory_asked_for(tmp_path: Path) -> None:
    spec = specification(_config(tmp_path), _asked(tmp_path, nodes=2, gpus=1, exclusive=True))
    assert (spec["nodes"], spec["cores"], spec["memory_mib"], spec["gpus"]) == (2, 8, 10, 4)
    shared = specification(_config(tmp_path), _asked(tmp_path, nodes=2, gpus=1))
    assert (shared["cores"], shared["gpus"]) == (1, 1)


@pytest.mark.parametrize("changes", [{"nodes": 3}, {"cores": 9}, {"gpus": 5, "exclusive": True}, {"memory_mib": 2000}, {"gpus": 1, "gpu_type": "h100"}])
def test_what_no_nodes_have_is_refused_by_name(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(Refused) as refused:
        specification(_config(tmp_path), _asked(tmp_path, **changes))
    assert refused.value.code == "site.impossible"
