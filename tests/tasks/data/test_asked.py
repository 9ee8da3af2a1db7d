"""Stored rows as a request brings them: what it comes to is what was learned from, and the codec is the one they were stored with."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from coded import write_tokenizer

from tasks.codecs import Coded, Plain, Text
from tasks.data.asked import AskedRows, with_codec
from tasks.data.dataset import asked_rows, read_split
from tasks.errors import StepError
from tasks.records import Dataset


def test_a_request_comes_to_the_tensors_that_were_stored(reads_dataset: Dataset) -> None:
    asked, stored = asked_rows(reads_dataset, "test", 30), read_split(reads_dataset, "test").inputs
    feed = asked.feed(slice(3, 9))
    assert {name: array.dtype for name, array in feed.items()} == {n: a.dtype for n, a in stored.items()}
    for name, array in feed.items():
        expected = stored[name][3:9]
        np.testing.assert_array_equal(array, expected[:, : array.shape[1]] if array.ndim > 1 else expected)
    request = asked.request(slice(3, 9))
    assert [*request] == [spec.name for spec in reads_dataset.asked] == ["gloss", "plan", "numbers"]
    assert all(isinstance(text, str) for text in request["gloss"]) and len(request["numbers"][0]) == 2


def test_rows_without_codecs_are_asked_as_they_are() -> None:
    asked = AskedRows({"x": np.arange(6.0).reshape(3, 2)})
    assert asked.request(slice(1, 2)) == {"x": [[2.0, 3.0]]} and asked.feed(slice(0, 1))["x"].shape == (1, 2)


def test_another_tokenizer_makes_other_rows_of_the_same_text_and_no_codec_changes_nothing(
    tmp_path: Path,
) -> None:
    one, other = (
        Coded({"a": Text(column="a", tokenizer=write_tokenizer(tmp_path / "t.json"), length=length)})
        for length in (8, 9)
    )
    assert with_codec("f", Plain(lambda frame: {})) == "f"
    assert len({"f", with_codec("f", one), with_codec("f", other), with_codec("g", one)}) == 4


def test_a_stored_codec_that_was_altered_is_found_out(reads_dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "codec").mkdir()
    for path in (reads_dataset.folder / "codec").iterdir():
        (tmp_path / "codec" / path.name).write_bytes(path.read_bytes() + b" ")
    pd.DataFrame({"gloss": ["a"], "plan": ["b"]}).to_parquet(tmp_path / "frame.parquet")
    (tmp_path / "test").symlink_to(reads_dataset.folder / "test")
    moved = reads_dataset.model_copy(update={"folder": tmp_path})
    with pytest.raises(
        StepError, match="cannot be asked as a request .*not the one that model.onnx was proved"
    ):
        asked_rows(moved, "test", 3)
