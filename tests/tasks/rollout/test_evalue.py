"""The kernel: fair to the last digit, the same in any order and from any number of processes, and what an oracle says."""

import math
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
import ville
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.rollout.counts import Counts, LabelCounts
from tasks.rollout.evalue import Seen, Side, interval, log_wealth, planned
from tasks.rollout.guards import Bet, bets
from tasks.rollout.policy import Margins

ASKED = [*bets(Margins(), Counts(), LabelCounts())]
"""Both questions of every guard, as decisions ask them."""

every_bet = pytest.mark.parametrize("bet", ASKED, ids=lambda bet: f"{bet.guard}-{bet.question}")


def outcomes(values: tuple[float, ...], shares: tuple[float, ...], rows: int) -> Iterator[tuple[float, Seen]]:
    """Every way in which so many rows can come, with its probability."""
    if len(values) == 1:
        yield shares[0] ** rows, {values[0]: rows}
        return
    for first in range(rows + 1):
        chance = math.comb(rows, first) * shares[0] ** first
        for rest, seen in outcomes(values[1:], shares[1:], rows - first):
            yield chance * rest, {values[0]: first, **seen}


def truths(values: tuple[float, ...], mean: float) -> list[tuple[float, ...]]:
    """Shares of the values whose mean is `mean`."""
    if len(values) == 2:
        return [(1 - mean, mean)]
    return [((s - mean) / 2, 1 - s, (s + mean) / 2) for s in (max(abs(mean), 1e-3), 0.07, 0.9)]


@every_bet
@pytest.mark.parametrize("rows", [1, 7, 60])
def test_nobody_wins_on_average_where_the_truth_is_the_bound(bet: Bet, rows: int) -> None:
    for shares in truths(tuple(bet.seen), bet.mean):
        ways = list(outcomes(tuple(bet.seen), shares, rows))
        wealth = [chance * math.exp(log_wealth(seen, bet.mean, bet.side)) for chance, seen in ways]
        assert math.fsum(wealth) == pytest.approx(1, abs=1e-12)


@every_bet
def test_who_bets_on_what_is_not_so_loses_on_average(bet: Bet) -> None:
    wrong = bet.mean + (0.001 if bet.side == "below" else -0.001)
    for shares in truths(tuple(bet.seen), wrong):
        ways = outcomes(tuple(bet.seen), shares, 40)
        assert math.fsum(p * math.exp(log_wealth(seen, bet.mean, bet.side)) for p, seen in ways) < 1


