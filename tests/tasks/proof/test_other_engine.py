"""A file in another engine: from which batch on it pays, what is refused with its numbers, and what of it is proved."""

import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from engines_here import CRASHING, IN, OPENVINO, asked
from hypothesis import given
from hypothesis import strategies as st

from tasks.config import RunConfig
from tasks.engines import ONNX_RUNTIME, Engine
from tasks.measured import Interval, Report, Speed
from tasks.onnx.engines import described
from tasks.proof import other_engine
from tasks.proof.other_engine import BATCHES, crossing, in_engine, worth
from tasks.proof.validation import validate
from tasks.records import Candidate, Dataset

Digits = tuple[Dataset, Candidate]


def speed(batch: int, low: float, p50_ms: float = 1.0) -> Speed:
    interval = Interval(low=low, high=low + 0.2, level=0.95)
    ratio = low + 0.1
    return Speed(
        batch=batch, p50_ms=p50_ms, p95_ms=2, rows_per_second=1, latency_ratio=1 / ratio, throughput_ratio=ratio,
        interval=interval, rounds=9,
    )  # fmt: skip


@given(st.lists(st.floats(0.1, 5), min_size=1, max_size=4))
def test_a_crossing_is_the_least_batch_from_which_every_larger_one_is_surely_faster(
    lows: list[float],
) -> None:
    looked: list[int] = []

    def race() -> Any:
        for batch, low in zip(BATCHES, lows, strict=False):
            looked.append(batch)
            yield speed(batch, low)

    rows, last = crossing(race())
    faster = [low > 1 for low in lows]
    until = faster.index(False) if False in faster else len(lows)
    assert rows == (BATCHES[until - 1] if until else None)
    assert looked == [*BATCHES[: min(until + 1, len(lows))]] and last.batch == looked[-1]


def _race(monkeypatch: pytest.MonkeyPatch, lows: dict[int, float]) -> None:
    monkeypatch.setattr(other_engine, "race", lambda *given: speed(given[3], lows[given[3]]))


@pytest.mark.slow
def test_a_file_that_loses_in_the_other_engine_is_refused_with_its_numbers(
    linear_digits: Digits, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, fp32 = linear_digits
    _race(monkeypatch, {64: 0.4})
    lost = in_engine("digits", dataset, fp32, OPENVINO)
    assert lost.name.startswith("fp32-openvino") and lost.onnx is None
    said = rf"OpenVINO \S+ {IN} is not surely faster than ONNX Runtime on this file: 0\.50× \(0\.40 to 0\.60\) at batch 64"
    assert re.fullmatch(said, lost.refused or "")


@pytest.mark.slow
def test_a_file_over_which_the_engine_ends_a_process_is_refused_and_ends_no_run(
    linear_digits: Digits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a fake of OpenVINO, which the fresh process meets."""
    dataset, fp32 = linear_digits
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(CRASHING), os.environ.get("PYTHONPATH", "")]))
    refused = in_engine("digits", dataset, fp32, OPENVINO)
    assert (refused.refused or "").startswith(
        "a fresh process that loads and runs it was ended by SIGSEGV, twice"
    )


def test_what_the_engine_does_not_take_is_a_sentence_and_no_candidate(
    linear_digits: Digits, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, fp32 = linear_digits
    other = Engine(name="openvino", precision="bf16", instructions=("amx_of_tomorrow",))
    monkeypatch.setattr(other_engine, "described", lambda engine, precision: other)
    refused = in_engine("digits", dataset, fp32, OPENVINO)
    assert refused.refused == "OpenVINO in bf16 rests on amx_of_tomorrow, which this processor has not"


def test_small_models_are_tried_where_an_engine_was_named_only() -> None:
    (small, large) = (
        Report(name="fp32", split="validation", rows=9, score=1, score_name="accuracy", sha256="", size_bytes=1, speed=(speed(64, 0.9, ms),))
        for ms in (0.05, 3.0)
    )  # fmt: skip
    assert worth([small], RunConfig()) == []
    assert worth([large], RunConfig()) == worth([small], RunConfig(engines=("openvino",))) == ["fp32"]


@pytest.mark.slow
def test_a_candidate_in_another_engine_is_measured_there_and_names_it(
    linear_digits: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.proof.validation.MEASURE_SECONDS", 0.02)
    dataset, fp32 = linear_digits
    _race(monkeypatch, {64: 1.2, 16: 1.1, 4: 0.9})
    made = in_engine("digits", dataset, fp32, OPENVINO)
    assert made.engine.rows == 16 and made.onnx == fp32.onnx and made.refused is None
    with asked() as batches:
        plain = validate("digits", dataset, fp32, fp32, tmp_path)
        assert not batches
        report = validate("digits", dataset, made, fp32, tmp_path)
        assert batches
    assert report.problems == () and report.engine == made.engine
    assert report.engine.choice == made.engine.choice and report.engine.version
    assert plain.engine == described(ONNX_RUNTIME, "fp32")
    assert report.speed[0].throughput_ratio == 1.0  # one row is ONNX Runtime's
    assert abs(report.score - plain.score) < 0.02


@pytest.mark.slow
def test_only_a_proof_measures_what_the_engine_promises_against_onnx_runtime_on_the_same_file(
    linear_digits: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[tuple[Path, Path]] = []

    def measure(candidate: Path, baseline: Path, *_: Any, **__: Any) -> tuple[Speed, ...]:
        measured.append((candidate, baseline))
        return (speed(64, 1.0 + len(measured)),)

    monkeypatch.setattr("tasks.proof.validation.measure", measure)
    dataset, fp32 = linear_digits
    file = fp32.onnx
    assert file is not None
    same = shutil.copy(file.path, tmp_path / "same.onnx")
    other = Candidate(
        name="other",
        engine=OPENVINO,
        onnx=file.model_copy(update={"path": Path(same)}),
    )
    assert validate("digits", dataset, other, fp32, tmp_path).promise == ()
    assert validate("digits", dataset, other, fp32, tmp_path, "test").promise[0].interval.low == 4.0
    assert measured == [(Path(same), file.path)] * 2 + [(Path(same), Path(same))]
    own = fp32.model_copy(update={"engine": OPENVINO})
    report = validate("digits", dataset, own, fp32, tmp_path, "test")
    assert report.promise == report.speed
    assert validate("digits", dataset, fp32, fp32, tmp_path, "test").promise == () and len(measured) == 5


def test_old_evidence_reads_as_of_onnx_runtime_in_the_files_own_numbers() -> None:
    old = {
        "name": "int8",
        "split": "test",
        "rows": 9,
        "score": 1,
        "score_name": "accuracy",
        "sha256": "",
        "size_bytes": 1,
    }
    report = Report.model_validate(old)
    assert report.engine == ONNX_RUNTIME and report.engine.precision is None and report.promise == ()
