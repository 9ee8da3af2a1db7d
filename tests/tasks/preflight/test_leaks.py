"""Truth among the inputs is seen, in whatever units, and what only has to do with it is not called so."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.preflight.leaks import telling_input
from tasks.workloads.workload import Workload

random = np.random.default_rng(0)

CLASSES = pd.DataFrame({"a": random.normal(size=400), "y": random.choice([*"nvz"], 400)})

NUMBERS = pd.DataFrame({"a": random.normal(size=400), "y": random.gamma(2, 5, 400)})


def workload(kind: Any, inputs: Callable[[pd.DataFrame], Any]) -> Workload:
    return Workload(
        name="toy",
        kind=kind,
        load=lambda: CLASSES,
        schema=lambda: None,  # type: ignore[arg-type, return-value]
        target="y",
        inputs=inputs,
        model=lambda: None,  # type: ignore[arg-type, return-value]
    )


def beside(column: Any) -> "Callable[[pd.DataFrame], dict[str, Any]]":
    return lambda frame: {"x": np.stack([frame["a"], column(frame["y"])], 1).astype("float32")}


@pytest.mark.parametrize(
    ("frame", "kind", "column"),
    [
        (CLASSES, "classification", lambda y: y.map({"n": 0, "v": 1, "z": 2})),
        (CLASSES, "classification", lambda y: y.map({"n": 7, "v": -1, "z": 2})),
        (CLASSES, "classification", lambda y: y.map({"n": 7, "v": -1, "z": 2}) + random.random(len(y)) / 3),
        (NUMBERS, "regression", lambda y: y),
        (NUMBERS, "regression", lambda y: 32 - 1.8 * y),
    ],
)
def test_truth_among_the_inputs_is_seen(frame: pd.DataFrame, kind: str, column: Any) -> None:
    assert telling_input(workload(kind, beside(column)), frame) == ("inputs()['x'][:, 1]", "'y'")
    assert (
        telling_input(workload(kind, beside(column)), frame.sort_values("y", ignore_index=True)) is not None
    )


@pytest.mark.parametrize(
    ("frame", "kind", "column"),
    [
        (CLASSES, "classification", lambda y: random.random(len(y))),
        (CLASSES, "classification", lambda y: y.map({"n": 0, "v": 0, "z": 2})),
        (CLASSES, "classification", lambda y: y.map({"n": 0, "v": 1, "z": 2}).where(random.random(len(y)) > 0.02, 5)),
        (CLASSES, "classification", lambda y: np.arange(len(y))),
        (CLASSES, "classification", lambda y: np.zeros(len(y))),
        (NUMBERS, "regression", lambda y: y + random.normal(size=len(y)) / 10),
        (NUMBERS, "regression", lambda y: y.round() // 5),
        (NUMBERS, "regression", lambda y: np.zeros(len(y))),
    ],
)  # fmt: skip
def test_what_has_to_do_with_it_is_not(frame: pd.DataFrame, kind: str, column: Any) -> None:
    assert telling_input(workload(kind, beside(column)), frame) is None


def test_few_rows_tell_nothing() -> None:
    told = workload("classification", beside(lambda y: y.map({"n": 0, "v": 1, "z": 2})))
    assert telling_input(told, CLASSES.head(40)) is None
