"""The parts of a checkup that look at a workload's model: built, trained for a step, exported, and asked."""

import re
from typing import Any

import numpy as np

from tasks.data.arrays import Samples
from tasks.data.dataset import read_split
from tasks.errors import UserError
from tasks.preflight.bench import Bench, Doubt
from tasks.system.sentences import some
from tasks.workloads.scoring import scores

Array = np.ndarray[Any, Any]

_FEW, _SOME = 7, 500


def look_at_model(bench: Bench) -> str:
    from tasks.training.footprint import without_footprint
    from tasks.training.given import name_of, signature_of, weights_of
    from tasks.training.module import predict_goals

    module = bench.module
    learned, frozen = weights_of(module)
    said = f"{name_of(module)}({', '.join(signature_of(module).parameters)}) with {learned:,} parameters"
    said += f" and {frozen:,} frozen ones" if frozen else ""
    few = read_split(bench.dataset, "train")[:2]
    with without_footprint(module):
        outputs = predict_goals(bench.workload, module, few.inputs)
    for goal, fitted in zip(bench.workload.goals, bench.dataset.fitted, strict=True):
        if (doubt := goal.answer.doubt([outputs[name].shape for name in goal.outputs], fitted)) is not None:
            raise Doubt(f"{said}; {doubt}.")
    return said


def look_at_score(bench: Bench) -> str:
    """The score as a run asks for it, of untrained answers and of the right ones: higher has to be better."""
    from tasks.training.module import predict_goals

    workload, rows = bench.workload, read_split(bench.dataset, "validation")[:_SOME]
    untrained = scores(workload, rows.truth, predict_goals(workload, bench.module, rows.inputs))
    sides = (_scores_of(bench, rows, side) for side in ("of_target", "wrong", "constant"))
    said, when = [], "before training" if bench.run.train is not None else "as it came"
    for goal, value, best, worst, constant in zip(workload.goals, untrained, *sides, strict=True):
        name = goal.metric.name
        if value != value:
            raise Doubt(
                f"{name} is not defined on {len(rows)} validation rows: a run would end there, so use more rows."
            )
        if best < worst:
            raise Doubt(
                f"{name} is {best:.4g} for the right answers and {worst:.4g} for wrong ones, and higher is taken for better: give score= "
                "its negative."
            )
        beside = (
            ""
            if constant != constant
            else f", and {round(constant, 9) + 0.0:.4g} for one and the same answer to all of them"
        )
        said.append(f"{name} is {value:.4g} {when}, on {len(rows)} validation rows{beside}")
        if re.search(r"(error|loss)$", name) and not name.startswith("neg"):
            raise Doubt(
                f"{said[-1]}, and is called {'an error' if name.endswith('error') else 'a loss'}: higher is taken for better, so give its negative, or a name that says so."
            )
    return "; ".join(said)


def _scores_of(bench: Bench, rows: Samples, side: str) -> tuple[float, ...]:
    """Each goal's score of the truth itself, or of what is far from it; NaN where a metric takes no such answers."""
    pairs = zip(bench.workload.goals, rows.targets, bench.dataset.fitted, strict=True)
    outputs = {
        name: getattr(goal.answer, side)(np.array(target), fitted).astype("float32")
        for goal, target, fitted in pairs
        for name in goal.outputs
    }
    try:
        return scores(bench.workload, rows.truth, outputs)
    except UserError:
        return (float("nan"),) * len(bench.workload.goals)


def look_at_step(bench: Bench) -> str:
    """One batch forward and backward, as training does it; a training of one's own is also killed once."""
    from tasks.preflight.kill import rehearse
    from tasks.training.dry_run import dry_run

    if (train := bench.run.train) is None:
        materials = ", ".join(map(str, bench.workload.materials(bench.run.model)))
        return f"nothing is trained (train=None): {materials} ships as it came"
    batch = dry_run(bench.module, bench.workload, bench.dataset, train)
    said = (
        f"a batch of {batch.rows} forward and backward in {batch.seconds * 1e3:.3g} ms, loss {batch.loss:.3g}"
    )
    if batch.without_gradient:
        raise Doubt(f"{said}; no gradient reaches {some(batch.without_gradient, 3)}: freeze or use them.")
    said += f"; {train.epochs} epochs take about {_duration(batch.seconds * batch.steps)}"
    if bench.workload.step is None and bench.workload.fit is None:
        return said
    try:
        return f"{said}; {rehearse(bench)}"
    except Doubt as doubt:
        raise Doubt(f"{said}; {doubt}") from None


def look_at_export(bench: Bench) -> str:
    from tasks.onnx.exporters import AS_IT_CAME
    from tasks.training.given import reference_of

    model = bench.onnx_model
    made = model.exporter if model.exporter == AS_IT_CAME else f"by {model.exporter}"
    whose = reference_of(bench.module).removesuffix("'s")
    said = f"{model.size_bytes / 1e3:,.0f} kB of ONNX {made}, opset {model.opset}, agrees with {whose} at odd sizes"
    if model.findings:
        raise Doubt(f"{said}; {some(model.findings, 3)}")
    return said


def look_at_answer(bench: Bench) -> str:
    """The exported bytes, with the server's session, on the request that is shown; the server puts rows of many in a batch."""
    from tasks.onnx.session import open_session

    session = open_session(bench.onnx_model.path)
    rows = read_split(bench.dataset, "validation").inputs
    names = [value.name for value in session.get_outputs()]

    def ask(count: int) -> dict[str, Array]:
        return dict(
            zip(names, session.run(None, {n: np.array(a[:count]) for n, a in rows.items()}), strict=True)
        )

    alone, among = ask(1), ask(_FEW)
    for name, array in alone.items():
        if array.dtype.kind != "f":
            continue
        if not np.isfinite(array).all():
            raise UserError(
                f"the answer to a real row has NaN or infinity in {name}: look for a division or a log of 0."
            )
        if not np.allclose(array[0], among[name][0], rtol=1e-3, atol=1e-4):
            raise UserError(
                f"a row's {name} changes with the rows that come with it: take means over a row, not over the batch."
            )
    return "a request with one real row gets " + ", ".join(f"{n} {list(a.shape)}" for n, a in alone.items())


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
