"""What is asked in production against what the champion was trained on: is it still the same world?"""

import datetime
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from tasks.config import Data
from tasks.data.arrays import Arrays
from tasks.data.dataset import data_fingerprint, read_split
from tasks.monitoring.drift import drift
from tasks.monitoring.performance import performance
from tasks.monitoring.traffic import columns, outputs, served_columns, trained_inputs, volume
from tasks.monitoring.watched import Drift, Performance, Status, Watched
from tasks.onnx.session import open_session, run_named
from tasks.promotion.permits import find_serving
from tasks.promotion.verification import check_version, downloaded
from tasks.proof.evidence import MODEL, Evidence
from tasks.proof.rows import rows_of
from tasks.records import Dataset, Fitted
from tasks.registry.registry import Registry
from tasks.registry.tags import DATA_TAG
from tasks.settings import Limits, Settings
from tasks.traffic.requests import read_traffic, traffic_of
from tasks.workloads.catalogue import load_workload
from tasks.workloads.scoring import decisions
from tasks.workloads.workload import Workload

_REFERENCE_ROWS = 2_000

_SHOWN = 3


def monitor(settings: Settings, model: str) -> Watched:
    """The champion's recorded traffic against its training rows, and its answers against those on its test rows.

    Raises UserError for a model without a champion, StepError when its training rows are no longer to be had.
    """
    registry, limits = Registry(settings), settings.policy(model).monitor
    champion = find_serving(registry, model)
    now = datetime.datetime.now(datetime.UTC)
    table = read_traffic(traffic_of(settings.home, model), now - datetime.timedelta(hours=limits.hours))
    with downloaded(registry, champion) as folder:
        evidence = check_version(folder, champion)
        labelled = performance(settings, model, champion.version, evidence, now)
        inputs = answers = None
        said = _silence(model, limits, table)
        if table is not None and len(table) >= limits.min_rows:
            dataset = rows_of(evidence, settings.home / "datasets")
            trained, specs = trained_inputs(dataset)
            served = served_columns(table, specs)
            inputs = drift(columns(trained, specs), served, psi=limits.psi, p_value=limits.p_value)
            answers = _answers(table, evidence, dataset, (folder / MODEL).read_bytes(), limits)
            said = _all_well(inputs, answers, len(table))
    drifted = () if inputs is None else tuple(_reasons(inputs, answers, limits))
    status, why = _verdict(drifted, labelled, limits)
    if status == "steady":
        status, why = "quiet" if inputs is None else "steady", said
    return Watched(
        model=model,
        workload=evidence.workload,
        version=champion.version,
        status=status,
        reasons=(*((why,) if why else ()), *drifted),
        hours=limits.hours,
        volume=volume(table),
        inputs=inputs,
        predictions=answers,
        performance=labelled,
    )


def _verdict(drifted: Sequence[str], labelled: Performance | None, limits: Limits) -> tuple[Status, str]:
    """What labels make of a shift: harm where the score is surely lower too, none where enough of them say that it is not."""
    enough = (
        labelled is not None and labelled.labelled >= limits.min_rows and labelled.coverage >= limits.labelled
    )
    if labelled is None or not enough:
        return ("drifted" if drifted else "steady"), ""
    said = f"{labelled.score:.4f} on {labelled.labelled} of {labelled.rows} rows that have a label, {labelled.proof:.4f} was proved"
    if labelled.below_since is not None:
        return (
            "worse",
            f"the score is surely below the proof by more than {labelled.margin:g} since {labelled.below_since}: {said}",
        )
    if drifted and labelled.lower:
        return "drifted", f"the score is surely lower than the proof: {said}"
    return ("shifted" if drifted else "steady"), f"no harm is seen: {said}" if drifted else ""


def new_rows(registry: Registry, evidence: Evidence) -> str | None:
    """The fingerprint of what the workload loads now, if no version has been made of it; else None."""
    workload, config = load_workload(evidence.workload), Data.model_validate(evidence.config["data"])
    fingerprint = data_fingerprint(workload, config, registry.settings.home / "datasets")
    if fingerprint == evidence.fingerprint or registry.by_tag(evidence.model, DATA_TAG, fingerprint):
        return None
    return fingerprint


def _answers(
    table: pa.Table, evidence: Evidence, dataset: Dataset, model: bytes, limits: Limits
) -> Drift | None:
    """The champion's own answers against what its bytes say of test rows; None when it has answered too few."""
    own = table.filter(pc.equal(table["digest"], evidence.model_sha256))
    if len(own) < limits.min_rows:
        return None
    rows = read_split(dataset, "test")
    workload, most = load_workload(evidence.workload), min(len(rows), _REFERENCE_ROWS)
    expected = run_named(open_session(model), rows.inputs, workload.served, rows=most)
    given = outputs(own, expected)
    said = [_watched(workload, answers, dataset.fitted) for answers in (expected, given)]
    return drift(*said, psi=limits.psi, p_value=limits.p_value)


def _watched(workload: Workload, outputs: Arrays, fitted: tuple[Fitted, ...]) -> Arrays:
    """Of each goal's answers what is held against those of the test rows, [n], by name."""
    pairs = zip(workload.goals, decisions(workload, outputs, fitted), strict=True)
    return {
        "prediction" if place == 0 else f"prediction of {goal.outputs[0]}": goal.answer.watched(answer)
        for place, (goal, answer) in enumerate(pairs)
    }


def _reasons(inputs: Drift, answers: Drift | None, limits: Limits) -> Iterator[str]:
    """Why to worry, or nothing."""
    if inputs.share > limits.share:
        worst = ", ".join(f"{column.name} (PSI {column.psi:.2f})" for column in inputs.drifted[:_SHOWN])
        yield (
            f"{len(inputs.drifted)} of {len(inputs.columns)} inputs drifted from the training rows, "
            f"over the {limits.share:.0%} allowed; most of all {worst}"
        )
    if answers is not None and answers.drifted:
        yield f"the answers drifted from those on the test rows (PSI {answers.drifted[0].psi:.2f})"


def _all_well(inputs: Drift, answers: Drift | None, rows: int) -> str:
    said = "the answers are as on the test rows"
    if answers is None:
        said = "too few answers are the champion's own to compare"
    return f"{rows} rows: {len(inputs.drifted)} of {len(inputs.columns)} inputs drifted, {said}"


def _silence(model: str, limits: Limits, table: pa.Table | None) -> str:
    if table is None:
        return (
            f"no traffic of {model} was recorded in the last {limits.hours:g} h: "
            f"`slipway serve {model}@champion --record 0.1` records a tenth of it"
        )
    return f"{len(table)} rows were recorded in the last {limits.hours:g} h; {limits.min_rows} are needed to say anything"
