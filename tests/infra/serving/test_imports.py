"""What each process of the server carries: workers stay small because of what they do not import."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import serving_models as models
from serving_process import ServerProcess

HEAVY = {
    "torch",
    "prefect",
    "mlflow",
    "pandas",
    "pyarrow",
    "model_signing",
    "onnx",
    "scipy",
    "sklearn",
    "fastapi",
}

NOT_INSTALLED = ("torch", "prefect", "pandas", "pyarrow", "onnx", "scipy", "sklearn", "matplotlib", "fastapi")
"""What the extra `serving` does not bring."""


def loaded_by(module: str) -> set[str]:
    code = f"import sys, infra.serving.{module}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=240
    )
    return set(done.stdout.split())


@pytest.mark.slow
@pytest.mark.parametrize(
    "module",
    [
        "processes.worker",
        "processes.follower",
        "lifecycle.follower",
        "processes.supervisor",
        "processes.main",
        "options",
    ],
)
def test_importing_a_process_of_the_server_loads_nothing_heavy(module: str) -> None:
    assert HEAVY.isdisjoint(name.split(".")[0] for name in loaded_by(module))


@pytest.mark.slow
@pytest.mark.parametrize("module", ["processes.supervisor", "processes.follower", "lifecycle.follower"])
def test_only_workers_load_onnx_runtime(module: str) -> None:
    assert "onnxruntime" not in loaded_by(module)


@pytest.mark.slow
def test_it_serves_and_records_where_nothing_else_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module that is None is one that cannot be imported, in all processes that the server starts."""
    folder = models.save(tmp_path / "model", models.mlp(), {"x": [[0.5] * 64]})
    absent = "".join(f"sys.modules[{name!r}] = None\n" for name in NOT_INSTALLED)
    (tmp_path / "absent").mkdir()
    (tmp_path / "absent" / "sitecustomize.py").write_text(f"import sys\n{absent}")
    path = os.pathsep.join((str(tmp_path / "absent"), os.environ.get("PYTHONPATH", "")))
    monkeypatch.setenv("PYTHONPATH", path)
    with ServerProcess(f"digits={folder}", home=tmp_path / "home", record=1.0) as server:
        assert server.post("/invocations", {"inputs": {"x": [[0.5] * 64]}}).status == 200
    assert len(list((tmp_path / "home" / "traffic").rglob("*.jsonl.gz"))) == 1
