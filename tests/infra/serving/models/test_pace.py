"""How a warmed-up model is batched, on a clock that moves only when rows are run."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import serving_models as models
from onnx import helper

from infra.serving.ipc.messages import Release
from infra.serving.models.pace import Pace, measure
from infra.serving.models.version import load_version
from tasks.system.files import sha256_of


def measured(cost: Callable[[int], float], batch: int | None = None) -> Pace:
    """The pace of a model that takes `cost(rows)` seconds."""
    now = 0.0

    def run(rows: int) -> None:
        nonlocal now
        now += cost(rows)

    return measure(run, batch, lambda: now)


def test_rows_that_cost_microseconds_share_large_batches_on_the_loop() -> None:
    found = measured(lambda rows: 10e-6 + rows * 1e-6)
    assert found.inline and found.batch == 1024
    assert found.single == pytest.approx(11e-6) and found.row < 1.2e-6


def test_rows_of_a_tenth_of_a_millisecond_run_64_at_once() -> None:
    found = measured(lambda rows: 50e-6 + rows * 50e-6)
    assert found.inline and found.batch == 64


def test_a_slow_model_that_gains_nothing_runs_rows_alone() -> None:
    found = measured(lambda rows: rows * 20e-3)
    assert not found.inline
    assert found.batch == 1 and found.row == pytest.approx(20e-3)


def test_a_slow_model_gets_the_smallest_batch_that_makes_its_rows_cheap() -> None:
    """As the 10.6M transformer: rows are cheapest in batches of 8, and dearer again in larger ones."""
    by_size = {1: 15e-3, 2: 15e-3, 4: 12.6e-3, 8: 12.0e-3, 16: 12.0e-3, 32: 14e-3}
    assert measured(lambda rows: rows * by_size[rows]).batch == 8


def test_a_slow_model_that_still_gains_when_the_time_is_up_may_use_64() -> None:
    assert measured(lambda rows: 0.3 + rows * 1e-3).batch == 64
    assert measured(lambda rows: 0.1 + rows * 1e-3).batch == 64


def test_what_the_user_says_is_kept() -> None:
    assert measured(lambda rows: rows * 20e-3, batch=5).batch == 5
    assert measured(lambda rows: rows * 1e-6, batch=5).batch == 5


def test_warming_up_takes_a_second_at_most() -> None:
    for cost in (1e-6, 1e-4, 1e-3, 1e-2, 0.1):
        spent = 0.0

        def seconds(rows: int, cost: float = cost) -> float:
            nonlocal spent
            spent += rows * cost
            return rows * cost

        measured(seconds)
        assert spent < 1.0, cost


def test_rows_that_do_not_come_out_as_they_went_in_are_nobodys_answer(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["most"], axes=[1], keepdims=0),
        helper.make_node("GreaterOrEqual", ["most", "zero"], ["kept"]),
        helper.make_node("Compress", ["x", "kept"], ["y"], axis=0),
    ]
    weights = {"zero": np.array(0, np.float32)}
    proto = models.graph(nodes, [models.floats("x", "n", 2)], [models.floats("y", "m", 2)], weights)
    folder = models.save(tmp_path / "m", proto)
    digest = sha256_of(folder / "model.onnx")
    release = Release(model="m", version="1", digest=digest, folder=folder, evidence="unsigned")
    model = load_version(release, threads=1, batch=None, max_rows=9)
    first, second = (model.invocations.read(b'{"inputs": [[%d, -2]]}' % number) for number in (1, -1))
    assert model.run([first, first]).json(0, 0, 2) == b"[[1.0,-2.0],[1.0,-2.0]]"
    with pytest.raises(ValueError, match="1 rows came out for 2"):
        model.run([second, first])
