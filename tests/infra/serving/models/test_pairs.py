"""Two versions on the same rows: what is counted of them, what it may cost, and when the new one has to go."""

import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from infra.serving.models import pairs as module
from infra.serving.models.execution import About, Done, ObservedRequest
from infra.serving.models.pace import Pace
from infra.serving.models.pairs import (
    AFTERWARDS,
    BOUNDS,
    BURST,
    ENOUGH,
    MOST_A_SECOND,
    SHARE,
    WAITING,
    Pair,
    Pairs,
    agree,
)
from infra.serving.wire.problems import Problem
from infra.serving.wire.tensors import Outputs, RequestRows, Spec
from tasks.rollout.policy import Margins

SPEC = Spec((), ())


class Clock:
    """Time as the test has it; CPU time passes only where a version runs."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = self.used = 0.0
        patch.setattr(
            module, "time", SimpleNamespace(perf_counter=lambda: self.now, thread_time=lambda: self.used)
        )


class Version:
    """One that takes so many seconds of CPU time for a row, and says what it is told to say of row n: None is a failure."""

    def __init__(self, clock: Clock, seconds: Callable[[], float], says: Callable[[int], Any]) -> None:
        self.clock, self.seconds, self.says = clock, seconds, says
        self.pace = Pace(0.001, 0.001, 64)

    def run(self, group: list[RequestRows]) -> Outputs:
        self.clock.used += self.seconds()
        said = self.says(int(group[0].buffers[0][0]))
        if said is None:
            raise RuntimeError("it failed")
        return Outputs(SPEC, [np.array([said], np.float64)])


class Comparison:
    """Pairs of a new version and an old one, fed one request after another."""

    def __init__(self, clock: Clock, new: Version, old: Version, margin: Margins = BOUNDS) -> None:
        self.clock, self.reasons, self.noted = clock, list[str](), list[Pair]()
        self.new: Any = new
        self.old: Any = old
        self.pairs = Pairs(
            self.new, self.old, margin, lambda work, size, quick: work(), self._worse, self.noted.append
        )

    def _worse(self, pairs: Pairs, reason: str) -> None:
        self.reasons.append(reason)

    def ask(self, number: int, by_new: bool = False, pause: float = 1.0) -> None:
        """One request of one row, answered by the old version, or by the new one as a lane would have it."""
        self.clock.now += pause
        nobody: Any = None
        rows = RequestRows(1, (("O", ()),), ([b"%d" % number],), 8)
        about = About(b"", drawn=self.pairs if self.pairs.draw(self.clock.now) else None)
        request = ObservedRequest(about, rows, nobody, nobody, 0.0)
        fails = by_new and self.new.says(number) is None and self.old.says(number) is not None
        answering = self.new if by_new and not fails else self.old
        outputs: Any = Problem(500, "failed", "no")
        if answering.says(number) is not None:
            outputs = Outputs(SPEC, [np.array([answering.says(number)])])
        done = Done([request], answering, outputs, 0.0, self.new if fails else None)
        self.pairs.saw(done)
        if about.drawn:
            self.pairs.take(done, request, 0)

    def ask_until_it_goes(self, most: int, by_new: bool = False) -> int:
        for number in range(most):
            if self.reasons:
                return number
            self.ask(number, by_new)
        return most


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    random.seed(20261127)
    return Clock(monkeypatch)


def noisy(milliseconds: float) -> Callable[[], float]:
    """As CPU times are: half as long or half as long again, now and then."""
    dice = random.Random(7)
    return lambda: milliseconds / 1e3 * dice.lognormvariate(0, 0.25)


def right(number: int) -> Any:
    return [0.1, 0.9]


def test_a_version_twice_as_slow_goes_though_a_run_takes_a_millisecond(clock: Clock) -> None:
    worse = Comparison(clock, Version(clock, noisy(2.4), right), Version(clock, noisy(1.2), right))
    assert worse.ask_until_it_goes(1_000) < 100
    assert "slower" in worse.reasons[0] and len(worse.reasons) == 1


def test_a_version_as_good_stays_and_its_counts_say_what_was_seen(clock: Clock) -> None:
    same = Comparison(clock, Version(clock, noisy(1.2), right), Version(clock, noisy(1.2), right))
    assert same.ask_until_it_goes(3_000) == 3_000
    counts = same.pairs.counts
    assert counts.pairs == counts.timed == counts.agreed == 3_000 and counts.failed == counts.served == 0
    assert counts.requests == 0, "the old version answered them"


@pytest.mark.parametrize("by_new", [False, True])
def test_a_failure_counts_once_whoever_answered_and_three_at_least_revert(clock: Clock, by_new: bool) -> None:
    def breaks(number: int) -> Any:
        return None if number % 4 == 0 else [0.1, 0.9]

    margin = Margins(errors=0.002)
    worse = Comparison(clock, Version(clock, noisy(1), breaks), Version(clock, noisy(1), right), margin)
    asked = worse.ask_until_it_goes(1_000, by_new)
    counts, failures = worse.pairs.counts, len([n for n in range(asked) if n % 4 == 0])
    assert 3 * 3 <= asked < 60 and "errors" in worse.reasons[0]
    assert counts.rescued + counts.failed == failures >= 3
    assert counts.requests + counts.pairs - counts.served == asked
    assert (counts.rescued, counts.served) == ((failures, asked - 1) if by_new else (0, 0))


def test_what_neither_version_answers_is_no_failure_of_the_new_one(clock: Clock) -> None:
    bad = Comparison(
        clock, Version(clock, noisy(1), lambda n: None), Version(clock, noisy(1), lambda n: None)
    )
    assert bad.ask_until_it_goes(200, by_new=True) == 200
    assert bad.pairs.counts.failed == bad.pairs.counts.timed == 0


def test_an_answer_that_is_not_finite_is_a_failed_one(clock: Clock) -> None:
    nan = Comparison(clock, Version(clock, noisy(1), lambda n: [np.nan, 1]), Version(clock, noisy(1), right))
    for number in range(3):
        nan.ask(number)
    assert nan.pairs.counts.failed == 3


def test_pairs_take_no_more_than_their_share_of_a_cpu(clock: Clock) -> None:
    busy = Comparison(clock, Version(clock, noisy(5), right), Version(clock, noisy(5), right))
    for number in range(5_000):
        busy.ask(number, pause=0.004)
    learning = 8 * 0.03  # until it knows what a pair costs, which its pace did not say
    assert 0.8 * SHARE * clock.now < clock.used < BURST + SHARE * clock.now + learning


def test_of_a_quick_model_no_more_pairs_are_made_than_a_rollout_needs(clock: Clock) -> None:
    quick = Comparison(clock, Version(clock, noisy(0.01), right), Version(clock, noisy(0.01), right))
    for number in range(20_000):
        quick.ask(number, pause=0.0005)
    most = MOST_A_SECOND * (clock.now + BURST / SHARE)
    assert 0.9 * MOST_A_SECOND * clock.now < quick.pairs.counts.pairs <= most + 1


def test_beyond_what_a_rollout_needs_pairs_are_fewer(clock: Clock) -> None:
    quick = Comparison(clock, Version(clock, noisy(0.01), right), Version(clock, noisy(0.01), right))
    for before, most in ((0, MOST_A_SECOND), (ENOUGH, AFTERWARDS), (100 * ENOUGH, AFTERWARDS)):
        quick.pairs.counted["pairs"] = before
        quick.pairs.due = start = clock.now
        quick.pairs.cost = 0.0  # its pace says more, which it learns
        for number in range(4_000):
            quick.ask(number, pause=0.0005)
        pairs = quick.pairs.counts.pairs - before
        assert pairs == pytest.approx(most * (clock.now - start), rel=0.1)


def test_no_more_pairs_wait_than_their_number(clock: Clock) -> None:
    slow = Comparison(clock, Version(clock, noisy(1), right), Version(clock, noisy(1), right))
    waiting: list[Any] = []
    slow.pairs.aside = lambda work, size, quick: waiting.append(work)
    for number in range(2 * WAITING):
        slow.ask(number)
    assert len(waiting) == WAITING
    for work in waiting:
        work()
    slow.ask(0)
    assert len(waiting) == WAITING + 1


def test_what_waits_when_a_verdict_falls_is_neither_compared_nor_counted(clock: Clock) -> None:
    worse = Comparison(clock, Version(clock, noisy(1), lambda n: None), Version(clock, noisy(1), right))
    waiting: list[Any] = []
    worse.pairs.aside = lambda work, size, quick: waiting.append(work)
    for number in range(20):
        worse.ask(number)
    assert worse.pairs.counts.pairs == 0, "what has not been compared has not agreed"
    for work in waiting:
        work()
    counts = worse.pairs.counts
    assert len(worse.reasons) == 1 and counts.pairs == counts.failed < 10 and counts.agreed == 0
    assert worse.pairs.taken == worse.pairs.ended == 20


def test_of_a_batch_no_more_is_kept_for_a_pair_than_its_own_request(clock: Clock) -> None:
    same = Comparison(clock, Version(clock, noisy(1), right), Version(clock, noisy(1), right))
    kept: list[Any] = []
    same.pairs.aside = lambda work, size, quick: kept.append((work.args[0], size))
    nobody: Any = None
    rows = [RequestRows(n, (("O", ()),), ([b"1"] * n,), 8 * n) for n in (1, 2, 3)]
    requests = [ObservedRequest(About(b""), each, nobody, nobody, 0.0) for each in rows]
    done = Done(requests, same.old, Outputs(SPEC, [np.arange(6.0)]), 0.0)
    same.pairs.take(done, requests[1], 1)
    ((alone, size),) = kept
    (answer,) = alone.outputs.arrays
    assert (alone.requests, size, answer.tolist(), answer.base) == ([requests[1]], 16, [1.0, 2.0], None)


def test_a_comparison_ends_with_its_time(clock: Clock) -> None:
    watched = Comparison(clock, Version(clock, noisy(9), right), Version(clock, noisy(1), right))
    watched.pairs.until = 10.0
    assert watched.ask_until_it_goes(100) == 100
    assert watched.pairs.counts.pairs == 10


def test_both_answers_of_a_row_are_noted_with_who_said_what(clock: Clock) -> None:
    versions = Version(clock, noisy(1), lambda n: [n, 1.5]), Version(clock, noisy(1), lambda n: [2.5 - n, 1])
    both = Comparison(clock, *versions)
    for number, by_new in ((0, False), (0, True), (2, True)):
        both.ask(number, by_new)
    assert [pair.agreed for pair in both.noted] == [False, False, False]
    assert [pair.other.arrays[0][0].tolist() for pair in both.noted] == [[0, 1.5], [2.5, 1], [0.5, 1]]
    assert all(pair.row == 0 for pair in both.noted)


def test_answers_agree_by_class_by_words_or_within_a_hundredth() -> None:
    assert agree(np.array([0.1, 0.9]), np.array([0.4, 0.6])) and not agree(
        np.array([0.8, 0.2]), np.array([0.3, 0.7])
    )
    assert agree(np.array([100.0]), np.array([100.5])) and not agree(np.array(1.0), np.array(1.2))
    assert agree(np.array(["a"], object), np.array(["a"], object))
    assert not agree(np.array(["a"], object), np.array(["b"], object)) and not agree(np.zeros(2), np.zeros(3))
