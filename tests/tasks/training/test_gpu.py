"""What a GPU alone can show: the parts of `make gpu` that are right or wrong. Skipped, by name, where torch sees none."""

import os
import subprocess
import sys
from pathlib import Path

import bench_gpu
import numpy as np
import pytest
import torch

from tasks.data.arrays import Samples
from tasks.training.batches import resident, take

ONLY = """
import sys
from importlib.machinery import PathFinder
SEEN = {*sys.stdlib_module_names, "tasks", "bench_gpu", "__main__"}
SEEN |= {"torch", "torchgen", "sympy", "mpmath", "networkx", "jinja2", "markupsafe", "fsspec", "filelock", "typing_extensions"}
SEEN |= {"numpy", "pandas", "pyarrow", "dateutil", "six", "onnx", "onnx_ir", "onnxscript", "google", "ml_dtypes", "onnxruntime", "flatbuffers", "packaging"}
SEEN |= {"sklearn", "scipy", "joblib", "cloudpickle", "narwhals", "threadpoolctl"}
SEEN |= {"annotated_types", "mypy_extensions", "pandera", "psutil", "pydantic", "pydantic_core", "typeguard", "typing_inspect", "typing_inspection"}
class Bare(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if path is not None or name in SEEN or name.startswith("_"):
            return super().find_spec(name, path, target)
sys.meta_path[:] = [Bare if finder is PathFinder else finder for finder in sys.meta_path]
"""
"""A machine with torch, numpy, pandas, pyarrow, onnx, onnxscript, onnxruntime and scikit-learn, and with what `make gpu-wheels` brings: nothing else is to be had."""

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here")


@needs_gpu
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*does not have a deterministic implementation")
def test_a_training_killed_on_a_gpu_resumes_to_the_same_bits(tmp_path: Path) -> None:
    assert all(bench_gpu.killed_and_resumed(tmp_path).values())


@needs_gpu
@pytest.mark.slow
def test_memory_that_is_short_on_a_gpu_is_a_sentence_and_the_next_training_goes_on(tmp_path: Path) -> None:
    assert bench_gpu.short_of_memory(tmp_path)["gone on"]


@needs_gpu
@pytest.mark.slow
def test_what_was_trained_on_a_gpu_is_exported_and_holds_on_cpus(tmp_path: Path) -> None:
    assert bench_gpu.file_for_cpus(tmp_path)["problems"] == []


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_gpu)])
def test_rows_are_the_same_wherever_they_are_kept(device: str) -> None:
    random = np.random.default_rng(0)
    samples = Samples({"x": random.normal(size=(50, 3)).astype("float32")}, random.integers(0, 3, 50))
    kept, index = resident(samples, torch.device(device)), random.permutation(50)[:7]
    batch = take(bench_gpu.workload(), kept, index, torch.device(device))
    np.testing.assert_array_equal(batch.inputs["x"].cpu(), samples.inputs["x"][index])
    np.testing.assert_array_equal(batch.targets["logits"].cpu(), samples.target[index])


@pytest.mark.slow
def test_a_machine_needs_nothing_beside_what_make_gpu_brings() -> None:
    code = f"{ONLY}\nimport torch\ntorch.cuda.is_available = lambda: False\nsys.argv = ['bench_gpu.py']\nimport bench_gpu\nbench_gpu.main()"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert [line.partition(" (")[0] for line in done.stdout.splitlines()] == [
        f"skipped: {name}" for name in bench_gpu.PARTS
    ]
