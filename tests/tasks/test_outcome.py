"""What came of a run, as a list of runs says it."""

import pytest

from tasks.outcome import Outcome


@pytest.mark.parametrize(
    ("fields", "headline"),
    [
        ({"score": 0.9812, "score_name": "accuracy", "difference": 0.0041}, "promoted v7, accuracy 0.981 (+0.4 pt)"),
        ({"score": 0.9812, "score_name": "accuracy"}, "promoted v7, accuracy 0.981"),
        ({"score": -3.25, "score_name": "mae", "difference": -0.125}, "promoted v7, mae -3.250 (-0.125)"),
        ({"decision": "unchanged"}, "unchanged: why, in a sentence"),
        ({"decision": "refused", "score": 0.1}, "refused: why, in a sentence"),
    ],
)  # fmt: skip
def test_a_headline_says_what_came_of_it_how_good_it_is_and_how_much_better(
    fields: dict[str, object], headline: str
) -> None:
    usual = {
        "workload": "digits", "model": "digits", "run_id": "r", "version": 7, "decision": "promoted",
        "reasons": ("why, in a sentence", "and more"),
    }  # fmt: skip
    assert Outcome.model_validate({**usual, **fields}).headline == headline
