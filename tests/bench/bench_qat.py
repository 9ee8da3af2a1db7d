"""Why there is no `qat` recipe: quantisation-aware training by torchao's PT2E beside our static quantisation, on the CNN and the MLP.

qat.py trains with the fp32 model as teacher, in a process that also sees torchao, which gets a folder of its own. Both files are measured here.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from bench_compress import HEADS, HERE, HOME, STATIC, Row, cells, fetch_data, row_of
from figures import published, table

from tasks.compression.candidate import compress
from tasks.data.dataset import prepare
from tasks.onnx.export import export
from tasks.recipes import Recipe
from tasks.records import Candidate
from tasks.training.trainer import train
from tasks.workloads.catalogue import load_workload

EPOCHS = {"cnn": 2, "mlp": 20}


def compare(name: str, packages: Path) -> list[Row]:
    reference = f"{HERE / 'compress_models.py'}:{name}"
    workload, folder = load_workload(reference), HOME / "compress" / name
    dataset = prepare(reference, workload.data, folder / "data")
    checkpoint = train(reference, dataset, workload.train, folder / "train")
    static = Recipe.model_validate({"name": "int8-static", "steps": [STATIC]})
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        target = Path(scratch) / "qat.onnx"
        fp32 = export(
            reference, dataset, checkpoint, Path(scratch) / "fp32.onnx", metadata={"workload": name}
        )
        assert fp32.onnx is not None
        made = compress(
            *(reference, dataset, checkpoint, fp32, static, Path(scratch) / "static"),
            *(workload.train, workload.gates),
        )
        command = [sys.executable, str(HERE / "qat.py"), name, str(EPOCHS[name]), str(target)]
        path = os.pathsep.join([str(packages), str(HERE.parent.parent)])
        done = subprocess.run(
            command, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, text=True, check=True
        )
        seconds = json.loads(done.stdout.strip().splitlines()[-1])["seconds"]
        qat = Candidate(name="qat", onnx=fp32.onnx.model_copy(update={"path": target}))
        return [
            row_of(workload, dataset, fp32, "int8-static", made, 0.0),
            row_of(workload, dataset, fp32, f"qat, {EPOCHS[name]} epochs", qat, seconds),
        ]


def main() -> None:
    fetch_data()
    packages = HOME / "envs" / "torchao"
    if not packages.exists():
        install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(packages)]
        subprocess.run([*install, "torchao==0.18.0"], check=True)
    with published("qat", "torch", "onnxruntime") as lines:
        rows = [row for name in EPOCHS for row in compare(name, packages)]
        lines += table(HEADS, map(cells, rows))


if __name__ == "__main__":
    main()
