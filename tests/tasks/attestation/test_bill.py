"""The bill of materials is CycloneDX by the official schema, with libraries, rows, base weights, intervals and slices."""

import json
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from stated import evidence_of

from tasks.attestation.bill import bill_of_materials


@pytest.mark.parametrize("fp32", [False, True])
def test_it_is_what_the_official_schema_asks_for(version: Path, fp32: bool) -> None:
    bill = bill_of_materials(evidence_of(version / "model.onnx", fp32=fp32), 4).decode()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill) is None
    broken = bill.replace('"machine-learning-model"', '"a model"')
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(broken) is not None


def test_it_names_what_the_model_is_of_and_how_good_it_is(version: Path) -> None:
    evidence = evidence_of(version / "model.onnx")
    bill = json.loads(bill_of_materials(evidence, 4))
    assert bill_of_materials(evidence, 4) == bill_of_materials(evidence, 4)
    parts = {part["name"]: part for part in bill["components"]}
    assert parts["torch"]["purl"] == "pkg:pypi/torch@2.13.0"
    assert parts["rows of digits"]["hashes"][0]["content"] == "f" * 64
    assert parts["base.pt"]["licenses"] == [{"license": {"name": "Apache-2.0"}}]
    model = bill["metadata"]["component"]
    assert model["pedigree"]["ancestors"][0]["name"] == "base.pt"
    assert model["modelCard"]["modelParameters"]["task"] == "classification"
    whole, slice_, *_ = model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert whole["confidenceInterval"] == {"lowerBound": "0.96", "upperBound": "0.99"}
    assert (slice_["slice"], slice_["value"]) == ("scanner=old", "0.95")
    assert "scanner=new is not scored: 9 rows" in model["modelCard"]["considerations"]["technicalLimitations"]
