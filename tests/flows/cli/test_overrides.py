from pathlib import Path

import pytest

from flows.cli.overrides import configure, knob_names, override
from tasks.config import RunConfig, Train, flatten
from tasks.errors import UserError
from tasks.settings import Policy, Settings
from tasks.workloads.examples.digits import workload as digits


def test_dotted_names_and_yaml_values() -> None:
    run = override(
        RunConfig(), ["train.epochs=3", "train.patience=null", "data.until=2026-05-03", "gates.min_score=0.9"]
    )
    assert run.train.epochs == 3 and run.train.patience is None
    assert str(run.data.until) == "2026-05-03" and run.gates.min_score == 0.9


def test_shares_of_the_learning_rate_are_a_mapping_and_their_order_counts() -> None:
    run = override(RunConfig(), ["train.groups={base.0.*: 0, base.*: 0.1}", "train.average=0.99"])
    assert [(group.weights, group.share) for group in run.train.groups] == [("base.0.*", 0), ("base.*", 0.1)]
    assert override(run, ["train.groups=[]"]).train == Train(average=0.99)
    assert flatten(run.model_dump()["train"])["groups.1.weights"] == "base.*", "as MLflow takes it"


def test_later_ones_win() -> None:
    assert override(RunConfig(), ["train.epochs=3", "train.epochs=4"]).train.epochs == 4


def test_recipes_can_be_asked_for_by_name() -> None:
    run = override(digits.defaults(), ["recipes=[fp32, int8-static]"])
    assert [recipe.name for recipe in run.recipes] == ["int8-static"]
    assert run.recipes[0] in digits.recipes


def test_every_knob_has_a_name_and_a_default_that_is_allowed() -> None:
    assert "train.lr" in knob_names()
    assert override(RunConfig(), []) == RunConfig()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("train.epoch=3", "--set train.epoch: there is no such setting; did you mean train.epochs?"),
        ("zebra=1", "--set zebra: there is no such setting; `slipway settings` lists all."),
        ("train.epochs.more=1", "there is no such setting"),
        ("train.epochs", "has no value: write --set train.epochs=3"),
        ("train.groups={base.*: -1}", "train.groups.0.share=-1: it has to be at least 0"),
        ("train.epochs=0", "--set train.epochs=0: it has to be at least 1."),
        ("train.epochs=many", "--set train.epochs='many': it has to be a whole number."),
        ("train.optimizer=lion", "train.optimizer='lion': it has to be 'adam', 'adamw'"),
        ("train.lr=[1", "is not a YAML value"),
        ("train=3", "train=3: it is a group; set one of train.epochs, train.batch_size"),
        ("data.test=0.7", "data.test=0.7: it has to be less than 0.5."),
        ("data.until=yesterday", "it has to be a day such as 2013-04-01."),
        ("recipes=3", "recipes=3: it has to be a list."),
        (
            "recipes=[int8]",
            "--set recipes: there is no recipe 'int8'; choose among int8-dynamic, int8-static",
        ),
    ],
)
def test_a_wrong_one_is_named_with_its_value(setting: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        override(RunConfig(), [setting])
    assert message in str(caught.value)


def test_a_gate_that_production_has_set_is_not_dropped_unsaid(tmp_path: Path) -> None:
    production = Settings(
        home=tmp_path, tracking_uri="", models={"digits": Policy(gates={"min_score": 0.96})}
    )
    with pytest.raises(UserError, match="gates.min_score=0.5 cannot be asked of digits: .* sets it to 0.96"):
        configure(digits, production, ["gates.min_score=0.5"])
    run = configure(digits, production, ["gates.min_score=0.96", "gates.margin=0.03"])
    assert run.gates.min_score == 0.96 and run.gates.margin == 0.03


@pytest.mark.parametrize("setting", ["train.epochs=3", "train=null"])
def test_what_trains_nothing_takes_no_knob_of_training(setting: str) -> None:
    with pytest.raises(UserError) as caught:
        override(RunConfig(train=None), [setting])
    assert str(caught.value) == f"--set {setting}: this workload trains nothing (train=None): leave it out."
