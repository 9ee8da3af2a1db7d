"""What stands on a model's page is what our key signed of this model, and a page that cannot be told keeps nobody."""

import datetime
import json
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.registry.registry import Registry
from tasks.registry.status_tags import (
    LONGEST,
    Statuses,
    StatusTag,
    publish,
    read_statuses,
)
from tasks.system.signing import create_key_pair, private_key, public_key, text_checker


class Tags:
    """A registry of one model, as far as these tags go; None: it does not answer."""

    def __init__(self) -> None:
        self.kept: dict[str, str] | None = {}

    def model_tags(self, model: str) -> dict[str, str] | None:
        if self.kept is None:
            raise OSError("away")
        return self.kept if model == "digits" else None

    def tag_model(self, model: str, tags: dict[str, str]) -> None:
        assert self.kept is not None and model == "digits"
        self.kept |= tags


@pytest.fixture
def tags(home: Path) -> Tags:
    home.mkdir()
    private_key()
    return Tags()


def say(tags: Tags, **what: Any) -> StatusTag:
    tag = StatusTag(**{"model": "digits", "subject": "run", "said": "promoted v7", **what})
    publish(cast(Registry, tags), tag)
    return tag


def read(tags: Tags, model: str = "digits") -> Statuses:
    assert tags.kept is not None
    return read_statuses(model, tags.kept, text_checker(public_key()))


def test_the_last_word_on_each_subject_is_read_as_it_was_said(tags: Tags) -> None:
    tomorrow = datetime.datetime.now(datetime.UTC) + datetime.timedelta(1)
    say(tags)
    run = say(tags, said="unchanged", pages={"prefect": "http://127.0.0.1:4200/runs/flow-run/1"})
    question = say(tags, subject="question", said="Promote?", until=tomorrow, version=8)
    assert read(tags) == {"run": run, "question": question}
    assert tags.kept is not None and "slipway.status.question" in tags.kept
    assert question.open(tomorrow - datetime.timedelta(1)) and not question.open(tomorrow)


def test_a_tag_that_nobody_signed_is_not_shown_nor_one_of_another_model(tags: Tags, tmp_path: Path) -> None:
    say(tags)
    assert tags.kept is not None
    [(name, text)] = tags.kept.items()
    payload, signature = json.loads(text)
    create_key_pair(tmp_path / "private.pem", tmp_path / "public.pem")
    assert read_statuses("digits", tags.kept, text_checker(tmp_path / "public.pem")) == {}
    assert read(tags, "flights") == {}, "copied to another model, it says nothing"
    for other in (
        payload,
        json.dumps([payload.replace("v7", "v9"), signature]),
        "[]",
        "[" * 5000,
        "",
        "null",
    ):
        tags.kept[name] = other
        assert read(tags) == {}


def test_a_page_that_cannot_be_told_is_a_line_in_the_log(
    tags: Tags, caplog: pytest.LogCaptureFixture
) -> None:
    say(tags, model="flights")
    tags.kept = None
    say(tags)
    assert [record.message for record in caplog.records] == ["digits: its page is not told of the run: away"]


@given(st.text(max_size=3000), st.text("abcdef0123456789/:?=#-%", max_size=300))
def test_a_tag_fits_its_column_whatever_is_said(said: str, address: str) -> None:
    pages = {"prefect": address, "mlflow": address, "report": address}
    tag = StatusTag(model="m" * 64, subject="run", said=said, pages=pages)  # type: ignore[arg-type]
    assert len(tag.said) <= 401 and "\n" not in tag.said
    assert len(json.dumps([tag.model_dump_json(), "s" * 100], ensure_ascii=False)) <= LONGEST
