"""A data scientist's own workload, a file with a helper and a library of hers, written into a folder of her laptop."""

import zipfile
from pathlib import Path

WORKLOAD = '''"""Which digit is drawn? Hers: a file, a helper beside it, and a library that the platform has not."""

import dataclasses
import os
import time
from pathlib import Path

from torch import Tensor, nn

from helpers import scale
from tasks.config import Gates, Train
from tasks.workloads.examples import digits


class Held(nn.Module):
    """Stands still after some forward passes in training, while the file that SLIPWAY_TEST_HOLD names is there."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
        self.seen = 0

    def forward(self, image: Tensor) -> Tensor:
        if self.training:
            self.seen += 1
            hold = os.environ.get("SLIPWAY_TEST_HOLD")
            while self.seen >= 30 and hold and Path(hold).exists():
                time.sleep(0.05)
        return self.layers(image / scale())


workload = dataclasses.replace(
    digits.workload,
    name="churn",
    model=Held,
    recipes=(),
    train=Train(epochs=8, lr=2e-3, checkpoint_seconds=0, threads=1),
    gates=Gates(min_score=0.8, margin=0.1),
)
'''

HELPERS = """import tinyscale


def scale() -> float:
    return tinyscale.SIXTEEN
"""

EDITED = HELPERS.replace("tinyscale.SIXTEEN", "tinyscale.SIXTEEN - 1")


def write(folder: Path) -> Path:
    """The workload's file; beside it requirements.txt and, in wheels/, the index that has what it names."""
    folder.mkdir()
    (folder / "helpers.py").write_text(HELPERS)
    (folder / "requirements.txt").write_text("tinyscale\n")
    file = folder / "churn.py"
    file.write_text(WORKLOAD)
    _write_wheel(folder / "wheels")
    return file


def _write_wheel(folder: Path) -> None:
    folder.mkdir()
    about = "tinyscale-1.3.dist-info"
    files = {
        "tinyscale.py": "SIXTEEN = 16.0\n",
        f"{about}/METADATA": "Metadata-Version: 2.1\nName: tinyscale\nVersion: 1.3\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: slipway\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{about}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{about}/RECORD"])
    with zipfile.ZipFile(folder / "tinyscale-1.3-py3-none-any.whl", "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
