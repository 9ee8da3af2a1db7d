"""How often a challenger says the same."""

import time
from typing import Any

import numpy as np
import pytest

from infra.serving.models import shadow as shadow_module
from infra.serving.models.counters import Numbers
from infra.serving.models.execution import Done, Request
from infra.serving.models.pace import Pace
from infra.serving.models.shadow import Shadow, agreement
from infra.serving.wire.tensors import Outputs, RequestRows, Spec


def test_agreement_is_by_class_or_within_a_hundredth() -> None:
    same, largest = agreement(np.array([[0.1, 0.9], [0.8, 0.2]]), np.array([[0.4, 0.6], [0.3, 0.7]]))
    assert same.tolist() == [True, False] and largest == pytest.approx(0.5)
    same, _ = agreement(np.array([[100.0], [1.0]]), np.array([[100.5], [1.2]]))
    assert same.tolist() == [True, False]


class Challenger:
    """A version that answers with zeros, or fails."""

    def __init__(self, version: str, fails: bool = False) -> None:
        self.release = type("Release", (), {"model": "m", "version": version})
        self.numbers = Numbers("m", version)
        self.pace = Pace(0.1, 0.1, 64)
        self.spec = Spec((), ())
        self.fails = fails

    def run(self, group: list[RequestRows]) -> Outputs:
        return Outputs(self.spec, ["no array"] if self.fails else [np.zeros((len(group), 1))])  # type: ignore[list-item]


def batch(version: Any, size: int = 8) -> Done:
    nobody: Any = None
    requests = [Request(RequestRows(1, (), (), size), nobody, nobody, 0.0)]
    return Done(requests, version, Outputs(version.spec, [np.zeros((1, 1))]), 0.5)


def settled(shadow: Shadow) -> None:
    while shadow.taken != shadow.done:
        time.sleep(0.001)


def test_what_was_counted_for_a_challenger_stays_when_another_comes_and_goes() -> None:
    first, second = Challenger("1"), Challenger("2")
    shadow = Shadow(first, 1.0)  # type: ignore[arg-type]
    for version in (first, second, first):
        shadow.swap(version)  # type: ignore[arg-type]
        shadow.saw(batch(version))
        settled(shadow)
    assert {version: numbers.rows for version, numbers in shadow.counted.items()} == {"1": 2, "2": 1}
    assert sum(shadow.counted["1"].latency.counts) == 2 and shadow.counted["1"].champion.total == 1.0


def test_a_comparison_that_fails_is_counted_and_the_next_is_made() -> None:
    shadow = Shadow(Challenger("1", fails=True), 1.0)  # type: ignore[arg-type]
    shadow.saw(batch(Challenger("0")))
    settled(shadow)
    shadow.loaded.fails = False  # type: ignore[attr-defined]
    shadow.saw(batch(Challenger("0")))
    settled(shadow)
    assert (shadow.numbers.failed, shadow.numbers.rows) == (1, 1) and shadow.thread.is_alive()


def test_what_waits_for_the_challenger_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadow_module, "MOST_BYTES", 100)
    shadow = Shadow(Challenger("1"), 1.0)  # type: ignore[arg-type]
    shadow.saw(batch(Challenger("0"), size=1000))
    settled(shadow)
    assert (shadow.numbers.dropped, shadow.numbers.rows) == (1, 0)
