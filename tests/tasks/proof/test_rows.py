"""The rows that a version was made of, when its workload has moved on."""

import shutil
from pathlib import Path

import promotions
import pytest
from checkout import SUPPORT

from tasks.config import Data
from tasks.data.dataset import prepare
from tasks.errors import StepError
from tasks.proof.evidence import Evidence
from tasks.proof.rows import rows_of
from tasks.records import Candidate, Dataset

Digits = tuple[Dataset, Candidate]


def test_a_version_is_held_against_its_own_arrays_and_not_those_of_newer_code(
    tmp_path: Path, linear_digits: Digits
) -> None:
    """The same rows by another inputs() have the same fingerprint, and a folder of their own."""
    dataset, _ = linear_digits
    for name in ("a", "b", "c"):
        folder = tmp_path / "digits" / f"{dataset.fingerprint[:16]}-{name}"
        shutil.copytree(dataset.folder, folder)
        evidence = promotions.make_evidence("c" * 64, "digits").model_copy(
            update={"fingerprint": dataset.fingerprint, "dataset": folder.name}
        )
        assert rows_of(evidence, tmp_path).folder == folder
    older = evidence.model_copy(update={"dataset": None})
    assert rows_of(older, tmp_path).fingerprint == dataset.fingerprint


def moved_on(tmp_path: Path) -> tuple[Evidence, Dataset, Path]:
    """Evidence of a version whose workload loads other rows by now, its dataset and their root."""
    file = tmp_path / "mine.py"
    file.write_text((SUPPORT / "cases" / "turns.py").read_text())
    dataset = prepare(str(file), Data(), tmp_path / "datasets")
    made = promotions.make_evidence("c" * 64, "turns").model_copy(
        update={"workload": str(file), "fingerprint": dataset.fingerprint, "dataset": dataset.folder.name}
    )
    file.write_text(file.read_text().replace("default_rng(2)", "default_rng(3)"))
    return made, dataset, tmp_path / "datasets"


def test_a_version_is_judged_and_explained_on_its_own_rows_after_the_workload_loads_others(
    tmp_path: Path,
) -> None:
    evidence, dataset, root = moved_on(tmp_path)
    assert rows_of(evidence, root) == dataset
    assert rows_of(evidence.model_copy(update={"dataset": None}), root) == dataset


def test_rows_that_are_nowhere_any_more_are_said_in_a_sentence(tmp_path: Path) -> None:
    evidence, dataset, root = moved_on(tmp_path)
    shutil.rmtree(dataset.folder)
    with pytest.raises(
        StepError, match="turns was made of rows .* that .*mine.py no longer loads .*: `slipway run"
    ):
        rows_of(evidence, root)
