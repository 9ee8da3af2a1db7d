import pytest

from tasks.config import Run
from tasks.errors import UserError
from tasks.overrides import knob_names, override


def test_dotted_names_and_yaml_values() -> None:
    run = override(
        Run(), ["train.epochs=3", "train.patience=null", "data.until=2026-05-03", "gates.min_score=0.9"]
    )
    assert run.train.epochs == 3 and run.train.patience is None
    assert str(run.data.until) == "2026-05-03" and run.gates.min_score == 0.9


def test_later_ones_win() -> None:
    assert override(Run(), ["train.epochs=3", "train.epochs=4"]).train.epochs == 4


def test_every_knob_has_a_name_and_a_default_that_is_allowed() -> None:
    assert "train.lr" in knob_names()
    assert override(Run(), []) == Run()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("train.epoch=3", "--set train.epoch: there is no such setting; did you mean train.epochs?"),
        ("zebra=1", "there is no such setting"),
        ("train.epochs.more=1", "there is no such setting"),
        ("train.epochs", "has no value: write --set train.epochs=3"),
        ("train.epochs=0", "train.epochs=0: input should be greater than or equal to 1"),
        ("train.epochs=many", "train.epochs='many': input should be a valid integer"),
        ("train.optimizer=lion", "train.optimizer='lion': input should be 'adam', 'adamw'"),
        ("train.lr=[1", "is not a YAML value"),
        ("recipes=3", "recipes=3: "),
    ],
)
def test_a_wrong_one_is_named_with_its_value(setting: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        override(Run(), [setting])
    assert message in str(caught.value)
