"""The MLflow run of a pipeline run, when MLflow is not there to be told."""

import logging
import time
from pathlib import Path

import pytest

from flows.pipeline.tracking import note_failure
from tasks.registry.registry import Registry
from tasks.settings import Settings


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
