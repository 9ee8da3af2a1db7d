"""What a workload may say of its goal, in either way, and what it may not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import UserError
from tasks.goals import Classify, MultiLabel, Rank, Regress, Tag
from tasks.goals.goal import Goal
from tasks.goals.target import GoalError
from tasks.records import Fitted
from tasks.workloads.catalogue import load_workload
from tasks.workloads.workload import Workload

DIGITS = load_workload("digits")


def test_the_older_keywords_are_a_goal_that_serves_what_they_did() -> None:
    (goal,) = DIGITS.goals
    assert goal.said == "classification of 'label'" and goal.outputs == goal.served == ("logits",)
    (auc,) = load_workload("flights").goals
    assert auc.metric.name == "auc" and auc.metric.whole is not None
    (numbers,) = replace(DIGITS, kind="regression", output="digit", score_name="fit").goals
    assert (numbers.outputs, numbers.metric.name) == (("digit",), "fit")


@pytest.mark.parametrize(
    ("name", "said"),
    [("Generate", "no single digest of rows; Slipway proves one pass"), ("Detect", "boxes and scores of a fixed size")],
)  # fmt: skip
def test_what_is_not_offered_is_said_where_it_is_imported(name: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(f"from tasks.goals import {name}\n")
    with pytest.raises(UserError, match=f"goal {name} is not offered: .*{said}"):
        load_workload(str(tmp_path / "mine.py"))


def anew(**fields: Any) -> Workload:
    return replace(DIGITS, **{"kind": None, "target": None, **fields})


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"goal": Classify("label"), "kind": "classification"}, "goal= says it all, and kind= too: leave out kind"),
        ({"goal": Classify("label"), "target": "label"}, "leave out target"),
        ({"goal": ()}, "learns nothing"),
        ({"goal": (Classify("label"), Classify("other"))}, "two goals have an output 'logits'"),
        ({"goal": Rank("gain", query="visit")}, "'visit' are compared with each other.*: add rows=Rows\\(group='visit'\\)"),
        ({"kind": "classification"}, "says no target"),
        ({}, "kind None is neither"),
    ],
)  # fmt: skip
def test_what_is_said_twice_or_not_at_all_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        anew(**fields)


@pytest.mark.parametrize(
    ("goal", "frame", "said"),
    [
        (MultiLabel("a", "b"), {"a": [0, 1], "b": [0, 3]}, "label 'b' has the value 3: give 1 where it applies"),
        (Regress("a", "b"), {"a": [0.5, 1], "b": ["x", "y"]}, "target 'b' is .*; a regression needs numbers"),
        (Rank("a", query="q"), {"a": ["x", "y"], "q": [1, 1]}, "target 'a' is .*; a regression needs numbers"),
    ],
)  # fmt: skip
def test_columns_that_cannot_be_learned_are_named(goal: Goal, frame: dict[str, Any], said: str) -> None:
    with pytest.raises(GoalError, match=said):
        goal.target.check(pd.DataFrame(frame))


@given(st.lists(st.lists(st.sampled_from(["O", "a", "b"]), max_size=6), min_size=2, max_size=9))
def test_tags_are_cut_at_their_length_and_padded_behind_their_end(cells: list[list[str]]) -> None:
    frame = pd.DataFrame({"tags": pd.Series(cells, dtype=object)})
    target, fitted = Tag("tags", length=4).target, Fitted(classes=("O", "a", "b"))
    coded = target.encode(frame, fitted, {})
    for cell, row in zip(cells, coded, strict=True):
        assert [(fitted.classes or ())[code] for code in row if code >= 0] == cell[:4]
        assert (row[len(cell) :] == -100).all()


def test_a_query_has_one_number_wherever_its_rows_are() -> None:
    target = Rank("gain", query="day").target
    frame = pd.DataFrame({"gain": [1.0, 0.0, 2.0], "day": ["mon", "tue", "mon"]})
    whole, part = target.encode(frame, Fitted(), {}), target.encode(frame.tail(1), Fitted(), {})
    assert whole[2].tolist() == part[0].tolist() and whole[0, 1] == whole[2, 1] != whole[1, 1]
    assert whole[:, 1].astype("int64").astype("float64").tolist() == whole[:, 1].tolist()
    assert np.isfinite(whole).all()
