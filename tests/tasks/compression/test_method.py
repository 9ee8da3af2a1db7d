"""What a step that trains again takes from the training it follows."""

from typing import Any

import pytest

from tasks.compression.distillation import Distillation
from tasks.compression.method import Context, TorchMethod
from tasks.compression.pruning import Pruning
from tasks.config import Gates, Train
from tasks.workloads.examples.digits import workload as digits


@pytest.mark.parametrize(
    ("method", "knobs", "fp32", "passes"),
    [
        (Pruning, {}, 8, 4),
        (Pruning, {}, 5, 3),
        (Pruning, {}, 1, 1),
        (Pruning, {"epochs": 7}, 8, 7),
        (Distillation, {}, 5, 5),
        (Distillation, {"epochs": 7}, 5, 7),
    ],
)
def test_a_step_has_half_of_the_training_s_passes_rounded_up_and_a_student_all_unless_the_recipe_says(
    method: type[TorchMethod], knobs: dict[str, int], fp32: int, passes: int
) -> None:
    given: dict[str, Any] = {"ratio": 0.5} if method is Pruning else {"student": "small"}
    unread: Any = None
    context = Context(digits, unread, unread, unread, Train(epochs=fp32), Gates(), None, unread)
    assert method(**given, **knobs).passes(context) == passes
