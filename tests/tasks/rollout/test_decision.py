"""What follows from the evidence, and what must not."""

import datetime
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rollout_streams import GOOD, Truth, carry_through

from tasks.rollout.counts import Counts, LabelCounts
from tasks.rollout.decision import Decision, Place, Pod, decide
from tasks.rollout.guards import answers, failing, harms, lacking
from tasks.rollout.policy import Hold, Margins, RolloutPolicy

BEGAN = datetime.datetime(2026, 11, 27, tzinfo=datetime.UTC)
HOUR, DAY, SECOND = (datetime.timedelta(**{name: 1}) for name in ("hours", "days", "seconds"))
POLICY = RolloutPolicy()
LAST = len(POLICY.steps) - 1

WELL = Counts(requests=1_000, pairs=4_000, timed=4_000, slow=400, agreed=3_800)
LABELS = LabelCounts(matured=6_000, agreed=5_700, better=150, worse=140, neither=5, missing=5)


def place(step: int = 0, **given: Any) -> Place:
    pods = {"a": Pod(age=5 * SECOND, sequence=3), "b": Pod(age=9 * SECOND, sequence=3)}
    kept = {"sequence": 3, "began": BEGAN, "stepped": BEGAN, "last": BEGAN, "pods": pods}
    return Place(**{"step": step, **kept, **given})


def decided(
    counts: Counts = WELL,
    labels: LabelCounts | None = LABELS,
    at: Place | None = None,
    after: datetime.timedelta = 2 * HOUR,
    policy: RolloutPolicy = POLICY,
) -> Decision:
    return decide(policy, at or place(), counts, labels, BEGAN + after)


def altered(counts: Counts, **given: int) -> Counts:
    return Counts.model_validate({**counts.model_dump(), **given})


def test_what_is_surely_within_every_margin_goes_up_and_then_is_the_champion() -> None:
    actions = [decided(at=place(step)).action for step in range(LAST + 1)]
    assert actions == ["step", "step", "step", "promote"]
    why = decided().why
    assert "it failed 0 of 5,000 requests that the other version answered (0%, allowed 0.2%), e = " in why
    assert "400 of 4,000 pairs took more than 1.1 times the CPU time (10%, allowed half)" in why


def test_the_score_is_asked_for_before_the_last_step_and_not_earlier() -> None:
    assert [decided(labels=None, at=place(step)).action for step in range(LAST + 1)] == [
        "step",
        "step",
        "stay",
        "stay",
    ]
    alone = RolloutPolicy(margin=Margins(score=None))
    assert decided(labels=None, at=place(LAST), policy=alone).action == "promote"
    shadow = RolloutPolicy.model_validate({"steps": ["shadow"]})
    assert decided(labels=None, policy=shadow).action == "stay" and decided(policy=shadow).action == "promote"


@pytest.mark.parametrize(
    ("counts", "guard"),
    [
        ({"failed": 40, "timed": 3_960}, "errors"),
        ({"rescued": 40}, "errors"),
        ({"slow": 2_200}, "slower"),
        ({"tail_worse": 130, "tail_better": 10}, "tail"),
    ],
)
def test_what_is_surely_worse_goes_back_whatever_the_step_and_says_by_how_much(
    counts: dict[str, int], guard: str
) -> None:
    for step in (0, LAST):
        decision = decided(altered(WELL, **counts), at=place(step))
        assert decision.action == "abort" and decision.why.startswith(f"Surely harmful ({guard}): ")
        assert {answer.guard for answer in harms(decision.answers)} == {guard}


def test_two_failures_are_bad_luck_and_three_may_be_surely_harmful() -> None:
    two, three = (Counts(pairs=20, timed=20 - n, failed=n) for n in (2, 3))
    assert decided(two).action == "stay" and decided(three).action == "abort"
    errors = decided(two).answers[0]
    assert errors.log_wealth > -math.log(errors.alpha) and not errors.enough and not errors.sure


