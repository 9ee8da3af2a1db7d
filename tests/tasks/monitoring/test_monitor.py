"""Served traffic against training data: a real server and rows recorded by it."""

import datetime
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from checkout import ROOT
from recorded import request, write
from watched_digits import Images, Send, recording_server, validation_images, watched_home

from tasks.errors import UserError
from tasks.monitoring.monitor import monitor, new_rows
from tasks.monitoring.watched import Watched
from tasks.promotion.verification import check_version, downloaded
from tasks.records import Candidate, Dataset
from tasks.registry.lookup import find_version
from tasks.registry.registry import Registry
from tasks.settings import load_settings
from tasks.traffic.labels import Label, labels_of, write_labels

Digits = tuple[Dataset, Candidate]


@pytest.fixture(scope="module")
def watched(
    linear_digits: Digits, empty_mlflow_database: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """A home whose registry has a champion of the digits."""
    with watched_home(tmp_path_factory.mktemp("watched"), empty_mlflow_database, *linear_digits) as folder:
        yield folder


@pytest.fixture(scope="module")
def send(watched: Path) -> Iterator[Send]:
    """Ask a server that records everything; returns when the answers can be found in its record."""
    with recording_server(watched) as ask:
        yield ask


@pytest.fixture(scope="module")
def images(linear_digits: Digits) -> Images:
    return validation_images(linear_digits[0])


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


@pytest.mark.platform
def test_recorded_rows_like_the_training_rows_are_steady_and_others_are_an_alarm(
    watched: Path, send: Send, images: Images
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


@pytest.mark.slow
def test_labels_that_say_surely_worse_are_an_alarm_with_the_day_it_began(watched: Path) -> None:
    champion = find_version(Registry(load_settings()), "digits@champion")
    now = time.time()
    for days, right in ((3, 100), (2, 60)):
        at = now - days * 86_400
        write(watched, [request(champion, [row % 10], at + row, f"{days}-{row}") for row in range(300)])
        words = [row % 10 if row % 100 < right else (row + 1) % 10 for row in range(300)]
        labels = [Label(f"{days}-{row}", 0, str(word), at, at + 600) for row, word in enumerate(words)]
        write_labels(labels_of(watched, "digits"), labels)
    settings = load_settings()
    limits = settings.policy("digits").monitor.model_copy(update={"hours": 72.0})
    policy = settings.policy("digits").model_copy(update={"monitor": limits})
    outcome = monitor(settings.model_copy(update={"models": {"digits": policy}}), "digits")
    assert outcome.status == "worse" and outcome.alarming, outcome
    day = datetime.datetime.fromtimestamp(now - 2 * 86_400, datetime.UTC).date()
    assert outcome.performance is not None and outcome.performance.below_since == day
    assert (
        f"since {day}: 0.8" in outcome.reasons[0]
        and "600 of 600 rows that have a label" in outcome.reasons[0]
    )
