"""What each process of the server carries: workers stay small because of what they do not import."""

import subprocess
import sys

import pytest

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
    code = f"import sys, infra.serving.{module}; print(*{{name.split('.')[0] for name in sys.modules}})"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=240
    )
    assert HEAVY.isdisjoint(loaded.stdout.split())


@pytest.mark.parametrize("module", ["processes.supervisor", "processes.follower", "lifecycle.follower"])
def test_only_workers_load_onnx_runtime(module: str) -> None:
    code = f"import sys, infra.serving.{module}; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=240
    )
    assert "onnxruntime" not in loaded.stdout.split()
