"""Checkpoint and recipe → Candidate: the torch side, an export, the file side, and a check of what came out."""

import logging
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.compress.base import Job, OnnxMethod, Refused, TorchMethod
from tasks.compress.graph import metadata_of, seal
from tasks.config import Gates, Recipe, Train
from tasks.data import read_split
from tasks.disk import is_the_machines
from tasks.export import describe, export_module, odd_sizes
from tasks.records import Candidate, Checkpoint, Dataset, OnnxModel
from tasks.session import open_session
from tasks.workloads import load_workload

if TYPE_CHECKING:
    from torch import nn

log = logging.getLogger(__name__)


def make(
    workload: str,
    dataset: Dataset,
    checkpoint: Checkpoint,
    baseline: Candidate,
    recipe: Recipe,
    folder: Path,
    train: Train,
    gates: Gates,
    *,
    model: str | None = None,
) -> Candidate:
    """What `recipe` makes of the trained model, as `folder`/<recipe's name>.onnx; `refused` says why there is none.

    Recipes share `folder`: a fine-tuning that two of them begin with is done once. Raises for a machine that fails
    (a full disk, no memory), and not for a recipe that does: the others must go on, and its refusal is kept.
    """
    assert baseline.onnx is not None
    try:
        known = load_workload(workload)
        job = Job(known, dataset, checkpoint, baseline.onnx, train, gates, model, folder)
        onnx_model, notes = _make(recipe, job)
    except Refused as refusal:
        return Candidate(name=recipe.name, recipe=recipe, refused=str(refusal))
    except Exception as error:
        if is_the_machines(error) or is_the_machines(error.__cause__):
            raise
        log.debug("recipe %s failed", recipe.name, exc_info=True)
        return Candidate(name=recipe.name, recipe=recipe, refused=_first_line(error))
    return Candidate(name=recipe.name, recipe=recipe, onnx=onnx_model, notes=notes)


def _make(recipe: Recipe, job: Job) -> tuple[OnnxModel, tuple[str, ...]]:
    job.folder.mkdir(parents=True, exist_ok=True)
    metadata = {**metadata_of(job.baseline.path), "recipe": recipe.name}
    path = job.folder / f"{recipe.name}.onnx"
    with tempfile.TemporaryDirectory(dir=job.folder, prefix=f".{recipe.name}-") as scratch:
        start, notes = _torch_side(recipe, job, Path(scratch), metadata)
        current = start.path
        for index, step in enumerate(s for s in recipe.steps if isinstance(s, OnnxMethod)):
            target = Path(scratch) / f"{index}-{step.kind}" / "model.onnx"
            target.parent.mkdir()
            notes = (*notes, *step.apply(current, target, job))
            current = target
        seal(current, path, metadata)
        reference = _keep_reference(start, path)
    _check(path, job)
    return describe(path, start.exporter, job.dataset.inputs, reference), notes


def _torch_side(
    recipe: Recipe, job: Job, scratch: Path, metadata: Mapping[str, str]
) -> tuple[OnnxModel, tuple[str, ...]]:
    """The baseline's file, or what the torch-side steps make of the module, exported."""
    steps = [step for step in recipe.steps if isinstance(step, TorchMethod)]
    if not steps:
        return job.baseline, ()
    from tasks.model import load_module

    module: nn.Module = load_module(job.workload, job.dataset, job.checkpoint, model=job.model)
    notes: tuple[str, ...] = ()
    for step in steps:
        module, said = step.apply(module, job, job.folder / "training")
        notes = (*notes, *said)
    return export_module(module, job.workload, job.dataset, scratch / "torch.onnx", metadata), notes


def _keep_reference(start: OnnxModel, path: Path) -> Path | None:
    """The outputs of the torch model that this file came from, beside the file."""
    if start.reference is None:
        return None
    kept = path.with_suffix(".reference.npy")
    shutil.copyfile(start.reference, kept)
    return kept


def _check(path: Path, job: Job) -> None:
    """Raise Refused when a tool lost a name or a dynamic axis, or the file fails at sizes nobody traced."""
    session = open_session(path)
    baseline = open_session(job.baseline.path)
    for kind, ours, theirs in (
        ("input", session.get_inputs(), baseline.get_inputs()),
        ("output", session.get_outputs(), baseline.get_outputs()),
    ):
        if _signature(ours) != _signature(theirs):
            raise Refused(f"its {kind}s became {_signature(ours)} where fp32 has {_signature(theirs)}")
    rows = read_split(job.dataset, "validation")
    for arrays in odd_sizes(rows, job.dataset, job.workload):
        for one, other in zip(session.run(None, arrays), baseline.run(None, arrays), strict=True):
            if one.shape != other.shape:
                raise Refused(
                    f"its answer for inputs of other sizes has shape {one.shape} where fp32's has {other.shape}"
                )


def _signature(values: Any) -> list[tuple[str, str, tuple[int | None, ...]]]:
    """Names, types and fixed sizes; a dynamic axis is None whatever it is called."""
    return [(v.name, v.type, tuple(d if isinstance(d, int) else None for d in v.shape)) for v in values]


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__
