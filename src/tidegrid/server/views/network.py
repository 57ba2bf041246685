"""The network and its clusters, as they go out."""

from __future__ import annotations

from pydantic import Field

from tidegrid.server.views.base import Open, View


class Network(Open):
    """The network document as applied."""


class SiteFairness(View):
    """A site that promises its own users that they lose nothing by the network. Seconds and bounded slowdowns are those of all its own jobs of
    the last seven days together, wherever they ran."""

    site: str
    clusters: list[str]
    home_of: list[str] = Field(description="organisations whose home it is")
    fair: str = Field(description="what they may not lose: `wait`, or `slowdown` (both)")
    takes_guests: bool
    jobs: int
    waited_s: float
    alone_s: float = Field(description="what they would have waited with this site alone")
    gained_s: float
    slowdown: float
    alone_slowdown: float
    lends_s: float = Field(description="by how much they may be behind")


class FairnessList(View):
    items: list[SiteFairness]


class NetworkChange(Open):
    """What applying changed, or would change."""


class Cluster(Open):
    name: str


class ClusterList(View):
    items: list[Cluster]
