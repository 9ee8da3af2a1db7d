"""The form of a model of one's own: filled in as its workload says, with its own choices, and nothing of others in it."""

from dataclasses import replace
from typing import Any

import jsonschema
import pytest

from flows.cli.overrides import configure
from flows.orchestration import form
from flows.orchestration.own_form import filled_form, in_words, own_form, parameters, without_nulls
from flows.promote import promote, refuse, rollback
from flows.retrain import retrain
from tasks.errors import UserError
from tasks.settings import Settings
from tasks.workloads.catalogue import load_workload

REFERENCE = f"bundle:{'5a' * 32}"
DIGITS = load_workload("digits")


def made(workload: Any = DIGITS) -> dict[str, Any]:
    return own_form(retrain.parameters.model_dump(), REFERENCE, workload)


def filled(schema: dict[str, Any]) -> dict[str, Any]:
    """What the page sends when nobody changes anything."""
    return {name: field["default"] for name, field in schema["properties"].items() if "default" in field}


def test_a_form_that_nobody_changes_is_the_run_that_the_workload_says() -> None:
    sent = filled(made())
    assert sent.pop("file") == REFERENCE and "workload" not in sent
    jsonschema.validate(filled(made()), made())
    sections = {
        "training": form.TrainingForm, "gates": form.GatesForm, "search": form.SearchForm, "data": form.DataForm,
    }  # fmt: skip
    arguments = {name: sections[name](**sent[name]) for name in sections}
    asked = form.Form(
        model=sent.get("model", ""),
        recipes=tuple(sent["recipes"]),
        engines=tuple(sent["engines"]),
        **arguments,
    )  # type: ignore[typeddict-item]
    assert form.read(asked, DIGITS, DIGITS.defaults()) == DIGITS.defaults()


def test_fields_show_the_workloads_values_within_their_bounds_but_for_gates_which_production_sets() -> None:
    schema = made()
    epochs = schema["definitions"]["TrainingForm"]["properties"]["epochs"]
    assert (epochs["default"], epochs["minimum"]) == (DIGITS.defaults().train.epochs, 1)  # type: ignore[union-attr]
    margin = schema["definitions"]["GatesForm"]["properties"]["margin"]
    assert "default" not in margin and margin["description"].endswith(
        f"Empty: {DIGITS.gates.margin}, or as mlflow.yaml sets it."
    )
    assert schema["properties"]["file"]["enum"] == [REFERENCE]
    untouched = retrain.parameters.model_dump()["definitions"]["TrainingForm"]["properties"]["epochs"]
    assert "default" not in untouched


def test_a_workload_that_comes_with_slipway_has_its_values_in_its_form_and_no_field_is_of_any_type() -> None:
    form = filled_form(retrain.parameters.model_dump(), DIGITS)
    assert "model" not in form["properties"] and "workload" in form["properties"]
    assert form["properties"]["training"]["default"]["epochs"] == DIGITS.defaults().train.epochs  # type: ignore[union-attr]
    for flow in (retrain, promote, rollback, refuse):
        schema = flow.parameters.model_dump()
        sections = [schema, *schema.get("definitions", {}).values()]
        for name, field in [each for section in sections for each in section["properties"].items()]:
            assert "type" in field or "$ref" in field, f"{flow.name}.{name} is shown as a Property of no type"


def test_what_nobody_fills_in_is_sent_as_nothing_and_no_form_refuses_it() -> None:
    asked = {"model": "digits", "version": 2, "reason": "better"}
    for flow in (promote, rollback, refuse):
        schema = without_nulls(flow.parameters.model_dump())
        required = {name: asked[name] for name in schema["required"]}
        jsonschema.validate(filled(schema) | required, schema)


def test_another_bundle_is_refused_and_choices_are_the_workloads_own() -> None:
    several = replace(DIGITS, model={"small": DIGITS.builder(None), "large": DIGITS.builder(None)})
    schema = made(several)
    assert schema["properties"]["model"]["enum"] == ["small", "large"]
    assert "model" in made(several)["properties"] and filled(schema)["model"] == "small"
    for wrong in (
        {"file": "other.py"},
        {"model": "tiny"},
        {"recipes": ["int7"]},
        {"training": {"epochs": 0}},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)


def test_a_workload_that_trains_nothing_has_no_fields_of_training() -> None:
    still = replace(load_workload("filetype"))
    assert still.train is None and "training" not in made(still)["properties"]


def test_parameters_are_what_was_said_and_no_more(tmp_path: Any) -> None:
    said = ["train.epochs=3", "recipes=[fp32]", "data.salt=b"]
    config = configure(DIGITS, Settings(home=tmp_path, tracking_uri="sqlite://"), said)
    asked = parameters(config, said)
    assert asked == {"training": {"epochs": 3}, "recipes": ["fp32"], "data": {"salt": "b"}}
    assert in_words(asked) == "training.epochs=3, recipes=fp32, data.salt=b"
    jsonschema.validate({"file": REFERENCE, **asked}, made())
    config = configure(DIGITS, Settings(home=tmp_path, tracking_uri="sqlite://"), ["train.patience=null"])
    with pytest.raises(UserError, match="cannot say null"):
        parameters(config, ["train.patience=null"])
