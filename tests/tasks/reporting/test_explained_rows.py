"""The report's part on what answers hang on, when there is nothing to show."""

from pathlib import Path

import pytest

from tasks.records import Candidate, Dataset
from tasks.reporting.attribution import captum_installed
from tasks.reporting.explained_rows import attributions

pytest.importorskip("captum")


def test_a_picture_that_cannot_be_made_is_a_sentence_and_no_failure(
    linear_digits: tuple[Dataset, Candidate], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, fp32 = linear_digits
    assert fp32.onnx is not None
    (tmp_path / "model.onnx").write_bytes(b"no model")
    broken = attributions("digits", dataset, tmp_path / "model.onnx")
    assert (
        broken.explanation is None and "could not be found: " in broken.missing and "\n" not in broken.missing
    )
    monkeypatch.setattr("tasks.reporting.explained_rows.captum_installed", lambda: False)
    without = attributions("digits", dataset, fp32.onnx.path)
    assert without.explanation is None and "pip install 'slipway[explain]'" in without.missing
    assert captum_installed()


def test_rows_that_take_minutes_are_a_sentence_and_no_wait(
    linear_digits: tuple[Dataset, Candidate], monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, fp32 = linear_digits
    assert fp32.onnx is not None
    monkeypatch.setattr("tasks.reporting.attribution._foreseen", lambda *given: 164.0)
    monkeypatch.setattr("tasks.reporting.attribution._weights", lambda *given: pytest.fail("it was begun"))
    assert attributions("digits", dataset, fp32.onnx.path).missing == (
        "What the answers hang on is not shown, for a row takes about 164 s of CPU: slipway explain digits 1 takes that long."
    )
