"""Batch scripts written for Slurm."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from tidegrid.server.auth import Network, WritesJobs
from tidegrid.server.bodies import BatchScriptBody
from tidegrid.server.views import batch_scripts as views

router = APIRouter(tags=["jobs"])


@router.post("/sbatch", response_model=views.BatchScript)
async def batch_script(body: BatchScriptBody, platform: Network, actor: WritesJobs) -> Any:
    """What an `#SBATCH` script asks for, as a submission to send to `POST /jobs`. Nothing is submitted.

    Every option that cannot be kept is named with its line: those that matter refuse the script (sbatch.refused), the others
    are told in `remarks`."""
    return await platform.batch_script(actor, body.model_dump(mode="json"))
