"""A model's place in a worker: one version follows another, and who looks on is known beforehand."""

import asyncio
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from infra.serving.models.counters import Numbers
from infra.serving.models.slot import Observers, Slot
from infra.serving.options import ServeOptions
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


def test_nobody_looks_on_but_lanes_comparisons_that_go_on_and_a_record_that_takes_a_share(
    tmp_path: Path,
) -> None:
    nothing: Any = None
    slot: Any = Slot("digits", ServeOptions(home=tmp_path), nothing, nothing)
    assert slot.observers is None
    lane: Any = SimpleNamespace()
    watch: Any = SimpleNamespace(saw=lambda done: None, over=False)
    recorder: Any = SimpleNamespace(share=0.0, saw=lambda done: None)
    slot.recorder = recorder
    assert slot.observers is None, "it has only a rollout's pairs to write"
    recorder.share = 0.5
    slot.recorder, slot.watch = recorder, watch
    assert slot.observers == Observers(None, watch, recorded=True)
    before = slot.observers
    slot.lane = lane
    assert slot.observers == Observers(lane, watch, recorded=True) is not before
    slot.lane, slot.recorder = None, None
    done: Any = SimpleNamespace(rescued_from=None, requests=())
    slot.ran(done)
    assert slot.observers == Observers(None, watch, recorded=False)
    watch.over = True
    slot.ran(done)
    assert slot.observers is None