@every_bet
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_it_is_what_ville_makes_of_the_same_bets_in_any_order(bet: Bet, data: st.DataObject) -> None:
    """ville's betting test with bets cut off at a share of the largest is a fixed bet where alpha asks for more than that."""
    stream = data.draw(st.lists(st.sampled_from(sorted(bet.seen)), min_size=1, max_size=200))
    alternative = "greater" if bet.side == "above" else "less"
    log_wealths = [
        ville.BettingTest(bet.mean, (min(bet.seen), max(bet.seen)), alternative, alpha=5e-324, c=0.9 / 2**k)
        .fit(np.array(stream))
        .log_e_values_[-1]
        for k in range(8)
    ]
    seen = {value: stream.count(value) for value in bet.seen}
    theirs = math.log(ville.evalues.combine(np.exp(log_wealths), "mean"))
    assert log_wealth(seen, bet.mean, bet.side) == pytest.approx(theirs, rel=1e-12, abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50), st.integers(0, 3)), min_size=2, max_size=9),
    st.randoms(),
)
def test_processes_that_saw_parts_say_together_what_the_stream_says(
    parts: list[tuple[int, int, int]], order: object
) -> None:
    lives = [Counts(requests=n, rescued=k, pairs=m + k, failed=k) for n, m, k in parts if k <= n]
    shuffled = sorted(lives, key=lambda _: order.random())  # type: ignore[attr-defined]
    both = [sum(some, Counts()) for some in (lives, shuffled)]
    logs = [log_wealth(b.seen, b.mean, b.side) for all_ in both for b in bets(Margins(), all_, LabelCounts())]
    assert both[0] == both[1] and logs[: len(logs) // 2] == logs[len(logs) // 2 :]


def test_arrays_of_counts_are_as_many_states() -> None:
    rng = np.random.default_rng(0)
    seen = {value: rng.integers(0, 3_000, (4, 5)) for value in (-1, 0, 1)}
    sides: tuple[Side, ...] = ("above", "below")
    for side in sides:
        many = log_wealth(seen, -0.01, side)
        assert many.shape == (4, 5)
        for place in np.ndindex(4, 5):
            state = {value: int(counts[place]) for value, counts in seen.items()}
            assert log_wealth(state, -0.01, side) == pytest.approx(many[place], abs=1e-9)
    assert isinstance(log_wealth({0: 0, 1: 0}, 0.5, "above"), float)
    assert log_wealth({0: 0, 1: 0}, 0.5, "above") == 0


def test_an_interval_holds_the_means_that_nobody_won_against() -> None:
    for seen in ({0: 2_700, 1: 300}, {0: 10, 1: 0}, {-1: 40, 0: 1_900, 1: 60}, {-1: 0, 0: 0, 1: 0}):
        low, high = interval(seen, 0.05)
        rows = sum(seen.values()) or 1
        assert min(seen) <= low <= sum(value * n for value, n in seen.items()) / rows <= high <= max(seen)
        for edge, side, step in ((low, "above", -1e-9), (high, "below", 1e-9)):
            if min(seen) < edge + step < max(seen):
                assert log_wealth(seen, edge + step, side) >= math.log(40) - 1e-9  # type: ignore[call-overload]
            if min(seen) < edge - step < max(seen):
                assert log_wealth(seen, edge - step, side) <= math.log(40) + 1e-4  # type: ignore[call-overload]
    assert interval({0: 0, 1: 0}, 0.05) == (0, 1)


def test_an_interval_is_about_as_wide_as_villes() -> None:
    stream = (np.random.default_rng(1).random(3_000) < 0.1).astype(float)
    ones = int(stream.sum())
    low, high = interval({0: 3_000 - ones, 1: ones}, 0.05)
    theirs_low, theirs_high = ville.BernoulliCS(0.05, intersect=False).fit(stream).interval()
    assert low == pytest.approx(theirs_low, abs=0.005) and high == pytest.approx(theirs_high, abs=0.005)


@pytest.mark.parametrize("truth", [0.1, np.repeat([0.05, 0.15], 400)], ids=["still", "drifting"])
def test_looked_at_after_every_row_the_truth_is_missed_no_more_than_allowed(truth: float) -> None:
    """400 streams of 800 rows: 2.5% may ever say "above" where the mean so far never was, about 1% do."""
    ones = np.cumsum(np.random.default_rng(3).random((400, 800)) < truth, axis=1)
    above = log_wealth({0: np.arange(1, 801) - ones, 1: ones}, 0.1, "above") >= math.log(40)
    assert above.any(axis=1).mean() <= 0.025


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 200), st.integers(0, 3_000), st.floats(0, 0.02))
def test_a_plan_ends_where_the_wealth_first_suffices(ones: int, zeros: int, share: float) -> None:
    seen, shares = {0: zeros, 1: ones}, {0: 1 - share, 1: share}
    more = planned(shares, 0.01, "below", 0.05, seen)

    def reached(rows: int) -> bool:
        come = {value: seen[value] + rows * shares[value] for value in seen}
        return log_wealth(come, 0.01, "below") >= math.log(20)

    if more is None:
        assert not reached(10**6)
    else:
        assert reached(more) and not (more and reached(more - 1))


def test_plans_are_the_designs_figures() -> None:
    assert planned({0: 1, 1: 0}, 0.002, "below", 0.05) == 2_736  # pairs until errors are surely within 0.2%
    assert planned({0: 0.99, 1: 0.01}, 0.002, "below", 0.05) is None
    needed = [planned({-1: d / 2, 0: 1 - d, 1: d / 2}, -0.01, "above", 0.05) for d in (0.02, 0.05, 0.1)]
    assert all(a < b for a, b in pairwise(n for n in needed if n)) and needed[1] == 4_784
