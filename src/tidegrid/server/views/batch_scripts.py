"""What a batch script came to, as it goes out."""

from __future__ import annotations

from typing import Any

from tidegrid.server.views.base import View


class BatchRemark(View):
    """line: in the script, 0 elsewhere; fate: used, or left out."""

    line: int = 0
    where: str = ""
    option: str = ""
    fate: str = ""
    text: str


class BatchScript(View):
    """submission: the body for `POST /jobs`, to which inputs may be added; wait, dry_run: what sbatch was asked for."""

    submission: dict[str, Any]
    remarks: list[BatchRemark] = []
    wait: bool = False
    dry_run: bool = False
