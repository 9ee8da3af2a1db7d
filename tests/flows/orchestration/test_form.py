"""The form of `retrain` in the Prefect UI, and the deployments that show it."""

import json
import re
from typing import Any

import pytest
import yaml
from checkout import ROOT
from prefect.flows import load_flow_from_entrypoint

from flows.cli.overrides import override
from flows.orchestration import form
from flows.retrain import retrain
from tasks.config import RunConfig
from tasks.errors import UserError
from tasks.workloads.catalogue import load_workload, names

DEPLOYMENTS = yaml.safe_load((ROOT / "infra" / "prefect.yaml").read_text())["deployments"]
EMPTY = form.Form(
    model="",
    recipes=(),
    engines=(),
    training=form.TRAINING,
    gates=form.GATES,
    search=form.SEARCH,
    data=form.DATA,
)


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    properties: dict[str, Any] = retrain.parameters.model_dump()
    return properties


def test_every_field_has_a_sentence_and_none_in_a_section_is_filled_in(schema: dict[str, Any]) -> None:
    sections = [schema["definitions"][f"{name}Form"] for name in ("Training", "Gates", "Search", "Data")]
    assert all(field["description"] for field in schema["properties"].values())
    for section in sections:
        for field in section["properties"].values():
            assert field["description"] and "default" not in field and "anyOf" not in field
    epochs = sections[0]["properties"]["epochs"]
    assert (epochs["minimum"], epochs["maximum"]) == (1, 10_000) and "up to 10,000" in epochs["description"]
    assert "null" not in sections[0]["properties"]["patience"]["description"]
    plain = [
        re.sub("`[^`]*`", "", text) for text in re.findall('"description": "([^"]*)"', json.dumps(schema))
    ]
    assert len(plain) > 40 and all(text.count("*") < 2 for text in plain), "the page reads Markdown"


def test_workload_and_recipes_are_choices_and_a_file_is_free_text(schema: dict[str, Any]) -> None:
    properties = schema["properties"]
    assert properties["workload"]["enum"] == list(names())
    assert "fp32" in properties["recipes"]["items"]["enum"]
    assert properties["file"]["type"] == "string" and "enum" not in properties["file"]


def test_an_empty_form_is_the_workloads_own_and_a_filled_field_changes_just_that() -> None:
    digits = load_workload("digits")
    defaults = digits.defaults()
    assert form.read(EMPTY, digits, defaults) == defaults
    changed = form.Form(
        **{**EMPTY, "training": form.TrainingForm(epochs=3), "recipes": ("fp32", "int8-static")}  # type: ignore[typeddict-item]
    )
    run = form.read(changed, digits, defaults)
    assert run.train == defaults.train.model_copy(update={"epochs": 3}) and run.gates == defaults.gates
    assert [recipe.name for recipe in run.recipes] == ["int8-static"]


def test_a_whole_configuration_goes_through_the_form_unchanged() -> None:
    digits = load_workload("digits")
    config = override(
        digits.defaults(),
        ["train.patience=null", "train.groups={b.*: 0, a.*: 2}", "recipes=[]", "gates.min_score=0.5"],
    )
    assert form.read(form.filled_in(config), digits, RunConfig()) == config


def test_a_recipe_that_does_not_exist_is_named() -> None:
    unknown = form.Form(**{**EMPTY, "recipes": ("int7",)})  # type: ignore[typeddict-item]
    with pytest.raises(UserError, match=r"recipes: there is no recipe 'int7'; choose among .*int8-static"):
        form.read(unknown, load_workload("digits"), RunConfig())


def test_what_is_retrained_by_itself_is_watched_and_each_deployment_has_its_flow() -> None:
    """The other examples are picked on `any`: a night that fetches nothing new for ten models would be no example."""
    retrained, watched = (
        {made["name"] for made in DEPLOYMENTS if made["entrypoint"] == flow} - {"any"}
        for flow in ("flows.retrain.retrain", "flows.monitor.monitor")
    )
    assert retrained == watched == {"cells", "digits", "flights", "glosses"} < set(names())
    for deployment in DEPLOYMENTS:
        parameters = load_flow_from_entrypoint(deployment["entrypoint"]).parameters.properties
        assert set(deployment.get("parameters", {})) <= set(parameters)
        assert "slipway" in deployment["tags"], "infra/automations/lost-runs.yaml looks for it"


@pytest.mark.parametrize(
    "engines, read", [(None, None), ((), ("onnxruntime",)), (("openvino:fp32",), ("openvino:fp32",))]
)
def test_engines_come_through_the_form_as_they_were_said(
    engines: tuple[str, ...] | None, read: object
) -> None:
    digits = load_workload("digits")
    asked = RunConfig(engines=engines)
    assert asked.engines == read == form.read(form.filled_in(asked), digits, digits.defaults()).engines
