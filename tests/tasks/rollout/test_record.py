"""A weight that nobody signed is not obeyed."""

import json
from pathlib import Path

import pytest

from tasks.rollout.policy import Margins
from tasks.rollout.record import RecordError, RolloutRecord, read_record, sign_record
from tasks.system.signing import create_key_pair, sign_text, text_checker

RECORD = RolloutRecord(
    model="digits",
    run="f" * 32,
    old=41,
    new=42,
    old_sha256="a" * 64,
    new_sha256="b" * 64,
    salt="0123456789abcdef",
    step=2,
    weight=0.1,
    sequence=17,
    key="x-user-id",
    margin=Margins(errors=0.001, score=None),
)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("keys")
    create_key_pair(folder / "private.pem", folder / "public.pem")
    return folder / "private.pem", folder / "public.pem"


def test_what_was_signed_is_read_as_it_was(keys: tuple[Path, Path]) -> None:
    text = sign_record(RECORD, keys[0])
    assert read_record(text, text_checker(keys[1])) == RECORD


def test_another_key_or_another_weight_is_nothing_to_obey(keys: tuple[Path, Path], tmp_path: Path) -> None:
    create_key_pair(tmp_path / "private.pem", tmp_path / "public.pem")
    text = sign_record(RECORD, keys[0])
    payload, signature = json.loads(text)
    fits = text_checker(keys[1])
    heavier = json.dumps([payload.replace('"weight":0.1', '"weight":0.9'), signature])
    for other in (sign_record(RECORD, tmp_path / "private.pem"), heavier, json.dumps([payload, "AAAA"])):
        with pytest.raises(RecordError, match="is not signed by the owner of the public key"):
            read_record(other, fits)


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '["a"]', '["a", 1]', '[["a"], "b"]', "null", "[" * 100_000, '["a", "ä"]']
)
def test_what_is_no_record_is_refused_before_it_is_read(text: str, keys: tuple[Path, Path]) -> None:
    with pytest.raises(RecordError, match="damaged|not signed"):
        read_record(text, text_checker(keys[1]))


def test_a_newer_releases_record_is_refused_and_not_half_obeyed(keys: tuple[Path, Path]) -> None:
    payload = RECORD.model_dump_json().replace('"step":2', '"step":2,"unit":"key"')
    with pytest.raises(RecordError, match="none that this release can read"):
        read_record(json.dumps([payload, sign_text(payload, keys[0])]), text_checker(keys[1]))


def test_a_record_that_the_registry_would_cut_is_not_written(keys: tuple[Path, Path]) -> None:
    assert len(sign_record(RECORD, keys[0])) < 800
    with pytest.raises(RecordError, match="takes [0-9]+ characters, and 1024 are kept"):
        sign_record(RECORD.model_copy(update={"key": "x" * 600}), keys[0])