def test_a_score_is_harmful_when_surely_below_and_measured_beyond_the_margin() -> None:
    little = LabelCounts(
        matured=40_000, agreed=38_000, better=850, worse=1_150
    )  # surely worse, by 0.75 points
    assert decided(labels=little).action == "step" and not harms(decided(labels=little).answers)
    much = LabelCounts(matured=4_000, agreed=3_800, better=60, worse=140)
    assert decided(labels=much).action == "abort"
    assert "right in 60 and wrong in 140 of 4,000 pairs past the horizon" in decided(labels=much).why


def test_a_label_that_stays_away_is_lost_where_it_would_help_and_nothing_where_it_would_harm() -> None:
    lost = LabelCounts(matured=6_000, agreed=5_700, better=150, worse=121, missing=29)
    by_question = {a.question: a for a in answers(POLICY, WELL, lost) if a.guard == "score"}
    assert by_question["harmful"].mean == (150 - 121) / 6_000
    assert by_question["within"].mean == (150 - 121 - 29) / 6_000


def test_labels_of_which_too_many_stay_away_are_refused_in_a_sentence() -> None:
    """5% differ, and 10% of those have no label: half a margin of a point."""
    some = LabelCounts(matured=100_000, agreed=95_000, better=2_500, worse=2_000, missing=500)
    decision = decided(altered(WELL, pairs=100_000), labels=some, at=place(LAST))
    assert decision.action == "stay"
    assert (
        "These labels cannot prove the score: of 100,000 pairs 5.00% differ, and 10.0% of those"
        in decision.why
    )
    fewer = LabelCounts(matured=100_000, agreed=95_000, better=2_501, worse=2_000, missing=499)
    assert decided(labels=fewer, at=place(LAST)).action == "promote"


def test_nothing_goes_up_without_traffic_or_labels_however_long() -> None:
    assert decided(Counts(), None).action == "stay"
    assert decided(Counts(), None, after=8 * DAY).action == "ask"
    for step in (LAST - 1, LAST):
        assert decided(labels=None, at=place(step), after=8 * DAY).action == "ask"


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"pods": {}}, "No server has reported for 2 min: it goes no further up."),
        ({"pods": {"a": Pod(age=20 * 60 * SECOND, sequence=3)}}, "No server has reported for 2 min"),
        (
            {"pods": {"a": Pod(age=SECOND, sequence=3), "b": Pod(age=180 * SECOND, sequence=3)}},
            "Not heard of for 2 min (or a clock is behind): b; after 15 min it counts as gone.",
        ),
        (
            {"pods": {"a": Pod(age=SECOND, sequence=2), "b": Pod(age=SECOND, sequence=3)}},
            "Not at this step yet: a.",
        ),
        ({"stepped": BEGAN + 115 * 60 * SECOND}, "It stays at this step for 5 min more."),
        ({"then": Counts(pairs=3_900)}, "It stays at this step for 100 more pairs."),
        ({"step": 1, "then": Counts(requests=900)}, "It stays at this step for 100 more requests."),
        ({"paused": True}, "It is paused."),
        (
            {"last": BEGAN + 3 * HOUR},
            "This clock is 60 min behind the ledger's last entry: nothing is decided by it.",
        ),
    ],
)
def test_what_holds_a_rollout_that_could_go_up(given: dict[str, Any], why: str) -> None:
    decision = decided(at=place(**given))
    assert decision.action == "stay" and why in decision.why


def test_who_is_gone_for_good_holds_nothing() -> None:
    pods = {"killed": Pod(age=16 * 60 * SECOND, sequence=2), "b": Pod(age=SECOND, sequence=3)}
    assert decided(at=place(pods=pods)).action == "step"


def test_harm_waits_for_no_hold_and_no_pod_but_for_a_clock_and_a_person() -> None:
    bad = altered(WELL, rescued=40)
    assert decided(bad, at=place(pods={}, then=bad), after=SECOND).action == "abort"
    assert decided(bad, at=place(last=BEGAN + 3 * HOUR)).action == "stay"
    assert decided(bad, at=place(paused=True)).action == "stay"


def test_that_the_traffic_will_not_suffice_is_said_on_the_first_day() -> None:
    some = Counts(pairs=100, timed=100, slow=10, agreed=95)
    decision = decided(some, None, after=DAY)
    assert decision.action == "stay"
    assert (
        "At 100 pairs a day this takes about 47.8 days more, and in 6 days a person is asked." in decision.why
    )
    assert {plan.guard: plan.pairs for plan in decision.to_go} == {
        "errors": 2_636,
        "tail": 445,
        "score": 4_784,
    }
    plenty = altered(WELL, pairs=100_000)
    assert "a person is asked" not in decided(plenty, None, at=place(LAST)).why


