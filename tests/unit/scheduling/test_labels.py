"""Kinds of work, from an interactive session to training on a whole cluster."""

from __future__ import annotations

import pytest

from tidegrid.domain.errors import InvalidInput
from tidegrid.domain.job import Resources
from tidegrid.scheduling import labels
from tidegrid.scheduling.objective import PRESETS


def test_every_kind_of_work_names_an_objective_there_is() -> None:
    assert {row.objective for row in labels.LABELS.values()} <= set(PRESETS)
    assert labels.objective("interactive") == "fastest" and labels.objective("may_wait") == "patient"
    assert labels.objective("") == "balanced"


def test_training_is_from_one_gpu_to_whole_linked_nodes() -> None:
    one = labels.apply("training", Resources(gpus=1))
    assert one == Resources(gpus=1) and not labels.linked("training", one) and labels.size(one) == "1 GPU"
    many = labels.apply("training", Resources(gpus=8, nodes=16))
    assert many.exclusive and labels.linked("training", many) and labels.size(many) == "16 whole nodes"
    assert not labels.linked("batch", many)


@pytest.mark.parametrize(
    ("work", "resources", "code"),
    [("training", Resources(), "work.gpus"), ("interactive", Resources(nodes=2), "work.nodes"), ("dreaming", Resources(), "work.unknown")],
)
def test_what_does_not_fit_its_kind_is_refused(work: str, resources: Resources, code: str) -> None:
    with pytest.raises(InvalidInput) as e:
        labels.apply(work, resources)
    assert e.value.code == code
