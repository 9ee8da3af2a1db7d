"""A file of before carried over: the same goal, said in the new way, and all else as it stood."""

from dataclasses import replace
from pathlib import Path

import pytest

from tasks.errors import UserError
from tasks.goals.answer import Answer
from tasks.workloads.catalogue import load_workload
from tasks.workloads.migration import migrate
from tasks.workloads.scaffold import new_workload


def undecided(answer: Answer) -> Answer:
    return replace(answer, undecided=True)


def test_the_template_carried_over_learns_the_same_and_answers_in_words(tmp_path: Path) -> None:
    path = tmp_path / "churn.py"
    new_workload(path)
    before, text = load_workload(str(path)), path.read_text()
    migrated = migrate(str(path))
    after = load_workload(str(path))
    assert after.kind is None and after.served == ("label", "probability")
    (old,), (new,) = before.goals, after.goals
    assert (new.said, new.outputs, new.metric.name) == (old.said, old.outputs, old.metric.name)
    assert undecided(new.answer) == old.answer
    assert migrated.goal == 'Classify("left")' and "label and probability" in migrated.said
    lines = set(path.read_text().splitlines()) - set(text.splitlines())
    assert lines == {
        "from tasks.goals import Classify",
        '    goal=Classify("left"),  # or "regression"',
    }


@pytest.mark.parametrize(
    ("call", "goal", "served"),
    [
        ("kind='regression', target='y', output='price', loss=own", "Regress('y', output='price', loss=own)", ("price",)),
        (
            "kind='classification', target='y', score=auc, probabilities=True, score_name='auc'",
            "Classify('y', score=metric_of(auc, 'probability', name='auc'))",
            ("label", "probability"),
        ),
        ("kind='classification', target='y', score=auc", "Classify('y', score=metric_of(auc, 'code'))", ("label", "probability")),
    ],
)  # fmt: skip
def test_what_goes_with_a_kind_goes_into_its_goal(
    tmp_path: Path, call: str, goal: str, served: tuple[str, ...]
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "import math\n\nfrom tasks.workloads import Workload\n\nauc = own = math.hypot\n"
        f"workload = Workload(name='mine', {call}, load=dict, schema=dict,\n    inputs=dict, model=dict)\n"
    )
    assert migrate(str(path)).goal == goal
    workload = load_workload(str(path))
    assert workload.served == served and workload.kind is None and workload.target is None
    assert path.read_text().endswith("load=dict, schema=dict,\n    inputs=dict, model=dict)\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("workload = Workload(name='a', goal=Classify('y'))", "there is nothing to do"),
        ("workload = Workload(name='a', kind=KIND, target='y')", "in so many words"),
        ("a = Workload(kind='regression')\nb = Workload(kind='regression')", "has 2 of them"),
        ("workload = Workload(", "line 1"),
    ],
)
def test_a_file_that_cannot_be_carried_over_is_left_as_it_is(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(UserError, match=said):
        migrate(str(path))
    assert path.read_text() == text