def test_a_plan_that_leads_nowhere_says_so() -> None:
    worse = LabelCounts(matured=2_000, agreed=1_900, better=40, worse=60)
    decision = decided(labels=worse, at=place(LAST))
    assert decision.to_go[0].guard == "score" and decision.to_go[0].pairs is None
    assert "at this rate it never will be" in decision.why and "this never ends" in decision.why


def test_a_process_goes_back_by_itself_for_what_is_gross() -> None:
    assert failing(Counts(), Margins()) is None and failing(WELL, Margins()) is None
    assert failing(Counts(pairs=10, timed=8, failed=2), Margins()) is None
    errors = failing(Counts(pairs=40, timed=36, failed=4), Margins())
    assert errors is not None and errors.startswith("Surely harmful (errors): it failed 4 of 40 requests")
    assert "slower" in (failing(Counts(pairs=40, timed=40, slow=40), Margins()) or "")
    assert "tail" in (failing(Counts(pairs=90, timed=90, slow=25, tail_worse=25), Margins()) or "")
    fleet = Counts(pairs=50, timed=47, failed=3)
    assert (
        decided(fleet).action == "abort" and failing(fleet, Margins()) is None
    )  # a fleet's bound is a hundred times as near


counts = st.builds(
    lambda pairs, failed, slow, worse, better, agreed: Counts(
        requests=500,
        pairs=pairs,
        failed=min(failed, pairs),
        timed=(timed := pairs - min(failed, pairs)),
        slow=min(slow, timed),
        tail_worse=(tail := min(worse, timed)),
        tail_better=min(better, timed - tail),
        agreed=min(agreed, timed),
    ),
    *(st.integers(0, most) for most in (6_000, 12, 3_000, 60, 60, 6_000)),
)
labels = st.none() | st.builds(
    lambda agreed, better, worse, neither, missing: LabelCounts(
        matured=agreed + better + worse + neither + missing,
        agreed=agreed,
        better=better,
        worse=worse,
        neither=neither,
        missing=missing,
    ),
    *(st.integers(0, most) for most in (6_000, 200, 200, 20, 20)),
)


@settings(max_examples=60, deadline=None)
@given(counts, labels, st.integers(0, LAST), st.integers(0, 10 * 24))
def test_only_what_is_sure_of_every_guard_goes_up_and_only_what_is_sure_of_one_goes_back(
    counts: Counts, labels: LabelCounts | None, step: int, hours: int
) -> None:
    decision = decided(counts, labels, place(step), hours * HOUR)
    assert decision.answers == answers(POLICY, counts, labels)  # a replay has the counts alone
    assert (decision.action == "abort") == bool(harms(decision.answers))
    if decision.action in ("step", "promote"):
        assert not lacking(POLICY, step, decision.answers)
        assert (decision.action == "promote") == (step == LAST)
    assert len(decision.why) < 1_500 and decision.why.endswith(".")


@pytest.mark.parametrize("wrong", [{"failed": 1}, {"timed": 1}, {"slow": 1}, {"rescued": 1}, {"served": 1}])
def test_counts_of_more_than_there_was_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="than there were|than were timed"):
        Counts(**wrong)
    with pytest.raises(ValueError, match="3 pairs matured, and 2 are accounted for"):
        LabelCounts(matured=3, agreed=2)


def test_a_hold_is_as_long_as_the_policy_says() -> None:
    policy = POLICY.model_copy(update={"hold": Hold(minutes=1_440, requests=0)})
    assert decided(policy=policy, after=23 * HOUR).action == "stay"
    assert decided(policy=policy, after=24 * HOUR).action == "step"


@pytest.mark.parametrize("truth", [GOOD, replace(GOOD, failed=0.05)], ids=["equal", "failing"])
def test_what_the_bench_looks_at_is_what_is_decided(truth: Truth) -> None:
    assert carry_through(truth, seed=1, streams=1) > 1
