"""Statements that do not belong to the version beside them are refused in one sentence."""

import datetime
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.attestation.bundle import ATTESTATIONS, Signers, check_statements, signed_lines, stated_level
from tasks.attestation.statements import Statement, state
from tasks.proof.evidence import read
from tasks.system.files import sha256_of
from tasks.system.keyring import Keyring, KeyState
from tasks.system.signers import Level, load, public_pem
from tasks.system.signing import EvidenceError, create_key_pair, private_key, sign_text

Said = dict[str, Statement]


def check(folder: Path) -> tuple[str, ...]:
    return check_statements(folder, read(folder))


def test_what_was_written_holds_and_what_was_made_without_any_passes(version: Path) -> None:
    assert check(version) == ("prepare", "train", "export", "compress", "tests", "decide")
    (version / ATTESTATIONS).unlink()
    assert check(version) == ()


def other_bytes(said: Said, folder: Path) -> Said:
    moved = read(folder).model_copy(update={"checkpoint_sha256": "0" * 64})
    return state(moved, sha256_of(folder / "evidence.json"))


def later(said: Said, folder: Path) -> Said:
    at = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
    moved = read(folder).model_copy(update={"created": at})
    return state(moved, sha256_of(folder / "evidence.json"))


def another_chain(said: Said, folder: Path) -> Said:
    moved = read(folder).model_copy(update={"machine": "another"})
    return {**said, "prepare": state(moved, "")["prepare"]}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda said, _: {k: v for k, v in said.items() if k != "train"}, "has no statement about 'train'"),
        (lambda said, _: {**said, "again": said["train"]}, "has two statements about 'train'"),
        (lambda said, _: {**said, "odd": {**said["train"], "predicateType": "x"}}, "has a statement about 'x', which is no step"),
        (other_bytes, "is about other bytes: 'train' of 0000000000000000…, where the checkpoint is cccc"),
        (later, "says that 'decide' ended at .*, which is yet to come by this machine's clock"),
        (another_chain, "says that 'train' followed others than are there"),
        (lambda said, folder: state(read(folder), "0" * 64), "decides by another evidence.json than is there"),
        (lambda said, _: {**said, "train": {**said["train"], "subject": [7]}}, "is signed, and says not what statements of"),
    ],
)  # fmt: skip
def test_what_does_not_belong_is_named(
    version: Path, change: Callable[[Said, Path], Said], sentence: str
) -> None:
    said = change(state(read(version), sha256_of(version / "evidence.json")), version)
    (version / ATTESTATIONS).write_bytes(signed_lines(said, private_key()))
    with pytest.raises(EvidenceError, match=f"^digits-v4: {ATTESTATIONS} {sentence}") as refused:
        check(version)
    assert "\n" not in str(refused.value)


def test_another_key_is_named_with_its_line(version: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    create_key_pair(tmp_path / "private.pem", tmp_path / "public.pem")
    monkeypatch.setenv("SLIPWAY_PUBLIC_KEY", str(tmp_path / "public.pem"))
    with pytest.raises(EvidenceError, match="line 1 of attestations.jsonl is not signed by the owner of the public key"):  # fmt: skip
        check(version)


def test_what_is_no_statement_is_damaged(version: Path) -> None:
    lines = (version / ATTESTATIONS).read_text().splitlines()
    for damaged in ("7", "[" * 10_000, json.dumps({"dsseEnvelope": None}), "\x00"):
        (version / ATTESTATIONS).write_text("\n".join([lines[0], damaged]))
        with pytest.raises(EvidenceError, match="line 2 of attestations.jsonl is damaged"):
            check(version)


def test_a_key_that_ended_counts_and_a_revoked_one_only_where_the_evidence_does(tmp_path: Path) -> None:
    keys = [tmp_path / name / "private.pem" for name in ("ended", "revoked", "stranger")]
    for key in keys:
        create_key_pair(key, key.with_name("public.pem"))
    ended, revoked, _ = (public_pem(load(str(key))) for key in keys)
    now, held = datetime.datetime.now(datetime.UTC), frozenset({"e" * 64})
    states = [
        KeyState(pem=ended, until=now, holds=held),
        KeyState(pem=revoked, until=now, revoked=now, holds=held),
    ]
    ring = Keyring({state.pem: state for state in states})
    for evidence, expected in (("e" * 64, [True, True, False]), ("f" * 64, [True, False, False])):
        signers = Signers(ring, evidence)
        assert [signers.fits("text", sign_text("text", key)) for key in keys] == expected
        assert len(signers.signed) == sum(expected)


def test_the_level_is_what_the_key_allowed_when_they_were_made(version: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    assert stated_level((version / ATTESTATIONS).read_bytes()) == 1
    monkeypatch.setattr("tasks.attestation.statements.level", lambda: Level(2, "another host has the key"))
    evidence, sha256 = read(version), sha256_of(version / "evidence.json")
    assert stated_level(signed_lines(state(evidence, sha256), private_key())) == 2
    afterwards = state(evidence, sha256, datetime.datetime.now(datetime.UTC))
    assert stated_level(signed_lines(afterwards, private_key())) == 1
