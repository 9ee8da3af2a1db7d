"""A permit is a summary that stock tools read, signed, about exactly one version's bytes."""

import base64
import datetime
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.proof import permit as permits
from tasks.proof.permit import Permit, PermitError, issue, read_permit
from tasks.system.signing import create_key_pair, text_checker

SHA = "ab" * 32


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("keys")
    private, public = folder / "private.pem", folder / "public.pem"
    create_key_pair(private, public)
    return private, public


def permit(**changes: object) -> Permit:
    usual = dict(
        model="digits",
        version=3,
        run_id="f" * 32,
        model_sha256=SHA,
        evidence_sha256="cd" * 32,
        policy_sha256=permits.policy_digest({"min_score": 0.9}),
        granted=True,
        basis="gate",
        serial=1,
        at=datetime.datetime(2026, 11, 26, 18, 0, tzinfo=datetime.UTC),
        by="ana",
        why="score 0.97 ≥ 0.96",
    )
    return Permit.model_validate(usual | changes)


def test_what_was_issued_is_read_again_and_lets_its_own_version_serve(keys: tuple[Path, Path]) -> None:
    private, public = keys
    read = read_permit(issue(permit(), private), text_checker(public))
    assert read == permit()
    assert read.check("digits", 3, "f" * 32, SHA) is read


def test_it_is_an_in_toto_statement_with_slsas_summary(keys: tuple[Path, Path]) -> None:
    envelope = json.loads(issue(permit(granted=False), keys[0]))
    statement = json.loads(base64.b64decode(envelope["payload"]))
    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    assert statement["predicateType"] == "https://slsa.dev/verification_summary/v1"
    assert statement["subject"] == [{"name": "model.onnx", "digest": {"sha256": SHA}}]
    assert statement["predicate"]["verificationResult"] == "FAILED"


@pytest.mark.parametrize(
    "other",
    [("glosses", 3, "f" * 32, SHA), ("digits", 4, "f" * 32, SHA), ("digits", 3, "e" * 32, SHA)],
)
def test_a_permit_of_another_version_is_refused(other: tuple[str, int, str, str]) -> None:
    with pytest.raises(PermitError, match="its permit is of digits version 3"):
        permit().check(*other)


def test_a_withdrawn_permit_says_who_and_why() -> None:
    withdrawn = permit(granted=False, why="three workers died", by="server")
    with pytest.raises(PermitError, match=r"may not serve: three workers died \(server, 2026-11-26 18:00"):
        withdrawn.check("digits", 3, "f" * 32, SHA)


def test_it_names_by_digest_what_it_rests_on_and_the_level_where_there_are_statements(
    keys: tuple[Path, Path],
) -> None:
    resting = permit(statements_sha256="12" * 32, entry_sha256="34" * 32, build_level=2)
    assert read_permit(issue(resting, keys[0]), text_checker(keys[1])) == resting
    said = json.loads(base64.b64decode(json.loads(issue(resting, keys[0]))["payload"]))["predicate"]
    rests = {each["uri"]: each["digest"]["sha256"] for each in said["inputAttestations"]}
    assert rests["models:/digits/3#ledger"] == "34" * 32
    assert rests["models:/digits/3/attestations.jsonl"] == "12" * 32
    assert said["verifiedLevels"] == ["SLSA_BUILD_LEVEL_2", "SLIPWAY_GATE"]


def test_a_permit_of_the_last_release_reads_as_it_did(keys: tuple[Path, Path]) -> None:
    said = json.loads(base64.b64decode(json.loads(issue(permit(), keys[0]))["payload"]))
    assert [each["uri"] for each in said["predicate"]["inputAttestations"]] == [
        "models:/digits/3/evidence.json"
    ]
    assert said["predicate"]["verifiedLevels"] == ["SLIPWAY_GATE"]


def test_a_permit_from_a_time_that_is_yet_to_come_is_refused() -> None:
    now = datetime.datetime.now(datetime.UTC)
    soon, later = (now + datetime.timedelta(minutes=minutes) for minutes in (4, 6))
    assert permit(at=soon).check("digits", 3, "f" * 32, SHA)
    with pytest.raises(PermitError, match="its permit is of .* UTC, which is yet to come by this machine's"):
        permit(at=later).check("digits", 3, "f" * 32, SHA)


def test_another_key_is_refused(keys: tuple[Path, Path], tmp_path: Path) -> None:
    create_key_pair(tmp_path / "private.pem", tmp_path / "public.pem")
    with pytest.raises(PermitError, match="not signed by the owner"):
        read_permit(issue(permit(), tmp_path / "private.pem"), text_checker(keys[1]))


@pytest.fixture(scope="module")
def envelope(keys: tuple[Path, Path]) -> str:
    """One for all examples: a signature has another length each time."""
    return issue(permit(), keys[0])


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_no_mutation_reads_as_another_permit(
    keys: tuple[Path, Path], envelope: str, data: st.DataObject
) -> None:
    text = envelope
    at = data.draw(st.integers(0, len(text) - 1))
    mutated = text[:at] + data.draw(st.text(max_size=3)) + text[at + data.draw(st.integers(0, 2)) :]
    try:
        read = read_permit(mutated, text_checker(keys[1]))
    except PermitError:
        return
    assert read == permit()


def test_what_is_nested_too_deep_is_damaged(keys: tuple[Path, Path]) -> None:
    with pytest.raises(PermitError, match="damaged"):
        read_permit("[" * 100_000, text_checker(keys[1]))
