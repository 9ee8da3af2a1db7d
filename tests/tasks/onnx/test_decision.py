"""What a decision is made of: validation rows only where it learns of them."""

from dataclasses import replace

import pytest

from tasks.goals import Classify
from tasks.onnx.decision import with_decision
from tasks.records import Candidate, Dataset
from tasks.workloads.catalogue import load_workload


def test_a_file_is_asked_no_row_where_no_threshold_is_fitted(
    linear_digits: tuple[Dataset, Candidate], monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, fp32 = linear_digits
    asked: list[str] = []
    monkeypatch.setattr("tasks.onnx.decision.run_named", lambda session, *given: asked.append("rows") or {})
    for thresholds in (False, True):
        workload = replace(
            load_workload("digits"), kind=None, target=None, goal=Classify("label", thresholds=thresholds)
        )
        if thresholds:
            with pytest.raises(KeyError):
                with_decision(workload, dataset, fp32)
        else:
            decided = with_decision(workload, dataset, fp32)
            assert decided.onnx is not None
            assert [spec.name for spec in decided.onnx.outputs] == ["label", "probability"]
            assert decided.fitted == dataset.fitted and asked == []
    assert asked == ["rows"]
