"""Training is killed with SIGKILL and goes on as if nothing had happened; `make bench` does the same with 20 kills."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from checkout import BENCH


@pytest.fixture(scope="module")
def bench() -> Iterator[ModuleType]:
    """tests/bench/bench_drill.py, under a name that the killed processes can import too."""
    folder = str(BENCH)
    sys.path.insert(0, folder)
    import bench_drill

    yield bench_drill
    sys.path.remove(folder)


@pytest.mark.slow
def test_a_training_killed_at_random_moments_ends_as_if_it_had_not_been(
    bench: ModuleType, tmp_path: Path
) -> None:
    drill = bench.make_drill(tmp_path)
    kills, _ = bench.random_kills(drill, tmp_path, kills=3, seed=7)
    assert kills == 3


@pytest.mark.slow
def test_a_second_kill_in_the_same_epoch_changes_nothing(bench: ModuleType, tmp_path: Path) -> None:
    every_step = bench.CONFIG.model_copy(update={"checkpoint_seconds": 0.0})
    drill = bench.make_drill(tmp_path, every_step)
    whole = drill.finish(tmp_path / "whole")
    steps_an_epoch = whole.step // whole.epoch
    for generation in (steps_an_epoch + 3, steps_an_epoch + 5, steps_an_epoch + 6):
        drill.kill_at_save(tmp_path / "killed", generation)
    bench.check(drill.finish(tmp_path / "killed"), whole)
