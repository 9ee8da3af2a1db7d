"""A checkpoint that another library wrote, a file or a folder, as part of ours: whole, with the same digest and generations."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tasks.errors import StepError

_KEY = "slipway.files"


def packed(state: Any) -> Any:
    """The state as it is; of a Path, its file or all files below it."""
    if not isinstance(state, Path):
        return state
    files = sorted(path for path in state.rglob("*") if path.is_file()) if state.is_dir() else [state]
    content = {path.relative_to(state.parent).as_posix(): _bytes(path) for path in files}
    return {_KEY: content, "name": state.name}


def unpacked(state: Any, folder: Path) -> Any:
    """What `packed` was given; a Path is below `folder` now, which holds nothing else."""
    if not isinstance(state, dict) or _KEY not in state:
        return state
    shutil.rmtree(folder, ignore_errors=True)
    for name, content in state[_KEY].items():
        if not (folder / name).resolve().is_relative_to(folder.resolve()):
            raise StepError(
                f"A checkpoint names a file outside of its folder, {name}: remove it, and train again."
            )
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content.numpy().tobytes())
    return folder / state["name"]


def _bytes(path: Path) -> torch.Tensor:
    return torch.from_numpy(np.fromfile(path, dtype="uint8"))
