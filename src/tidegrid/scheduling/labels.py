"""Kinds of work: what a job's label says about where it may run and what its owner wants, where nothing else is said.

A row is data, as presets of objectives are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tidegrid.domain.errors import InvalidInput
from tidegrid.domain.job import Resources


@dataclass(frozen=True, slots=True)
class Label:
    """objective: preset where the job names none; gpus: it needs at least one; one_node: it runs on one; whole: over several nodes it
    has them to itself, and they are linked."""

    objective: str
    gpus: bool = False
    one_node: bool = False
    whole: bool = False


LABELS: Mapping[str, Label] = {
    "batch": Label("balanced"),
    "interactive": Label("fastest", one_node=True),  # somebody sits and waits
    "may_wait": Label("patient"),  # fills what is idle, above all what is owned
    "training": Label("balanced", gpus=True, whole=True),  # from one GPU to a whole cluster
}


def apply(work: str, resources: Resources) -> Resources:
    """Resources as the label has them. InvalidInput (work.unknown, work.gpus, work.nodes)."""
    if not work:
        return resources
    label = LABELS.get(work)
    if label is None:
        raise InvalidInput("work.unknown", f"there is no kind of work {work!r}", hint="one of " + ", ".join(LABELS))
    if label.gpus and not resources.gpus:
        raise InvalidInput("work.gpus", f"{work} needs GPUs", hint="ask for at least one: --gpus 1")
    if label.one_node and resources.nodes > 1:
        raise InvalidInput("work.nodes", f"{work} runs on one node, not on {resources.nodes}", hint="another kind of work has several")
    if label.whole and resources.nodes > 1 and not resources.exclusive:
        return Resources(
            resources.cores, resources.memory_mib, resources.gpus, resources.gpu_type, resources.wall_s, resources.nodes,
            resources.ranks, True,
        )  # fmt: skip
    return resources


def objective(work: str) -> str:
    """The preset that a job of this kind has where it names none."""
    return LABELS[work].objective if work in LABELS else "balanced"


def linked(work: str, resources: Resources) -> bool:
    """Whether its nodes need an interconnect."""
    return work in LABELS and LABELS[work].whole and resources.nodes > 1


def size(resources: Resources) -> str:
    """How much of a machine it takes, in words."""
    if resources.nodes > 1:
        return f"{resources.nodes} whole nodes" if resources.exclusive else f"{resources.nodes} nodes"
    if resources.exclusive:
        return "one whole node"
    return f"{resources.gpus} GPU{'s' if resources.gpus > 1 else ''}" if resources.gpus else f"{resources.cores} cores"
