"""mlflow.yaml's `rollout:`, as it is written and as it is read."""

import datetime

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tasks.rollout.policy import RolloutPolicy

WRITTEN = """
steps: [shadow, 1%, 10%, 50%]
key: x-user-id
alpha: 0.05
margin: {errors: 0.002, slower: 1.1, tail: 0.01, score: 0.01}
hold: {minutes: 10, requests: 200}
horizon: 24h
patience: 7d
"""


def test_the_policy_of_the_page_is_the_one_that_holds_without_a_word() -> None:
    policy = RolloutPolicy.model_validate(yaml.safe_load(WRITTEN))
    assert policy == RolloutPolicy(key="x-user-id")
    assert policy.steps == (0, 0.01, 0.1, 0.5)
    assert (policy.horizon, policy.patience) == (datetime.timedelta(hours=24), datetime.timedelta(days=7))


@given(
    st.lists(st.integers(1, 9_999), min_size=1, max_size=6, unique=True).map(sorted),
    st.integers(1, 90),
    st.sampled_from(["s", "min", "h", "d"]),
)
def test_what_the_ledger_keeps_of_a_policy_reads_as_that_policy(
    steps: list[int], length: int, unit: str
) -> None:
    given = {"steps": [f"{step / 100:g}%" for step in steps], "horizon": f"{length} {unit}"}
    policy = RolloutPolicy.model_validate(given)
    again = RolloutPolicy.model_validate_json(policy.model_dump_json())
    assert again == policy and again.model_dump_json() == policy.model_dump_json()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"steps": ["10%", "1%"]}, r"steps have to rise, such as \[shadow, 1%, 10%, 50%\]"),
        ({"steps": ["1%", "1%"]}, "steps have to rise"),
        ({"steps": []}, "steps have to rise"),
        ({"steps": ["1%", "shadow"]}, "steps have to rise"),
        ({"steps": [0.5]}, "0.5 is no step: write shadow, or a share of the keys such as 1% or 50%"),
        ({"steps": ["100%"]}, "'100%' is no step"),
        ({"horizon": "a day"}, "'a day' is no length of time: write 90s, 10min, 24h or 7d"),
        ({"patience": 7}, "7 is no length of time"),
        ({"alpha": 0.5}, "less than or equal to 0.2"),
        ({"margin": {"slower": 0.9}}, "greater than or equal to 1"),
        ({"margin": {"error": 0.1}}, "Extra inputs are not permitted"),
        ({"margin": {"tail": 0}}, "greater than 0"),
        ({"hold": {"minutes": float("inf")}}, "less than or equal to 4000000000"),
        ({"horizon": "900000d"}, "less than or equal to 700000 days"),
        ({"patience": "99999999999d"}, "'99999999999d' is longer than a length of time can be"),
        ({"key": "x" * 301}, "at most 300 characters"),
    ],
)
def test_what_is_no_policy_is_refused_in_a_sentence(given: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        RolloutPolicy.model_validate(given)
