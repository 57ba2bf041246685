"""Batch scripts written for Slurm."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

from tidegrid.client.calls import Calls, View
from tidegrid.client.views import Job


class BatchScripts(Calls):
    """`#SBATCH` scripts as jobs."""

    def batch_script(
        self,
        script: str,
        *,
        name: str = "",
        options: Sequence[str] = (),
        args: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        variables: Mapping[str, str] | None = None,
        ignore: Sequence[str] = (),
    ) -> View:
        """What the text of a script asks for: {submission, remarks, wait, dry_run}; nothing is submitted.

        options: of sbatch's command line; environment: `SBATCH_*` variables; variables: values for `--export=NAME`; ignore:
        options to leave out. InvalidInput (sbatch.refused) names every line that cannot be kept, in details["problems"].
        """
        body = {
            "script": script, "name": name, "options": list(options), "args": list(args), "environment": dict(environment or {}),
            "variables": dict(variables or {}), "ignore": list(ignore), "utc_offset_s": time.localtime().tm_gmtoff,
        }  # fmt: skip
        return self._view("POST", "/sbatch", json=body)

    def sbatch(
        self, script: str, *, inputs: Sequence[Mapping[str, Any]] = (), key: str | None = None, **more: Any
    ) -> Job:
        """Submit the text of a script. inputs: as in the API's Submission; more: as in `batch_script`, and fields of the
        submission to set."""
        mapping = {k: more.pop(k) for k in ("name", "options", "args", "environment", "variables", "ignore") if k in more}
        body = {**self.batch_script(script, **mapping)["submission"], **more}
        if inputs:
            body["inputs"] = [dict(i) for i in inputs]
        return Job.of(self._post("/jobs", body, key or secrets.token_hex(16)))
