"""Cells: few rows, so what a score is worth has to be said."""

import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tasks.config import Data, Gates
from tasks.data.dataset import prepare
from tasks.data.schema import load_valid
from tasks.errors import UserError
from tasks.measured import CrossValidation, Interval, Proof, Report, Verdict
from tasks.proof.cross_validation import cross_validate
from tasks.proof.gate import with_cross_validation
from tasks.records import Dataset
from tasks.workloads.examples.cells import load_frame, to_inputs, workload
from tasks.workloads.examples.flights import workload as flights


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return prepare("cells", Data(), tmp_path_factory.mktemp("cells"))


@pytest.mark.slow
def test_700_cells_come_as_log_counts_of_765_genes_and_ten_types(dataset: Dataset) -> None:
    frame = load_frame()
    assert frame.shape == (700, 766) and len(dataset.classes or ()) == 10
    genes = to_inputs(frame)["genes"]
    assert genes.min() == 0 and (genes > 0).mean() == pytest.approx(174_400 / 700 / 765)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_logistic_regression_lies_within_its_interval_or_below(dataset: Dataset, tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    validated = cross_validate("cells", dataset, workload.train, workload.gates, tmp_path)
    assert (
        validated.folds == 5
        and validated.rows == 700
        and len(validated.scores) == 5
        and validated.interval is not None
    )
    frame = load_frame()
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    genes, types = to_inputs(frame)["genes"], frame["cell_type"]
    linear = cross_val_score(LogisticRegression(max_iter=500), genes, types, cv=folds).mean()
    assert linear < validated.interval.high
    assert validated.interval.high - validated.interval.low > 0.04


@pytest.mark.slow
def test_no_row_is_predicted_by_a_training_that_saw_it(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tasks.proof.cross_validation as module

    seen: list[set[bytes]] = []
    fit, predict = module.fit, module.predict_goals

    def watched_fit(net, learn, choose, *rest, **more):  # type: ignore[no-untyped-def]
        seen.append({row.tobytes() for rows in (learn, choose) for row in rows.inputs["genes"]})
        return fit(net, learn, choose, *rest, **more)

    def watched_predict(workload, net, inputs):  # type: ignore[no-untyped-def]
        assert not seen[-1] & {row.tobytes() for row in inputs["genes"]}
        return predict(workload, net, inputs)

    monkeypatch.setattr(module, "fit", watched_fit)
    monkeypatch.setattr(module, "predict_goals", watched_predict)
    quick = workload.train.model_copy(update={"epochs": 1, "batch_size": 256})
    cross_validate("cells", dataset, quick, Gates(folds=2), tmp_path)
    assert len(seen) == 2


@pytest.mark.slow
def test_a_fold_on_which_the_score_is_not_defined_is_left_out(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def picky(target, answers):  # type: ignore[no-untyped-def]
        if len(target) == 350:
            raise ValueError("one class only")
        return float((target == answers).mean())

    own = replace(workload, score=picky)
    monkeypatch.setattr("tasks.proof.cross_validation.load_workload", lambda _: own)
    quick = workload.train.model_copy(update={"epochs": 1, "batch_size": 256})
    validated = cross_validate("cells", dataset, quick, Gates(folds=2), tmp_path)
    assert validated.scores == () and 0 < validated.score < 1 and validated.describe().endswith("2 folds")
    assert CrossValidation.model_validate_json(validated.model_dump_json()) == validated


def cross(low: float, high: float) -> CrossValidation:
    interval = Interval(low=low, high=high, level=0.95)
    middle = (low + high) / 2
    return CrossValidation(
        folds=2, rows=100, score=middle, score_name="accuracy", interval=interval, scores=(low, high)
    )


@pytest.mark.parametrize(
    ("validated", "decision", "reason"),
    [
        (
            cross(0.8, 0.9),
            "pass",
            "cross-validated accuracy 0.8500 .95% interval 0.8000 to 0.9000. on all 100 rows",
        ),
        (cross(0.7, 0.8), "inconclusive", "cannot tell whether it is above the minimum of 0.75"),
        (cross(0.5, 0.6), "fail", "surely below the minimum of 0.75"),
    ],
)
def test_what_too_few_rows_cannot_tell_is_inconclusive(
    validated: CrossValidation, decision: str, reason: str
) -> None:
    report = Report(
        name="fp32", split="test", rows=140, score=0.9, score_name="accuracy", sha256="", size_bytes=1
    )
    proof = Proof(report=report, baseline=report, verdict=Verdict(decision="pass", reasons=()))
    verdict = with_cross_validation(proof, validated, Gates(min_score=0.75)).verdict
    assert verdict.decision == decision
    assert re.search(reason, verdict.reasons[-1])


def test_folds_of_rows_in_time_are_refused() -> None:
    run = flights.defaults()
    with pytest.raises(
        UserError, match="gates.folds=5 cannot be, for its rows are in time: set gates.folds=0"
    ):
        flights.check(run.model_copy(update={"gates": Gates(folds=5)}))


def test_an_absent_package_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(
        UserError, match=r"'h5py', which reads cells, is not installed: pip install 'slipway\[cells\]'"
    ):
        load_frame()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"HES4": "HES-4"},
            "there is no column 'HES4' .is it 'HES-4' now..; column 'HES-4' is not in the schema",
        ),
        ({"HES4": "ENSG7"}, "there is no column 'HES4'; column 'ENSG7' is not in the schema"),
    ],
)
def test_a_renamed_gene_is_refused_by_its_name(change: dict[str, str], message: str) -> None:
    renamed = replace(workload, load=lambda: load_frame().rename(columns=change))
    with pytest.raises(UserError, match=message) as caught:
        load_valid(renamed, Data())
    assert caught.value.exit_code == 2 and len(str(caught.value)) < 300


def test_genes_are_told_by_their_names_and_not_by_their_order() -> None:
    frame = load_frame().head(2)
    assert (to_inputs(frame[frame.columns[::-1]])["genes"] == to_inputs(frame)["genes"]).all()
    with pytest.raises(UserError, match="have no gene 'HES4'"):
        to_inputs(frame.drop(columns="HES4"))


@pytest.mark.slow
def test_a_type_that_is_a_number_is_refused() -> None:
    numbered = replace(workload, load=lambda: load_frame().assign(cell_type=np.arange(700) % 10))
    with pytest.raises(UserError, match="cell_type"):
        load_valid(numbered, Data())
