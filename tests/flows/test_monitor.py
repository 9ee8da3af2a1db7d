"""What follows from an alarm: a retraining, and a word to whoever asked to be told."""

import shutil
from pathlib import Path

import deployed
import numpy as np
import promotions
import pytest
from watched_digits import recording_server, validation_images, watched_home

from flows.monitor import ask_for_rows, has_champion, monitor
from flows.promote import refuse
from flows.retrain import retrain
from tasks.promotion.manual import decline_version
from tasks.records import Candidate, Dataset
from tasks.registry.registry import Registry
from tasks.settings import load_settings

pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket.socket:ResourceWarning")
"""Prefect leaves a connection of a run done in this process to the collector."""


@pytest.mark.platform
def test_an_alarm_starts_retrain_and_reaches_the_webhook(
    linear_digits: tuple[Dataset, Candidate],
    empty_mlflow_database: Path,
    tmp_path: Path,
    prefect_server: str,
) -> None:
    with watched_home(tmp_path, empty_mlflow_database, *linear_digits), recording_server(tmp_path) as send:
        send(np.roll(validation_images(linear_digits[0]), 3, axis=3))
        with deployed.talking_to(prefect_server, tmp_path):
            deployed.deploy(refuse, "refuse")
            maker = deployed.deploy(retrain, "digits", parameters={"workload": "digits"})
            with deployed.automated() as receiver:
                assert monitor("digits").status == "drifted"
                told = receiver.wait_for("slipway.drift.alarm", "inputs drifted")
                asked = told["payload"]
                [run] = deployed.wait_until(lambda: deployed.runs_of(maker), "nothing retrains")
    assert (
        told["text"].startswith("digits version 1: ")
        and "inputs drifted from the training rows" in told["text"]
    )
    drifted = asked["inputs"][0]
    assert (
        (asked["version"], asked["status"]) == (1, "drifted")
        and drifted["drifted"]
        and drifted["psi"] >= 0.25
    )
    assert told["text"] == f"digits {run.parameters['reason']}", "the run says what it was started for"
    assert run.parameters["workload"] == "digits" and run.state is not None and run.state.is_scheduled()


@pytest.mark.slow
def test_a_model_that_was_deployed_is_watched_before_it_has_a_champion_without_a_failure(
    empty_mlflow_database: Path, home: Path, prefect_server: str
) -> None:
    home.mkdir()
    shutil.copyfile(empty_mlflow_database, home / "mlflow.db")
    with deployed.talking_to(prefect_server, home):
        state = monitor("churn", return_state=True)
    assert state.is_completed() and state.message == "churn has no champion yet: there is nothing to watch."


@pytest.mark.slow
def test_an_alias_on_a_refused_version_is_no_champion_and_its_rows_are_not_asked_for(
    linear_digits: tuple[Dataset, Candidate], empty_mlflow_database: Path, tmp_path: Path
) -> None:
    with watched_home(tmp_path, empty_mlflow_database, *linear_digits):
        registry = Registry(load_settings())
        assert has_champion("digits") and ask_for_rows.fn("digits") is None
        for model, version in (("digits", 2), ("toy", 1)):
            refused = promotions.register(registry, model, tmp_path, 2.0, "fail")
            decline_version(registry.settings, model, version, why="its sevens are wrong", who="ada")
            registry.set_alias(model, "champion", refused.version)
        assert ask_for_rows.fn("digits") is None, "version 1 serves on, and was made of these rows"
        assert not has_champion("toy")
