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


def recipe(name: str, again: int = 3, epochs: int | None = None) -> Recipe:
    steps = [{"kind": "prune", "ratio": 0.5, "milder": again, "epochs": epochs}, QUANTIZE]
    return Recipe.model_validate({"name": name, "steps": steps})


def test_a_longer_training_is_tried_then_a_third_and_a_quarter_and_each_name_says_so() -> None:
    tried, current = [], recipe("pruned-50-int8")
    while (less := milder(current, report(0.9), report(0.98), GATES, passes=20)) is not None:
        step = less.steps[0].model_dump()
        tried.append((less.name, step["ratio"], step["epochs"]))
        current = less
    assert tried == [
        ("pruned-50-int8-longer", 0.5, 20),
        ("pruned-35-int8-longer", 0.35, 20),
        ("pruned-24-int8-longer", 0.24, 20),
    ]


def test_passes_that_were_asked_for_stay_and_a_name_that_says_no_ratio_gets_it() -> None:
    less = milder(recipe("slim", epochs=3), report(0.9), report(0.98), GATES, passes=20)
    assert less is not None and (less.name, less.steps[0].model_dump()["epochs"]) == ("slim-35", 3)


def test_a_name_without_room_for_more_is_cut_and_ends_no_run() -> None:
    for epochs, name in ((None, 57 * "x" + "-longer"), (3, 61 * "x" + "-35")):
        less = milder(recipe(64 * "x", epochs=epochs), report(0.9), report(0.98), GATES, passes=20)
        assert less is not None and less.name == name


def test_no_longer_training_is_tried_where_fp32_had_no_more_passes_than_the_first() -> None:
    names, current = [], recipe("pruned-50-int8", again=2)
    while (less := milder(current, report(0.9), report(0.98), GATES, passes=1)) is not None:
        names.append(less.name)
        current = less
    assert names == ["pruned-35-int8", "pruned-24-int8"]


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
    assert milder(given, report(score, problems), report(0.98), GATES, passes=20) is None
