"""Rows that no exporter has traced."""

from pathlib import Path

import numpy as np
import pytest
from coded import write_tokenizer
from toy_training import workload

from tasks.codecs import Text
from tasks.onnx.sizes import at_lengths, edge_rows, otherwise
from tasks.records import Dataset, TensorSpec


@pytest.fixture
def texts(tmp_path: Path) -> Dataset:
    """Two splits, the one with the emptiest and the largest row, the other with the fullest."""
    splits = {
        "train": [[1, 2, 0, 0], [0, 0, 0, 0], [9, 9, 9, 0], [1, 1, 0, 0]],
        "test": [[1, 1, 1, 1], [2, 2, 0, 0]],
    }
    for split, rows in splits.items():
        (tmp_path / split).mkdir()
        np.save(tmp_path / split / "words.npy", np.array(rows))
        np.save(tmp_path / split / "target.npy", np.zeros(len(rows)))
    spec = TensorSpec(name="words", dtype="int64", shape=("batch", 4))
    rows = {split: len(rows) for split, rows in splits.items()}
    return Dataset(
        workload="w", folder=tmp_path, fingerprint="", rows=rows, inputs=(spec,), target=spec, classes=None
    )


def test_the_emptiest_fullest_smallest_and_largest_row_of_every_split_are_at_the_edge(texts: Dataset) -> None:
    edges = {tuple(row) for row in edge_rows(texts)["words"].tolist()}
    assert {(0, 0, 0, 0), (9, 9, 9, 0), (1, 1, 1, 1), (2, 2, 0, 0)} <= edges and len(edges) <= 6


def test_floating_numbers_are_asked_of_every_sign_and_size_and_integers_are_left() -> None:
    rows = {"x": np.array([[1.0, -2.0]], "float32"), "code": np.array([3])}
    tried = dict(otherwise(rows))
    assert {what: arrays["x"].tolist() for what, arrays in tried.items() if "tenth" not in what} == {
        "of the other sign": [[-1.0, 2.0]],
        "all above zero": [[1.0, 2.0]],
        "all below zero": [[-1.0, -2.0]],
        "all zero": [[0.0, 0.0]],
        "ten times as large": [[10.0, -20.0]],
    }
    assert all(arrays["x"].dtype == "float32" and arrays["code"].tolist() == [3] for arrays in tried.values())
    assert list(otherwise({"code": np.array([3])})) == []


def test_text_is_tried_at_the_widths_that_requests_are_padded_to(tmp_path: Path) -> None:
    text = Text(column="gloss", tokenizer=write_tokenizer(tmp_path / "tokenizer.json"), length=40, pad=16)
    reads = workload(inputs={"gloss": text})
    arrays = {name: np.ones((3, 40), "int64") for name in text.gives}
    tried = {said: [*cut.values()] for said, cut in at_lengths(arrays, reads, (0.1, 0.45, 0.8, 1.0))}
    assert {said: each[0].shape for said, each in tried.items()} == {
        "gloss_length=16": (3, 16),
        "gloss_length=32": (3, 32),
    }
    decoder = reads.reading.decoder
    for words in range(1, 60):
        width = decoder.read({"gloss": decoder.take({"gloss": ["a " * words]})["gloss"]})["input_ids"].shape[
            1
        ]
        assert width in (16, 32, 40)
