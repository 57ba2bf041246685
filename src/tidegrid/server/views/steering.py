"""Steered queues, as they go out."""

from __future__ import annotations

from pydantic import Field

from tidegrid.server.views.base import Time, View


class SteeredQueue(View):
    at: Time | None = None
    waiting: int | None = None
    changed: int | None = Field(default=None, description="nice values, by the last step")
    first: list[str] = Field(default=[], description="native ids of those that are to start first")
    error: str = ""


class Steering(View):
    """Whether and how a cluster's queue is put into the product's order."""

    cluster: str
    mode: str = Field(description="on or off")
    why: str = Field(default="", description="why it was turned off by itself")
    partitions: list[str]
    policy: str
    bound: int
    last: dict[str, SteeredQueue] = Field(description="by partition; of this server's steps only")


class SteeredJob(View):
    id: str
    user: str
    cores: int
    limit_s: int
    waited_s: int
    nice: int
    to: int = Field(description="the nice value it would get")


class SteeringPreview(View):
    cluster: str
    partition: str
    policy: str
    waiting: int
    changes: int
    order: list[SteeredJob] = Field(description="who would come first, first")
