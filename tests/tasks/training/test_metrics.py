"""The metrics log: exactly once through kills, cut lines, full disks and a tracking server that is away."""

import errno
import os
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.errors import StepError
from tasks.records import Metric
from tasks.training.metrics import MetricsLog, Publisher, read_metrics


def points(metrics: Sequence[Metric]) -> list[tuple[str, int, float]]:
    return [(metric.key, metric.step, metric.value) for metric in metrics]


def fill(path: Path, first: int, last: int) -> None:
    with MetricsLog(path) as metrics:
        for step in range(first, last + 1):
            metrics.add({"train/loss": 1 / step, "train/lr": 0.1}, step)
        metrics.sync()


def test_a_step_that_is_in_the_log_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    fill(path, 1, 10)
    before = path.read_bytes()
    fill(path, 6, 12)
    assert path.read_bytes().startswith(before)
    assert points(read_metrics(path))[::2] == [("train/loss", step, 1 / step) for step in range(1, 13)]


def test_what_was_noted_and_not_synced_is_not_in_the_log(tmp_path: Path) -> None:
    with MetricsLog(tmp_path / "metrics.jsonl") as metrics:
        metrics.add({"a": 1.0}, 1)
        assert (len(metrics), read_metrics(metrics.path)) == (1, [])
        assert metrics.sync() == 1
        assert points(read_metrics(metrics.path)) == [("a", 1, 1.0)]


@given(st.integers(0, 600), st.binary(max_size=20), st.integers(1, 10))
@settings(max_examples=60, deadline=None)
def test_a_log_cut_anywhere_is_continued_without_gap_or_double(
    length: int, rest: bytes, resumed: int
) -> None:
    """A crash leaves any part of the log and may leave rubbish after it; a resumed training repeats its steps."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "metrics.jsonl"
        fill(path, 1, 6)
        path.write_bytes(path.read_bytes()[:length] + rest)
        survived = [metric.step for metric in read_metrics(path) if metric.key == "train/lr"]
        fill(path, min(resumed, len(survived) + 1), 12)
        assert sorted(points(read_metrics(path))) == sorted(
            point
            for step in range(1, 13)
            for point in [("train/loss", step, 1 / step), ("train/lr", step, 0.1)]
        )


@given(st.lists(st.floats(), max_size=8))
@settings(max_examples=40, deadline=None)
def test_every_number_comes_back_to_the_last_bit(values: list[float]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        with MetricsLog(Path(folder) / "metrics.jsonl") as metrics:
            for step, value in enumerate(values):
                metrics.add({"a": value}, step)
            metrics.sync()
        assert [repr(metric.value) for metric in read_metrics(metrics.path)] == list(map(repr, values))


def test_a_full_disk_leaves_no_half_line_and_keeps_what_was_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with MetricsLog(tmp_path / "metrics.jsonl") as metrics:
        metrics.add({"a": 1.0}, 1)
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(StepError, match=r"No space for metrics in .*: at least \d+ bytes are needed"):
                metrics.sync()
        assert metrics.path.read_bytes() == b""
        metrics.add({"a": 2.0}, 2)
        assert metrics.sync() == 2
    assert points(read_metrics(metrics.path)) == [("a", 1, 1.0), ("a", 2, 2.0)]


class Server:
    """A tracking server that keeps identical tuples once, as MLflow's does, and is away when told so."""

    def __init__(self, log: Path) -> None:
        self.away = False
        self.calls = 0
        self.kept: set[Metric] = set()
        self.log = log

    def __call__(self, batch: Sequence[Metric]) -> None:
        self.calls += 1
        assert len(batch) <= 1000
        assert set(batch) <= set(read_metrics(self.log)), "published before it was on the disk"
        if self.away:
            raise ConnectionError("refused")
        self.kept |= set(batch)


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_metrics_reach_the_server_while_training_goes_on(tmp_path: Path) -> None:
    server = Server(tmp_path / "metrics.jsonl")
    with MetricsLog(server.log) as metrics, Publisher(metrics, server, seconds=0.01):
        metrics.add({"a": 1.0}, 1)
        wait_until(lambda: len(server.kept) == 1)
        metrics.add({"a": 2.0}, 2)
    assert sorted(points(list(server.kept))) == [("a", 1, 1.0), ("a", 2, 2.0)]


def test_what_a_server_missed_is_delivered_when_it_is_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server(tmp_path / "metrics.jsonl")
    server.away = True
    with MetricsLog(server.log) as metrics, Publisher(metrics, server, seconds=0.01):
        for step in range(2500):
            metrics.add({"a": 1.0}, step)
        wait_until(lambda: server.calls > 2)
        server.away = False
    assert len(server.kept) == 2500
    assert "training goes on: ConnectionError: refused" in caplog.text


def test_a_server_that_stays_away_is_reported_and_the_next_run_delivers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    server = Server(tmp_path / "metrics.jsonl")
    server.away = True
    with MetricsLog(server.log) as metrics, Publisher(metrics, server):
        metrics.add({"a": 1.0}, 1)
    assert f"1 metrics were not delivered (refused): they are in {server.log}" in caplog.text
    server.away = False
    with MetricsLog(server.log) as metrics, Publisher(metrics, server):
        pass
    assert points(list(server.kept)) == [("a", 1, 1.0)]


def test_a_server_that_hangs_does_not_keep_training_from_ending(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.training.metrics.SECONDS_TO_DELIVER", 0.2)
    answer = threading.Event()
    with (
        MetricsLog(tmp_path / "metrics.jsonl") as metrics,
        Publisher(metrics, lambda batch: bool(answer.wait()) and None, seconds=0.01),
    ):
        metrics.add({"a": 1.0}, 1)
    assert "1 metrics were not delivered (no answer in time)" in caplog.text
    answer.set()
