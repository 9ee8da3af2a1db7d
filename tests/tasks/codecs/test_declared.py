"""Codecs in a workload: what cannot be one is said when the file is read, and rows are read as a request would be."""

import importlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from coded import jpegs, write_tokenizer

from tasks.codecs import Coded, Codes, Image, Text
from tasks.errors import UserError


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ({}, "inputs names nothing: give a function of the frame, or codecs by name."),
        ({"a": 3}, "inputs['a'] is a int: give Text, Image, Codes, or a function of the frame."),
        ({"a b": Codes(column="x", words=("y",))}, "inputs names 'a b': use a Python name."),
        (
            {"a": Codes(column="x", words=("y",)), "b": Codes(column="x", words=("y",), gives=("a",))},
            "inputs gives two tensors named 'a': name one otherwise, by gives=.",
        ),
    ],
)
def test_a_mapping_that_cannot_be_is_said(declared: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        Coded(declared)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Text(column="x", tokenizer="t", length=0), "Text(length=0): give a number above 0."),
        (lambda: Image(column="x", size=(0, 3)), "Image(size=(0, 3)): give a height and a width."),
        (
            lambda: Image(column="x", size=(3, 3), formats=("PSD",)),
            "Image(formats=('PSD',)): give some of JPEG",
        ),
        (lambda: Codes(column="x", words=("a", "a")), "Codes(words=('a', 'a')): give different words."),
    ],
)
def test_a_codec_that_cannot_be_is_said(make: Any, said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        make()


def test_a_tokenizer_that_is_none_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"Text finds no tokenizer at .*nowhere \(No such file"):
        _ = Coded({"a": Text(column="a", tokenizer=tmp_path / "nowhere")}).document
    with pytest.raises(
        UserError,
        match="The package 'absent', which makes a's tokenizer, is not installed: pip install absent.",
    ):
        _ = Coded({"a": Text(column="a", tokenizer=lambda: importlib.import_module("absent").text)}).document
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n")
    with pytest.raises(UserError, match="Text takes a tokenizer.json: tokenizer.save_pretrained"):
        _ = Coded({"a": Text(column="a", tokenizer=tmp_path / "vocab.txt")}).document


def test_rows_are_read_as_requests_are_and_a_function_stands_beside_codecs(tmp_path: Path) -> None:
    (tmp_path / "digit.jpg").write_bytes(jpegs(1)[0])
    coded = Coded(
        {
            "text": Text(column="text", tokenizer=write_tokenizer(tmp_path / "t.json"), length=20),
            "photo": Image(column="file", size=(8, 8)),
            "numbers": lambda frame: frame[["number"]].to_numpy("float32"),
        }
    )
    frame = pd.DataFrame(
        {"text": ["a cat", "the"], "number": [1, 2], "file": [str(tmp_path / "digit.jpg"), jpegs(1)[0]]}
    )
    arrays = coded(frame)
    assert {name: array.shape for name, array in arrays.items()} == {
        "input_ids": (2, 20), "attention_mask": (2, 20), "image": (2, 8, 8, 3), "numbers": (2, 1),
    }  # fmt: skip
    np.testing.assert_array_equal(*arrays["image"])
    assert coded.axes == {"input_ids": {1: "text_length"}, "attention_mask": {1: "text_length"}}
    for broken, said in (
        (frame.drop(columns="text"), "reads the column 'text', and load() gave number, file"),
        (frame.assign(text=[None, "a"]), "'text': value 0 is no text: drop or mend it in load()"),
        (frame.assign(file="gone.jpg"), "inputs['photo'] finds no file 'gone.jpg' of row 0"),
    ):
        with pytest.raises(UserError, match=re.escape(said)):
            coded(broken)
