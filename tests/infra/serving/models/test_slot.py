"""A model's place in a worker, where one version follows another."""

import asyncio
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from infra.serving.models.counters import Numbers
from infra.serving.models.slot import Slot
from infra.serving.telemetry.metrics import Metrics
from infra.serving.wire.budget import Budget


def loaded(number: str) -> Any:
    return SimpleNamespace(release=SimpleNamespace(version=number), numbers=Numbers("digits", number))


def test_what_a_version_was_counted_stays_when_another_serves_and_goes_on_when_it_serves_again(
    tmp_path: Path,
) -> None:
    options, board = SimpleNamespace(max_wait=0.0, timeout=1.0), Any
    with closing(asyncio.new_event_loop()) as loop:
        slot = Slot("digits", options, loop, Budget(1))  # type: ignore[arg-type]
        for version in map(
            loaded, ("1", "2", "1")
        ):  # the last is loaded anew, as after a restart of its loading
            slot.swap(version)
            version.numbers.answered(200)
            version.numbers.latency.add(0.002)
        counted = Metrics({"digits": slot}, board, tmp_path, 0).versions()  # type: ignore[arg-type]
    assert {entry["version"]: sum(entry["latency"]["counts"]) for entry in counted} == {"1": 2, "2": 1}
    assert [entry["answers"] for entry in counted] == [{"200": 2}, {"200": 1}]
