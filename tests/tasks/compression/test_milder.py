import pytest

from tasks.compression.milder import milder
from tasks.config import Gates
from tasks.measured import Report
from tasks.recipes import Recipe

GATES = Gates(max_score_drop=0.005)

QUANTIZE = {"kind": "quantize", "mode": "static"}


def report(score: float, problems: tuple[str, ...] = ()) -> Report:
    given = {
        "split": "validation",
        "rows": 100,
        "score_name": "accuracy",
        "sha256": "0" * 64,
        "size_bytes": 1,
    }
    return Report.model_validate({"name": "x", "score": score, "speed": (), "problems": problems, **given})


def recipe(name: str, again: int = 2) -> Recipe:
    steps = [{"kind": "prune", "ratio": 0.5, "milder": again}, QUANTIZE]
    return Recipe.model_validate({"name": name, "steps": steps})


def test_half_a_third_and_a_quarter_are_tried_and_named_by_what_goes() -> None:
    tried, current = [], recipe("pruned-50-int8")
    while (less := milder(current, report(0.9), report(0.98), GATES)) is not None:
        tried.append((less.name, less.steps[0].model_dump()["ratio"], len(less.steps)))
        current = less
    assert tried == [("pruned-35-int8", 0.35, 2), ("pruned-24-int8", 0.24, 2)]


def test_a_name_that_says_no_ratio_gets_it() -> None:
    less = milder(recipe("slim"), report(0.9), report(0.98), GATES)
    assert less is not None and less.name == "slim-35"


@pytest.mark.parametrize(
    ("given", "score", "problems"),
    [
        (recipe("pruned-50"), 0.976, ()),  # within the gate
        (recipe("pruned-50"), float("nan"), ()),
        (recipe("pruned-50"), 0.9, ("fails at batch 7",)),
        (recipe("pruned-50", again=0), 0.9, ()),
        (Recipe.model_validate({"name": "int8", "steps": [QUANTIZE]}), 0.9, ()),
    ],
)
def test_what_less_pruning_would_not_mend_is_left(
    given: Recipe, score: float, problems: tuple[str, ...]
) -> None:
    assert milder(given, report(score, problems), report(0.98), GATES) is None
