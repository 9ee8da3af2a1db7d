"""Checkpoint and recipe → Candidate: the torch side, an export, the file side, and a check of what came out."""

import logging
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.compression.catalogue import method_of
from tasks.compression.graph import metadata_of, write_with_metadata
from tasks.compression.method import Context, NotApplicable, OnnxMethod, TorchMethod
from tasks.config import Gates, Train
from tasks.data.dataset import read_split
from tasks.onnx.decision import with_decision
from tasks.onnx.description import describe
from tasks.onnx.export import export_module
from tasks.onnx.session import open_session
from tasks.onnx.sizes import odd_sizes
from tasks.recipes import Recipe
from tasks.records import Candidate, Checkpoint, Dataset, OnnxModel
from tasks.system.files import is_the_machines
from tasks.system.sentences import typed_line
from tasks.workloads.catalogue import load_workload

log = logging.getLogger(__name__)


def compress(
    reference: str,
    dataset: Dataset,
    checkpoint: Checkpoint,
    baseline: Candidate,
    recipe: Recipe,
    folder: Path,
    train: Train | None,
    gates: Gates,
    *,
    model: str | None = None,
) -> Candidate:
    """What `recipe` makes of the trained model, as `folder`/<recipe's name>.onnx; `refused` says why there is none.

    Recipes share `folder`: a fine-tuning that two of them begin with is done once. Raises for a machine that fails
    (a full disk, no memory), and not for a recipe that does: the others must go on, and its refusal is kept.
    """
    bare = baseline.bare or baseline.onnx
    assert bare is not None
    try:
        workload = load_workload(reference)
        context = Context(workload, dataset, checkpoint, bare, train, gates, model, folder)
        onnx_model, notes = _make(recipe, context)
    except Exception as error:
        if is_the_machines(error):
            raise
        if isinstance(error, NotApplicable):
            return Candidate(name=recipe.name, recipe=recipe, refused=str(error))
        log.debug("recipe %s failed", recipe.name, exc_info=True)
        return Candidate(name=recipe.name, recipe=recipe, refused=typed_line(error))
    made = Candidate(name=recipe.name, recipe=recipe, onnx=onnx_model, notes=notes)
    return with_decision(workload, dataset, made)


def _make(recipe: Recipe, context: Context) -> tuple[OnnxModel, tuple[str, ...]]:
    context.folder.mkdir(parents=True, exist_ok=True)
    metadata = {**metadata_of(context.baseline.path), "recipe": recipe.name}
    path = context.folder / f"{recipe.name}.onnx"
    methods = [method_of(step) for step in recipe.steps]
    with tempfile.TemporaryDirectory(dir=context.folder, prefix=f".{recipe.name}-") as scratch:
        start, notes = _torch_side(recipe, context, Path(scratch), metadata)
        current = start.path
        for index, step in enumerate(m for m in methods if isinstance(m, OnnxMethod)):
            target = Path(scratch) / f"{index}-{step.kind}" / "model.onnx"
            target.parent.mkdir()
            notes = (*notes, *step.apply(current, target, context))
            current = target
        write_with_metadata(current, path, metadata)
        kept = {field: _beside(path, getattr(start, field)) for field in ("reference", "lengths")}
    _check(path, context)
    described = describe(path, start.exporter, context.dataset.inputs, None)
    return described.model_copy(update={**kept, "findings": start.findings}), notes


def _beside(path: Path, kept: Path | None) -> Path | None:
    """A copy of torch's outputs beside the file that is to be held to them."""
    return kept and shutil.copyfile(kept, path.with_suffix("".join(kept.suffixes[-2:])))


def _torch_side(
    recipe: Recipe, context: Context, scratch: Path, metadata: Mapping[str, str]
) -> tuple[OnnxModel, tuple[str, ...]]:
    """The baseline's file, or what the torch-side steps make of the module, exported."""
    steps = [method for method in map(method_of, recipe.steps) if isinstance(method, TorchMethod)]
    if not steps:
        return context.baseline, ()
    if (why := context.workload.why_untrainable(context.model)) is not None:
        raise NotApplicable(f"Recipe {recipe.name}: {steps[0].kind} {why}.")
    module = context.load_module()
    notes: tuple[str, ...] = ()
    for step in steps:
        module, more = step.apply(module, context)
        notes = (*notes, *more)
    return export_module(module, context.workload, context.dataset, scratch / "torch.onnx", metadata), notes


def _check(path: Path, context: Context) -> None:
    """Raise NotApplicable when a tool lost a name or a dynamic axis, or the file fails at sizes nobody traced."""
    session = open_session(path)
    baseline = open_session(context.baseline.path)
    ours, theirs = _signature(session), _signature(baseline)
    for kind in ours:
        if ours[kind] != theirs[kind]:
            raise NotApplicable(f"its {kind} became {ours[kind]} where fp32 has {theirs[kind]}")
    for arrays in odd_sizes(read_split(context.dataset, "validation"), context.workload):
        for answer, fp32 in zip(session.run(None, arrays), baseline.run(None, arrays), strict=True):
            if answer.shape != fp32.shape:
                raise NotApplicable(
                    f"its answer for inputs of other sizes has shape {answer.shape} where fp32's has {fp32.shape}"
                )


def _signature(session: Any) -> dict[str, list[tuple[str, str, tuple[int | None, ...]]]]:
    """Names, types and fixed sizes; a dynamic axis is None whatever it is called."""
    return {
        kind: [(v.name, v.type, tuple(d if isinstance(d, int) else None for d in v.shape)) for v in values]
        for kind, values in (("inputs", session.get_inputs()), ("outputs", session.get_outputs()))
    }
