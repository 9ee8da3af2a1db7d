"""The folder that is registered says what it needs, and making it takes no look at what else is installed."""

from importlib.metadata import version
from pathlib import Path

import pytest

from tasks.onnx.package import build_folder
from tasks.records import Candidate, Dataset


@pytest.mark.slow
def test_requirements_are_those_of_here_without_a_list_of_all_packages(
    linear_digits: tuple[Dataset, Candidate], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.utils import requirements_utils

    listed: list[str] = []
    monkeypatch.setattr(requirements_utils, "_MODULES_TO_PACKAGES", None)
    monkeypatch.setattr(
        requirements_utils.importlib_metadata,
        "packages_distributions",
        lambda: dict(listed.append("all") or {}),
    )
    dataset, fp32 = linear_digits
    assert fp32.onnx is not None
    build_folder(fp32.onnx, dataset, tmp_path / "model")
    needs = (tmp_path / "model" / "requirements.txt").read_text().split()
    assert needs == [f"{name}=={version(name)}" for name in ("mlflow", "onnx", "onnxruntime", "numpy")]
    assert listed == [] and requirements_utils._MODULES_TO_PACKAGES is None
