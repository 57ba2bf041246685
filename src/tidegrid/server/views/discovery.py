"""What was found at a cluster, as it goes out."""

from __future__ import annotations

from pydantic import Field

from tidegrid.server.views.base import Open, View


class Finding(View):
    """One thing that a check found. state: ok, note, missing or skipped; code: stable, empty where all is well."""

    step: str
    state: str
    text: str = ""
    code: str = ""
    hint: str = ""
    partition: str = ""


class CheckReport(View):
    cluster: str
    ok: bool = Field(description="nothing is missing, and nothing could not be tried")
    findings: list[Finding] = []


class Discovered(Open):
    """What a cluster is. `yaml`: a network file with it; `sections`: its entries of providers, sites and clusters."""

    name: str
    yaml: str
    sections: dict[str, str] = {}
