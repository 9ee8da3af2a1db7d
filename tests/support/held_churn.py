"""A data scientist's own workload, a file with helpers and a library of hers, written into a folder of her laptop."""

import shutil
import zipfile
from pathlib import Path

from checkout import SUPPORT

WORKLOAD = '''"""Which digit is drawn? Hers: a file, helpers beside it, and a library that the platform has not."""

import dataclasses

from torch import Tensor

from held_digits import Held
from held_digits import workload as held
from helpers import scale
from tasks.config import Gates


class Scaled(Held):
    def forward(self, image: Tensor) -> Tensor:
        self.hold()
        return self.layers(image / scale())


workload = dataclasses.replace(
    held, name="churn", model=Scaled, recipes=(), gates=Gates(min_score=0.8, margin=0.1)
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
    shutil.copy(SUPPORT / "held_digits.py", folder)
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
