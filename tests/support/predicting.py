"""A module asked for its first output, which the tasks themselves never want without the goals' names."""

from typing import Any

import numpy as np
from torch import nn

from tasks.training.module import answers, main_output

Array = np.ndarray[Any, Any]


def predict(module: nn.Module, inputs: dict[str, Array], batch_size: int = 256) -> Array:
    """The module's raw (first) output for all rows, float32[n, ...]."""
    starts = range(0, len(next(iter(inputs.values()))), batch_size)
    batches = [{name: array[at : at + batch_size] for name, array in inputs.items()} for at in starts]
    return np.concatenate([main_output(answers(module, batch)).float().cpu().numpy() for batch in batches])
