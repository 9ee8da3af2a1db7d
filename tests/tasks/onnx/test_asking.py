"""MLflow's python_function asked in a process of its own: what ends that process says nothing about the model."""

import signal
from pathlib import Path

import pytest
from helper_processes import sent_to_helpers

from tasks.errors import LostError
from tasks.onnx import asking
from tasks.onnx.asking import Unanswered, ask


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_a_process_that_was_ended_is_lost_and_no_answer_of_the_models(
    tmp_path: Path, number: signal.Signals
) -> None:
    with (
        sent_to_helpers(number, "tasks.onnx.asking") as hit,
        pytest.raises(LostError, match=f"was ended by {number.name}"),
    ):
        ask(tmp_path, {"x": [[0.0]]}, ())
    assert hit


def test_one_that_takes_too_long_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "_SECONDS", 0.05)
    with pytest.raises(LostError, match="did not answer within 0 s: run again"):
        ask(tmp_path, {"x": [[0.0]]}, ())


@pytest.mark.slow
def test_what_mlflow_says_of_a_folder_is_the_models(tmp_path: Path) -> None:
    with pytest.raises(Unanswered, match="MLmodel"):
        ask(tmp_path, {"x": [[0.0]]}, ())
