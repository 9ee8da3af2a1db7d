"""The notebook runs as it stands, cell by cell, beside a home with a champion and its server."""

import json
import os
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest
import serving_models as models
from checkout import ROOT
from serving_process import ServerProcess, publish

from tasks.onnx.package import build_folder
from tasks.records import Candidate, Dataset

NOTEBOOK = json.loads((ROOT / "docs" / "digits.ipynb").read_text())

CELLS = ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


def test_the_notebook_is_one_that_every_reader_takes_and_keeps_no_output_of_a_machine() -> None:
    assert (NOTEBOOK["nbformat"], NOTEBOOK["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in NOTEBOOK["cells"]}) == len(NOTEBOOK["cells"])
    assert all(cell.get("outputs", []) == [] and cell["metadata"] == {} for cell in NOTEBOOK["cells"])


@pytest.mark.slow
def test_every_cell_of_the_notebook_runs_in_its_order(
    home: Path, tmp_path: Path, empty_mlflow_database: Path, linear_digits: tuple[Dataset, Candidate]
) -> None:
    dataset, candidate = linear_digits
    home.mkdir(mode=0o700)
    (home / "mlflow.db").write_bytes(empty_mlflow_database.read_bytes())
    assert candidate.onnx is not None
    build_folder(candidate.onnx, dataset, tmp_path / "digits")
    models.seal(tmp_path / "digits")
    registry = f"sqlite:///{home / 'mlflow.db'}"
    mlflow.MlflowClient(registry).create_experiment("serving", (home / "mlartifacts").as_uri())
    publish(registry, "digits", tmp_path / "digits", ["champion"])
    checks = [
        "assert (read == frame['digit']).mean() > 0.9 and same.all() and [*served.attrs['versions']] == ['1']"
    ]
    checks += ["import sys; assert 'torch' not in sys.modules"]
    path = os.pathsep.join([str(ROOT), str(ROOT / "infra" / "client")])
    with ServerProcess("digits@champion", home=home, tracking_uri=registry) as server:
        environment = {**os.environ, "SLIPWAY_SERVER": server.url, "PYTHONPATH": path}
        done = subprocess.run(
            [sys.executable, "-c", "\n".join([*CELLS, *checks])],
            env=environment, cwd=tmp_path, capture_output=True, text=True,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
