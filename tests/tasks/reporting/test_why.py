"""The paragraph that says why a run ran and what follows from it."""

import promotions
import pytest

from tasks.outcome import Outcome, StepTime
from tasks.reporting.why import why, why_it_ran, why_started


def step(name: str, reason: str, cached: bool = False) -> StepTime:
    return StepTime(name=name, seconds=1, reason=reason, cached=cached)


def test_a_run_ran_because_of_the_first_step_that_had_something_new_to_do() -> None:
    steps = [
        step("prepare", "every time"),
        step("train", "unchanged", cached=True),
        step("export", "export.py changed"),
    ]
    assert why_it_ran(steps) == "It ran because of export: export.py changed."
    assert why_it_ran([step("train", "first run")]) == "It ran because train had not run before."
    assert "no version was made of this before" in why_it_ran(steps[:2])


@pytest.mark.parametrize(
    ("decision", "approval", "words"),
    [
        ("pass", "auto", "becomes the champion, unless"),
        ("pass", "manual", "waits for an answer"),
        ("inconclusive", "auto", "a person has to decide"),
        ("fail", "manual", "what serves goes on serving"),
    ],
)
def test_what_follows_is_said_with_the_verdicts_first_reason(
    decision: str, approval: str, words: str
) -> None:
    said = why(promotions.make_evidence("a" * 64, "digits", decision), approval)
    assert words in said and "(accuracy 0.98 on 360 test rows)" in said and ".." not in said


def test_a_run_says_what_it_was_started_for_and_what_would_have_given_it_something_to_do() -> None:
    outcome = Outcome(
        workload="digits",
        model="digits",
        run_id=None,
        version=3,
        decision="unchanged",
        reasons=("nothing new",),
    )
    said = why_started(outcome, "digits version 3: 4 of 10 inputs drifted.")
    assert said.startswith(
        "Started because of digits version 3: 4 of 10 inputs drifted. There was nothing to learn"
    )
    promoted = outcome.model_copy(update={"decision": "promoted"})
    assert why_started(promoted, "an alarm") == "Started because of an alarm."
