"""What a search over trainings may turn, read as people write it; what it may not is said with what it may."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tasks.config import RunConfig, Search, Train
from tasks.recipes import Recipe
from tasks.workloads.workload import DEFAULT_RECIPES


def space(**knobs: Any) -> dict[str, Any]:
    return Search(space={name.replace("__", "."): values for name, values in knobs.items()}).space


def test_a_space_is_kept_in_each_knobs_own_kind_and_in_one_order() -> None:
    written = {"train.lr": ["1e-4", "1e-2", "log"], "train.batch_size": [32, 64], "model": ["small", "wide"]}
    kept = Search(space=written).space
    assert kept == {
        "model": ("small", "wide"), "train.batch_size": (32, 64), "train.lr": (1e-4, 1e-2, "log"),
    }  # fmt: skip
    assert list(kept) == sorted(kept)
    again = RunConfig.model_validate_json(RunConfig(search=Search(space=written)).model_dump_json())
    assert again.search.space == kept and list(again.search.space) == list(kept)


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("train.lrr", [0.1, 0.2], "train.lrr is no knob that a search can turn: the nearest is train.lr"),
        (1, [0.1, 0.2], "1 is no knob that a search can turn: they are model, train"),
        ("gates.margin", [0.1, 0.2], "gates.margin is no knob that a search can turn: they are model, train"),
        ("train.threads", [1, 2], "train.threads is no knob that a search can turn: it says where a training runs"),
        ("train.lr", [0.01, 0.001, "log"], "is no range: 0.01 is not below 0.001"),
        ("train.weight_decay", [0, 0.1, "log"], "a log one begins above 0; or write linear"),
        ("train.lr", [0.1, 0.2, 0.3, "log"], "is no range: write [low, high, log]"),
        ("train.lr", [0.1, 100, "linear"], "train.lr cannot be 100: input should be less than or equal to 10"),
        ("train.epochs", [1.5, 3, "linear"], "train.epochs cannot be 1.5: input should be a valid integer"),
        ("train.lr", 0.1, "0.1 is no choice: write a list of values"),
        ("train.lr", [0.1], "leaves nothing to choose: give two values, or set train.lr itself"),
        ("train.lr", [0.1, "1e-1"], "has 0.1 twice: leave one out"),
        ("train.optimizer", ["adam", "adamm"], "train.optimizer cannot be 'adamm': input should be 'adam', "),
        ("model", ["small", 3], "model: 3 is no model's name"),
    ],
)  # fmt: skip
def test_what_cannot_be_searched_is_said_in_a_sentence(name: Any, values: Any, said: str) -> None:
    with pytest.raises(ValidationError) as error:
        Search(space={name: values})
    message = error.value.errors()[0]["msg"]
    assert said in message and "\n" not in message


def test_words_that_end_in_log_are_a_choice_where_the_knob_takes_words() -> None:
    assert space(model=["small", "wide", "log"]) == {"model": ("small", "wide", "log")}


def test_null_and_mappings_are_choices_too() -> None:
    kept = space(train__clip_norm=[None, 1], train__groups=[{}, {"base.*": 0.1}])
    assert kept["train.clip_norm"] == (None, 1.0)
    assert kept["train.groups"] == ([], [{"weights": "base.*", "share": 0.1}])


@given(st.lists(st.integers(1, 65_536), min_size=2, unique=True), st.floats(1e-6, 1), st.floats(1.01, 10))
def test_a_space_read_back_from_json_is_the_same(sizes: list[int], low: float, times: float) -> None:
    search = Search(space={"train.batch_size": sizes, "train.lr": [low, low * times, "log"]})
    assert Search.model_validate_json(search.model_dump_json()) == search
    assert all(isinstance(size, int) for size in search.space["train.batch_size"])


def test_every_knob_of_a_training_is_either_searched_or_says_where_and_how() -> None:
    refused = []
    for name, field in Train.model_fields.items():
        try:
            Search(space={f"train.{name}": [field.default, field.default]})
        except ValidationError as error:
            if "no knob" in str(error):
                refused.append(name)
    assert refused == ["device", "threads", "workers", "checkpoint_seconds"]


def test_a_recipe_read_again_is_the_same_to_the_letter_for_the_steps_after_it_have_it_in_their_keys() -> None:
    for recipe in DEFAULT_RECIPES:
        again = Recipe.model_validate_json(recipe.model_dump_json())
        assert repr(again.model_dump()) == repr(recipe.model_dump())
