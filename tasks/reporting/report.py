"""Evidence → one HTML page worth reading: the verdict and its reasons first, then all that it rests on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from tasks.config import Gates, flatten
from tasks.data.arrays import load_arrays
from tasks.data.dataset import read_split
from tasks.measured import Interval, Proof, speed_up
from tasks.outcome import Selection
from tasks.proof.evidence import Evidence
from tasks.records import Dataset, Metric
from tasks.reporting import charts, cost, pareto, trainings
from tasks.reporting.explained_rows import Attributions
from tasks.reporting.explanation import STABLE
from tasks.reporting.templates import pages_environment
from tasks.reporting.why import why
from tasks.system.files import write_atomically
from tasks.workloads.catalogue import load_workload
from tasks.workloads.scoring import decisions
from tasks.workloads.workload import Workload


def write_report(
    evidence: Evidence,
    dataset: Dataset,
    selection: Selection,
    metrics: Sequence[Metric],
    path: Path,
    links: dict[str, str] | None = None,
    attributions: Attributions | None = None,
    approval: str = "auto",
) -> Path:
    """Write the page to `path`: one file that needs no other. `links` are further addresses by name (run, flow); `approval`: as mlflow.yaml has it."""
    gates = Gates.model_validate(evidence.config["gates"])
    proof = evidence.proof
    template = pages_environment().get_template("report.html.j2")
    page = template.render(
        evidence=evidence,
        proof=proof,
        gates=gates,
        selection=selection,
        why=why(evidence, approval),
        spreads={report.name: speed_up(report) for report in evidence.candidates},
        dataset=dataset,
        balance=_balance(load_workload(evidence.workload), dataset),
        links=links or {},
        settings=_settings(evidence.config),
        cost=cost.total(evidence.times),
        energy=cost.watts_a_cpu(),
        thousand=cost.a_thousand_predictions(proof),
        watt_hours=cost.watt_hours,
        attributions=attributions,
        asked=STABLE,
        pictures=_pictures(evidence, dataset, selection, metrics, gates, attributions),
    )
    write_atomically(path, page.encode())
    return path


def _pictures(
    evidence: Evidence,
    dataset: Dataset,
    selection: Selection,
    metrics: Sequence[Metric],
    gates: Gates,
    attributions: Attributions | None,
) -> dict[str, str]:
    """Every picture that there is something to show in, as safe markup by name."""
    proof, report = evidence.proof, evidence.proof.report
    drawn = {
        "pareto": pareto.picture(selection.candidates, report.score_name)
        if len(selection.candidates) > 1
        else "",
        "scores": charts.scores(_scores(proof), report.score_name),
        "slices": charts.slices(report.slices, report.score, report.score_name) if report.slices else "",
        "curves": charts.curves(metrics, report.score_name) if metrics else "",
        "trainings": trainings.picture(evidence.searched, report.score_name) if evidence.searched else "",
        "errors": _errors(evidence, dataset),
        "weights": attributions.picture if attributions is not None else "",
    }
    if proof.comparison is not None and proof.comparison.slices:
        drawn["differences"] = charts.differences(proof.comparison.slices, gates.slice_margin)
    return {name: Markup(svg) for name, svg in drawn.items() if svg}


def _scores(proof: Proof) -> list[tuple[str, float, Interval | None]]:
    rows = [(f"{proof.report.name} (this version)", proof.report.score, proof.report.interval)]
    if proof.baseline.name != proof.report.name:
        rows.append((f"{proof.baseline.name}, uncompressed", proof.baseline.score, proof.baseline.interval))
    if proof.comparison is not None and proof.comparison.score is not None:
        rows.append((f"champion v{proof.comparison.champion}", proof.comparison.score, None))
    return rows


def _errors(evidence: Evidence, dataset: Dataset) -> str:
    """The confusion matrix, or predicted against true; nothing when the outputs are not kept any more."""
    report = evidence.proof.report
    if report.outputs is None or not report.outputs.exists():
        return ""
    workload, samples = load_workload(evidence.workload), read_split(dataset, report.split)
    answer = decisions(workload, load_arrays(report.outputs), dataset.fitted)[0]
    pairs = workload.goals[0].answer.pairs(samples.target, answer, dataset.fitted[0])
    if pairs.words:
        return charts.confusion(pairs.truth, pairs.said, pairs.words)
    return charts.residuals(pairs.truth, pairs.said) if len(pairs.truth) else ""


def _balance(workload: Workload, dataset: Dataset) -> list[tuple[str, list[int]]]:
    """Rows of each class by split, of all goals that have classes."""
    rows: dict[str, list[int]] = {}
    for split in dataset.rows:
        targets = read_split(dataset, split).targets
        for goal, target, fitted in zip(workload.goals, targets, dataset.fitted, strict=True):
            for word, count in goal.target.counts(target, fitted):
                rows.setdefault(word, []).append(count)
    return list(rows.items())


def _settings(config: dict[str, Any]) -> dict[str, str]:
    """Nested knobs as dotted names; recipes have a table of their own."""
    knobs = flatten({name: value for name, value in config.items() if name != "recipes"})
    return {name: "–" if value == "null" else value for name, value in knobs.items()}
