"""Definitions as bytes: the words are found in the module, wherever they stand and however long the text is."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from wordnet import data_noun

from tasks.config import Data
from tasks.data.dataset import prepare, read_split
from tasks.data.schema import load_valid
from tasks.errors import UserError
from tasks.onnx.export import export_module
from tasks.records import Dataset
from tasks.training.module import build_module
from tasks.workloads.examples import glosses as module
from tasks.workloads.examples.glosses import KINDS, hash_words, load_frame, to_inputs, workload

NUMBERS = {kind: number for number, kind in KINDS.items()}
MULTIPLIERS = torch.randint(1, 2**31 - 1, (64,), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def wordnet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WORDNET_HOME", str(data_noun(tmp_path)))
    return tmp_path


@pytest.fixture
def small(wordnet: Path) -> Dataset:
    return prepare("glosses", Data(), wordnet / "datasets")


def hashes(*texts: str) -> torch.Tensor:
    inputs = to_inputs(pd.DataFrame({"gloss": list(texts)}))["text"]
    return hash_words(torch.from_numpy(inputs), MULTIPLIERS)[0]


def test_a_gloss_is_the_definition_without_examples_in_the_ten_largest_classes(wordnet: Path) -> None:
    frame = load_frame()
    assert len(frame) == 60 and set(frame["kind"]) == set(KINDS.values())
    assert frame["gloss"][0] == "a act numbered 0"


def test_a_words_numbers_do_not_depend_on_where_it_stands_nor_on_its_capitals() -> None:
    first, second = hashes("small feline animal"), hashes("  SMALL -- Feline, animal.")
    assert (first == second).all()
    moved = hashes("feline small animal")
    assert (first[0, :, 0] == moved[0, :, 1]).all() and (first[0, :, 0] != moved[0, :, 0]).all()


def test_words_with_the_same_beginning_or_end_share_those_numbers() -> None:
    whole, start, end = hashes("walking walked talking")[0][:, :3]
    assert len(set(whole.tolist())) == 3
    assert start[0] == start[1] != start[2]
    assert end[0] == end[2] != end[1]


def test_zeros_behind_the_end_change_nothing() -> None:
    text = torch.from_numpy(to_inputs(pd.DataFrame({"gloss": ["a kind of tree"]}))["text"])
    short, there = hash_words(text[:, :20], MULTIPLIERS)
    long, also = hash_words(text, MULTIPLIERS)
    assert (short == long).all() and (there == also).all() and there.sum() == 4


@pytest.mark.parametrize("model", ["transformer", "lstm"])
@pytest.mark.slow
def test_both_models_export_with_a_free_length(small: Dataset, tmp_path: Path, model: str) -> None:
    import onnxruntime

    built = build_module(workload, small, model)
    exported = export_module(built, workload, small, tmp_path / "model.onnx", {})
    assert exported.inputs[0].shape == ("batch", "length")
    session = onnxruntime.InferenceSession(exported.path)
    for length in (1, 7, 300):
        text = np.random.default_rng(length).integers(0, 255, (3, length)).astype("uint8")
        with torch.no_grad():
            expected = built.eval()(torch.from_numpy(text)).numpy()
        np.testing.assert_allclose(session.run(None, {"text": text})[0], expected, rtol=1e-3, atol=1e-3)


def test_text_without_a_word_gets_finite_answers(small: Dataset) -> None:
    built = build_module(workload, small).eval()
    with torch.no_grad():
        assert built(torch.zeros(2, 5, dtype=torch.uint8)).isfinite().all()


@pytest.mark.slow
def test_it_learns(small: Dataset) -> None:
    """A few steps on sixty rows; that it beats a linear model on all of them is bench_workloads.py's to show."""
    torch.manual_seed(0)
    built = build_module(workload, small)
    rows = read_split(small, "train")
    text, target = torch.from_numpy(rows.inputs["text"].copy()), torch.from_numpy(rows.target.copy())
    optimizer = torch.optim.AdamW(built.parameters(), lr=1e-2)
    for _ in range(15):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(built(text), target).backward()
        optimizer.step()
    with torch.no_grad():
        assert (built.eval()(text).argmax(1) == target).float().mean() > 0.9


@pytest.mark.slow
@pytest.mark.skipif(
    not Path(os.environ.get("WORDNET_HOME", "/usr/share/wordnet"), "data.noun").exists(),
    reason="wordnet-base is not installed",
)
def test_wordnet_as_debian_has_it() -> None:
    frame = load_valid(workload, Data())
    assert len(frame) == 63_245 and frame["kind"].value_counts()["artifact"] == 11_587


def test_wordnet_that_is_not_there_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORDNET_HOME", str(tmp_path))
    with pytest.raises(UserError, match="apt-get install wordnet-base, or set WORDNET_HOME"):
        load_valid(workload, Data())


def test_a_file_in_another_encoding_or_without_rows_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORDNET_HOME", str(tmp_path))
    (tmp_path / "data.noun").write_bytes("00000001 04 n 01 caf\xe9 0 000 | a café".encode("latin-1"))
    with pytest.raises(UserError, match="is not ASCII text at byte 20: WordNet 3.0's data.noun is needed"):
        load_valid(workload, Data())
    (tmp_path / "data.noun").write_text("")
    with pytest.raises(UserError, match=r"load\(\) gave no rows"):
        load_valid(workload, Data())


def test_a_class_that_is_new_is_named(wordnet: Path) -> None:
    other = replace(workload, load=lambda: module.load_frame().assign(kind="mineral"))
    with pytest.raises(UserError, match=r"kind: .* fails in 60 rows.*'mineral'"):
        load_valid(other, Data())
