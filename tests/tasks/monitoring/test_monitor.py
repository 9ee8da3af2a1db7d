"""Served traffic against training data: a real server, rows recorded by it, and what follows from an alarm."""

import datetime
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import deployed
import digit_versions
import numpy as np
import promotions
import pytest
from checkout import ROOT

from tasks.data.dataset import read_split
from tasks.errors import UserError
from tasks.monitoring.monitor import Watched, monitor, new_rows, training_rows
from tasks.monitoring.traffic import read_traffic
from tasks.promotion.champion import promote
from tasks.promotion.verification import check_version, downloaded
from tasks.records import Candidate, Dataset
from tasks.registry.lookup import find_version
from tasks.registry.registry import Registry
from tasks.settings import load_settings

pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket.socket:ResourceWarning")
"""Prefect leaves a connection of a run done in this process to the collector."""
Digits = tuple[Dataset, Candidate]
Images = np.ndarray  # type: ignore[type-arg]


@pytest.fixture(scope="module")
def watched(
    linear_digits: Digits, empty_mlflow_database: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """A home whose registry has a champion of the digits."""
    folder = tmp_path_factory.mktemp("watched")
    shutil.copyfile(empty_mlflow_database, folder / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLIPWAY_HOME", str(folder))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        registry = Registry(load_settings())
        promote(registry, digit_versions.register(registry, *linear_digits), against=None, why="the first")
        yield folder


@pytest.fixture(scope="module")
def send(watched: Path) -> Iterator[Callable[[Images], None]]:
    """Ask a server that records everything; returns when the answers can be found in its record."""
    command = [sys.executable, "-m", "infra.serving", "digits@champion", "--port", "0", "--record", "1"]
    log = (watched / "server.log").open("wb")
    server = subprocess.Popen(
        [*command, "--home", str(watched)],
        stdout=subprocess.PIPE,
        stderr=log,
        cwd=ROOT,
        env=os.environ.copy(),
    )
    assert server.stdout is not None
    line = server.stdout.readline()
    assert line, (watched / "server.log").read_text()
    url = json.loads(line)["url"]

    def ask(images: Images) -> None:
        before = _recorded(watched)
        for start in range(0, len(images), 16):
            body = json.dumps({"inputs": {"image": images[start : start + 16].tolist()}}).encode()
            request = urllib.request.Request(f"{url}/invocations", body, {"Content-Type": "application/json"})
            urllib.request.urlopen(request).close()
        deadline = time.monotonic() + 120
        while _recorded(watched) < before + len(images) and time.monotonic() < deadline:
            time.sleep(0.5)
        assert _recorded(watched) == before + len(images)

    yield ask
    server.terminate()
    server.communicate(timeout=60)
    log.close()


def _recorded(home: Path) -> int:
    """Rows in the record."""
    table = read_traffic(home / "traffic" / "digits", datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC))
    return 0 if table is None else len(table)


@pytest.fixture(scope="module")
def images(linear_digits: Digits) -> Images:
    return np.array(read_split(linear_digits[0], "validation").inputs["image"])


def look() -> Watched:
    return monitor(load_settings(), "digits")


@pytest.mark.slow
def test_no_traffic_is_said_and_is_no_alarm(watched: Path) -> None:
    outcome = look()
    assert (
        outcome.status == "quiet"
        and "no traffic of digits was recorded in the last 24 h" in outcome.reasons[0]
    )
    assert "--record" in outcome.reasons[0] and outcome.volume.rows == 0


@pytest.mark.slow
def test_a_model_that_does_not_exist_is_a_sentence(watched: Path) -> None:
    with pytest.raises(UserError, match="There is no model 'fish'"):
        monitor(load_settings(), "fish")


def test_the_champion_is_held_against_its_own_arrays_and_not_those_of_newer_code(
    home: Path, linear_digits: Digits
) -> None:
    """The same rows by another inputs() have the same fingerprint, and a folder of their own."""
    dataset, _ = linear_digits
    for name in ("a", "b", "c"):
        folder = home / "datasets" / "digits" / f"{dataset.fingerprint[:16]}-{name}"
        shutil.copytree(dataset.folder, folder)
        evidence = promotions.make_evidence("c" * 64, "digits").model_copy(
            update={"fingerprint": dataset.fingerprint, "dataset": folder.name}
        )
        assert training_rows(load_settings(), evidence).folder == folder
    older = evidence.model_copy(update={"dataset": None})
    assert training_rows(load_settings(), older).fingerprint == dataset.fingerprint


@pytest.mark.slow
@pytest.mark.platform
def test_recorded_rows_like_the_training_rows_are_steady_and_others_are_an_alarm(
    watched: Path, send: Callable[[Images], None], images: Images
) -> None:
    send(images[:20])
    assert look().status == "quiet" and "20 rows were recorded" in look().reasons[0]

    send(images[20:])
    outcome = look()
    assert outcome.status == "steady", outcome.reasons
    assert (
        outcome.inputs is not None and len(outcome.inputs.columns) == 64 and outcome.predictions is not None
    )
    assert outcome.volume.rows == len(images) and outcome.volume.by_version == {"1": len(images)}
    assert outcome.volume.p50_ms is not None and outcome.volume.p50_ms > 0

    send(np.roll(images, 3, axis=3))  # a camera that was knocked aside
    outcome = look()
    assert outcome.status == "drifted" and "inputs drifted from the training rows" in outcome.reasons[0]
    assert outcome.inputs is not None and outcome.inputs.share > 0.3
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "monitor", "digits"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 3 and "drifted" in done.stdout and "image[" in done.stdout, done.stderr


@pytest.mark.slow
@pytest.mark.platform
def test_an_alarm_starts_retrain_and_reaches_the_webhook(
    watched: Path, send: Callable[[Images], None], images: Images, prefect_server: str
) -> None:
    from flows.monitor import monitor as flow
    from flows.promote import refuse
    from flows.retrain import retrain

    send(np.roll(images, 3, axis=3))
    with deployed.talking_to(prefect_server, watched):
        deployed.deploy(refuse, "refuse")
        maker = deployed.deploy(retrain, "digits", parameters={"workload": "digits"})
        with deployed.automated() as receiver:
            assert flow("digits").status == "drifted"
            told = receiver.wait_for("slipway.drift.alarm", "inputs drifted")
            [run] = deployed.wait_until(lambda: deployed.runs_of(maker), "nothing retrains")
    assert "digits: " in told["text"] and "inputs drifted from the training rows" in told["text"]
    assert run.parameters["workload"] == "digits" and run.state is not None and run.state.is_scheduled()


@pytest.mark.slow
def test_rows_that_no_version_was_made_of_are_new(watched: Path, linear_digits: Digits) -> None:
    registry = Registry(load_settings())
    champion = find_version(registry, "digits@champion")
    with downloaded(registry, champion) as folder:
        evidence = check_version(folder, champion)
    assert new_rows(registry, evidence) is None
    other = evidence.model_copy(update={"fingerprint": "0" * 64})
    fingerprint = new_rows(registry, other)
    assert fingerprint == linear_digits[0].fingerprint
    registry.tag_version(champion, {"slipway.data": fingerprint})
    assert new_rows(registry, other) is None
