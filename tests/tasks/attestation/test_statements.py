"""Statements are of the kinds that stock tools read, one a transformation, each chained to those before."""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1.provenance_pb2 import Provenance
from in_toto_attestation.predicates.test_result.v0.test_result_pb2 import TestResult as Result
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey
from sigstore_models.bundle.v1 import Bundle
from stated import GATES, evidence_of, sealed

from tasks.attestation.bundle import ATTESTATIONS
from tasks.attestation.results import judged
from tasks.attestation.statements import PROVENANCE, missing, state
from tasks.proof.gate import Decision
from tasks.system.signing import public_key


def said_in(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / ATTESTATIONS).read_text().splitlines()
    return [json.loads(base64.b64decode(json.loads(line)["dsseEnvelope"]["payload"])) for line in lines]


def test_every_line_is_a_bundle_that_sigstore_securesystemslib_and_in_toto_read(version: Path) -> None:
    pem = public_key().read_bytes()
    key = SSlibKey.from_crypto(load_pem_public_key(pem))
    key.keyid = ""
    for line in (version / ATTESTATIONS).read_bytes().splitlines():
        bundle = Bundle.from_json(line)
        assert bundle.verification_material.public_key.hint == hashlib.sha256(pem).hexdigest()
        envelope = Envelope.from_dict(json.loads(line)["dsseEnvelope"])
        assert envelope.verify([key], 1)
        said = json_format.Parse(envelope.payload, statement_pb2.Statement())
        Statement.copy_from_pb(said).validate()
        kind = Provenance() if said.predicate_type == PROVENANCE else Result()
        json_format.ParseDict(
            json_format.MessageToDict(said.predicate), kind
        )  # which takes no field that the predicate has not


def test_transformations_hand_on_by_digest_what_they_made(version: Path) -> None:
    said = {s["predicate"]["buildDefinition"]["buildType"].partition("#")[2]: s for s in said_in(version) if s["predicateType"] == PROVENANCE}  # fmt: skip
    assert [*said] == ["prepare", "train", "export", "compress", "decide"]
    made = {name: each["subject"][0]["digest"]["sha256"] for name, each in said.items()}
    used = {
        name: {d["name"]: d.get("digest", {}).get("sha256") for d in each["predicate"]["buildDefinition"]["resolvedDependencies"]}
        for name, each in said.items()
    }  # fmt: skip
    assert used["train"]["rows of digits"] == made["prepare"]
    assert used["export"]["checkpoint"] == used["compress"]["teacher"] == made["train"]
    assert used["compress"]["fp32 model.onnx"] == made["export"]
    assert used["decide"]["champion model.onnx"] == "d" * 64
    assert used["train"]["base.pt"] == "9" * 64 and used["train"]["requirements.lock"] == "1" * 64
    decided = said["decide"]["predicate"]
    ran = decided["buildDefinition"]["internalParameters"]
    assert (ran["key"], ran["definitions"], ran["slsaBuildLevel"]) == ("3" * 64, "4" * 64, 1)
    assert decided["runDetails"]["metadata"]["finishedOn"] == "2026-11-22T00:00:00Z"


def test_what_was_not_compressed_has_no_statement_of_it(tmp_path: Path, home: Path) -> None:
    home.mkdir(mode=0o700)
    from promotions import write_model

    write_model(tmp_path / "v1" / "model.onnx")
    sealed(tmp_path / "v1", evidence_of(tmp_path / "v1" / "model.onnx", fp32=True))
    exported = said_in(tmp_path / "v1")[2]
    assert exported["subject"][0]["name"] == "model.onnx" and len(said_in(tmp_path / "v1")) == 5


def test_results_are_lists_of_tests_by_what_the_gate_says(version: Path) -> None:
    (results,) = [each["predicate"] for each in said_in(version) if each["predicateType"] != PROVENANCE]
    assert results["result"] == "WARNED" and results["warnedTests"] == ["slices"]
    assert results["failedTests"] == []
    assert results["passedTests"] == ["parity", "score", "speed", "company", "sea trial", "cross-validation"]
    score = next(each for each in results["configuration"] if each["name"] == "score")["annotations"]
    assert score["measured"]["interval"]["low"] == 0.96 and "better than champion v3" in score["reasons"][0]


@pytest.mark.parametrize(
    ("changes", "test", "decision"),
    [
        ({"problems": ("it differs",)}, "parity", "fail"),
        ({"score": 0.5}, "score", "fail"),
        ({"findings": ("a branch was frozen",)}, "parity", "inconclusive"),
        ({"slices": ()}, "score", "pass"),
    ],
)
def test_a_test_is_as_bad_as_the_worst_that_is_said_of_it(
    version: Path, changes: dict[str, Any], test: str, decision: Decision
) -> None:
    proof = evidence_of(version / "model.onnx").proof
    changed = proof.model_copy(update={"report": proof.report.model_copy(update=changes)})
    assert decision in [each for each, _ in judged(changed, GATES)[test]]
    assert "slices" in judged(proof, GATES)


def test_older_evidence_is_stated_with_what_it_has_and_what_it_lacks_is_said(version: Path) -> None:
    evidence = evidence_of(version / "model.onnx")
    older = evidence.model_copy(
        update={"key": None, "definitions": None, "recipe": None, "code": evidence.code.model_copy(update={"lock": None})}
    )  # fmt: skip
    assert missing(evidence) == () and len(missing(older)) == 3
    compress = state(older, "e" * 64, evidence.created)["compress"]["predicate"]["buildDefinition"]
    assert compress["externalParameters"]["recipe"] == {"name": "int8"}
    assert compress["internalParameters"]["statedAfterwards"].startswith("2026-11-22")
