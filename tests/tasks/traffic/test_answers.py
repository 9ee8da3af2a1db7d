"""Recorded answers in words, as a file that decides gives them and as logits; and goals whose rows have no score."""

import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tasks.errors import UserError
from tasks.goals import Classify, Goal, MultiLabel, Regress, Tag, metric_of
from tasks.records import Fitted
from tasks.traffic import answers
from tasks.traffic.answers import Answers, check_by_row


def of(goal: Goal, classes: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> Answers:
    workload = SimpleNamespace(name="mine", goals=(goal,))
    monkeypatch.setattr(answers, "load_workload", lambda reference: workload)
    report = SimpleNamespace(fitted=(Fitted(classes=classes),))
    evidence: Any = SimpleNamespace(workload="mine", proof=SimpleNamespace(report=report))
    return Answers(evidence)


def test_words_that_a_file_gives_and_logits_are_held_to_the_same_labels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = of(Classify("kind"), ("cat", "dog"), monkeypatch)
    words = {
        "label": np.array([["dog"], ["cat"], ["dog"]]),
        "probability": np.array([[0.1, 0.9], [0.8, 0.2], [0.4, 0.6]]),
    }
    logits = {"logits": np.array([[0.0, 2.0], [1.0, 0.0], [0.0, 1.0]])}
    for outputs in (words, logits):
        assert said.in_words(outputs) == ["dog", "cat", "dog"]
        right = said.right(outputs, ["dog", "dog", "bird"])
        assert right[:2].tolist() == [1.0, 0.0] and np.isnan(right[2])
    assert said.classes == ("cat", "dog")


@pytest.mark.parametrize(
    ("goal", "name"),
    [
        (
            Classify("kind", score=metric_of(lambda truth, said: 0.5, name="gain")),
            "classification) is scored by gain",
        ),
        (Classify("kind", thresholds=True), "classification) is scored by macro_f1"),
        (MultiLabel("a", "b"), "multi-label) is scored by macro_f1"),
        (Regress("price"), "regression) is scored by r2"),
        (Tag("tags", length=3), "tags) is scored by f1"),
    ],
)
def test_a_score_that_no_row_has_by_itself_is_refused_in_a_sentence(
    goal: Goal, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=rf"mine \({re.escape(name)}, which no row has by itself"):
        check_by_row(of(goal, ("a", "b"), monkeypatch).workload)
