"""A notebook without a server: a registered version, proved as the server proves it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import serving_models as models
import slipway
from onnx.onnx_ml_pb2 import ModelProto
from registered import ROW, Registered

from tasks.errors import RefusedError
from tasks.onnx.session import open_session
from tasks.system import signing


@pytest.fixture
def registered(mlflow_server: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registered:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server)
    signing.private_key()
    return Registered(mlflow_server, tmp_path, sealed=True)


def test_a_champion_is_loaded_and_answers_as_its_file_does(registered: Registered) -> None:
    number = registered.add(models.mlp(), "champion")
    model = slipway.load(f"{registered.name}@champion")
    rows = np.concatenate([ROW] * 1500)
    answers = model.predict({"x": rows})
    session = open_session((registered.folders[number] / "model.onnx").read_bytes())
    np.testing.assert_allclose(
        np.stack([*answers["logits"]])[:1], session.run(None, {"x": ROW})[0], rtol=1e-6
    )
    assert len(answers) == 1500 and answers.attrs["versions"] == {number: model.digest}
    assert (model.name, model.version, model.inputs) == (registered.name, number, {"x": "float32[-1, 64]"})
    assert slipway.load(registered.name).digest == model.digest, "from the cache"


def test_what_may_not_serve_or_is_not_what_was_signed_is_not_loaded(registered: Registered) -> None:
    """Nor does one that is looked at, without a permit, go unverified."""

    def refused(reference: str, **how: bool) -> str:
        with pytest.raises(slipway.UserError) as raised:
            slipway.load(reference, **how)
        assert "\n" not in str(raised.value) and str(raised.value).endswith(".")
        return str(raised.value)

    new = registered.add(models.mlp(seed=2), "challenger", permitted=False)
    assert "it has no permit" in refused(f"{registered.name}@challenger")
    assert slipway.load(f"{registered.name}/{new}", permitted=False).version == new

    def swapped(folder: Path) -> None:
        changed: ModelProto = models.mlp(seed=9)
        (folder / "model.onnx").write_bytes(changed.SerializeToString())

    bad = registered.add(models.mlp(seed=3), change=swapped)
    for how in ({}, {"permitted": False}):
        assert "evidence: " in refused(f"{registered.name}/{bad}", **how)
    assert f"There is no {registered.name}@champion in the registry at http" in refused(registered.name)
    assert "a folder has no permit" in refused(f"digits={registered.folder}")
    assert issubclass(RefusedError, slipway.UserError)


@pytest.mark.slow
def test_neither_torch_nor_prefect_nor_pandas_is_imported_with_it() -> None:
    code = "import slipway, sys; print([name for name in ('torch', 'prefect', 'mlflow', 'pandas', 'onnxruntime', 'requests') if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(slipway.__file__).parents[1]
    )
    assert done.stdout.strip() == "[]", done.stderr
