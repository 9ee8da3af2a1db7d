"""Each workload but digits (README's) as its user has it: run, promoted, verified, served, and asked; small settings of the same code."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from commands import answer, served, slipway
from wordnet import data_noun

from tasks.config import Data
from tasks.data.dataset import prepare, read_split
from tasks.onnx.session import open_session
from tasks.proof.evidence import MODEL, read

pytestmark = [pytest.mark.platform, pytest.mark.timeout(1800)]

SMALL = ["recipes=[]", "engines=[onnxruntime]", "train.threads=1"]


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("flights", ["data.until=2013-01-15", "train.epochs=2", "gates.min_score=0.5"]),
        ("glosses", ["train.epochs=12", "gates.min_score=0.5"]),
        ("glosses", ["model=lstm", "train.epochs=12", "gates.min_score=0.5"]),
        ("cells", ["train.epochs=5", "gates.folds=0", "gates.min_score=0.3"]),
    ],
    ids=["flights", "glosses", "glosses as an LSTM", "cells"],
)
def test_it_runs_is_promoted_verifies_and_answers_as_its_file_does(
    name: str, settings: list[str], prefect_server: str, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    environment |= {"SLIPWAY_HOME": str(home), "PREFECT_API_URL": prefect_server}
    environment["WORDNET_HOME"] = str(data_noun(tmp_path, 2000))
    words = " ".join(f"--set '{setting}'" for setting in (*SMALL, *settings))
    done = slipway(f"slipway run {name} {words} --json", environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["decision"] == "promoted"
    assert slipway(f"slipway verify {name}@champion", environment).returncode == 0

    package = home / "work" / name / "package"
    config = Data.model_validate(read(package).config["data"])
    rows = {
        key: array[:3]
        for key, array in read_split(prepare(name, config, home / "datasets"), "test").inputs.items()
    }
    expected = open_session(package / MODEL).run(None, {key: np.array(array) for key, array in rows.items()})[
        0
    ]
    body = json.dumps({"inputs": {key: array.tolist() for key, array in rows.items()}})
    with served(environment, f"slipway serve {name}@champion --port 8080") as url:
        logits = np.array(answer(url, body)["predictions"]["logits"])
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
