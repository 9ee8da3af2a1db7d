"""The MLflow run of a pipeline run: when MLflow is not there to be told, and when the process was killed while it wrote."""

import logging
import time
from pathlib import Path

import pytest

from flows.pipeline.context import RunContext
from flows.pipeline.keys import Key
from flows.pipeline.tracking import interrupted, note_failure, tracked
from tasks.config import RunConfig
from tasks.records import Dataset, TensorSpec
from tasks.registry.registry import Registry
from tasks.settings import Settings

CONFIG = RunConfig()


class Killed(BaseException):
    """Stands for the process's end."""


def test_a_failure_is_told_at_once_though_the_run_would_have_waited_for_mlflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def waited(seconds: float) -> None:
        raise AssertionError(f"waited for {seconds} s")

    monkeypatch.setattr(time, "sleep", waited)
    nobody = Registry(Settings(home=tmp_path, tracking_uri="http://127.0.0.1:1"), patience=300)
    with caplog.at_level(logging.WARNING, "slipway"):
        note_failure(nobody, "run-1", ValueError("the loss is NaN"))
    assert "MLflow could not be told that run run-1 failed" in caplog.text
    assert "does not answer at http://127.0.0.1:1" in caplog.text and "waited" not in caplog.text


@pytest.fixture
def context(tmp_path: Path, empty_mlflow_database: Path) -> RunContext:
    (tmp_path / "mlflow.db").write_bytes(empty_mlflow_database.read_bytes())
    settings = Settings(home=tmp_path, tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    return RunContext(workload="digits", model="digits", settings=settings, key=Key())


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    target = TensorSpec(name="target", dtype="int64", shape=("batch",))
    rows = {"train": 6, "validation": 2, "test": 2}
    return Dataset(
        workload="digits",
        folder=tmp_path,
        fingerprint="f" * 64,
        rows=rows,
        inputs=(),
        target=target,
        classes=None,
    )


@pytest.mark.slow
@pytest.mark.parametrize("last", ["start_run", "log_params", "log_dataset"])
def test_a_run_that_was_killed_before_it_kept_its_id_is_found_and_completed(
    context: RunContext, dataset: Dataset, monkeypatch: pytest.MonkeyPatch, last: str
) -> None:
    write = getattr(Registry, last)

    def write_and_die(self: Registry, *arguments: object) -> None:
        write(self, *arguments)
        raise Killed

    with monkeypatch.context() as dying, pytest.raises(Killed):
        dying.setattr(Registry, last, write_and_die)
        with tracked(context, dataset, CONFIG):
            raise AssertionError("it was not killed")
    with tracked(context, dataset, CONFIG) as going_on:
        run_id = going_on.run_id
    registry = context.registry
    (run,) = registry.client.search_runs([registry.experiment("digits")])
    assert (run.info.run_id, run.info.status) == (run_id, "FINISHED")
    assert len(run.inputs.dataset_inputs) == 3 and run.data.params["train.lr"] == str(CONFIG.train.lr)
    with tracked(context, dataset, CONFIG) as another:
        assert another.run_id != run_id


@pytest.mark.slow
def test_a_run_that_was_killed_when_all_was_decided_is_ended_by_the_next(
    context: RunContext, dataset: Dataset
) -> None:
    begun = tracked(context, dataset, CONFIG)
    run_id = begun.__enter__().run_id  # and never leaves
    registry = context.registry
    for owes in (True, False):
        with interrupted(context) as it_owes:
            assert it_owes == owes
        assert registry.client.get_run(run_id).info.status == "FINISHED"
    assert not list((context.folder / "pending").iterdir())
