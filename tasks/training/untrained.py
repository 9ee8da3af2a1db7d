"""Dataset → Checkpoint without training: the weights that exist, kept as a training would keep its best."""

import hashlib
import json
import sys
from pathlib import Path

from tasks.errors import StepError
from tasks.records import Checkpoint, Dataset
from tasks.system.files import why_not_written, write_atomically
from tasks.training.checkpoint import save
from tasks.training.module import build_module
from tasks.workloads.workload import Workload


def ship(workload: Workload, dataset: Dataset, folder: Path, model: str | None = None) -> Checkpoint:
    """The weights of a file as a checkpoint, in a folder below `folder` that is named by what they are made of.

    Raises UserError for a file that does not fit the workload, or that could not be served; StepError for a full disk.
    """
    materials = workload.materials(model)
    digests = json.dumps([[material.name, material.sha256] for material in materials])
    folder = folder / hashlib.sha256(digests.encode()).hexdigest()[:16]
    module = build_module(workload, dataset, model)
    weights = {sys.intern(name): value for name, value in module.state_dict().items()}
    path, metrics = folder / "best.pt", folder / "metrics.jsonl"
    digest = save(path, {"weights": weights, "epoch": 0, "step": 0})
    try:
        write_atomically(metrics, b"")
    except OSError as error:
        raise StepError(why_not_written("the log of metrics", folder, 0, error)) from error
    return Checkpoint(
        path=path,
        sha256=digest,
        epoch=0,
        step=0,
        score=None,
        stopped=f"nothing was trained: {', '.join(map(str, materials))} as it came",
        metrics=metrics,
        materials=materials,
    )
