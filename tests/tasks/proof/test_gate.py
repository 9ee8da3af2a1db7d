"""The gate: what passes, fails or stays in doubt; and the statistics that it rests on."""

from collections import Counter
from typing import Any

import numpy as np
import pytest

from tasks.config import Gates
from tasks.engines import Engine
from tasks.goals import bootstrap
from tasks.measured import Comparison, Interval, OtherDifference, Report, ServingCheck, SliceDifference
from tasks.proof.gate import gate, more_rows
from tasks.workloads.catalogue import load_workload
from tasks.workloads.scoring import marks

Array = np.ndarray[Any, Any]
DIGITS = load_workload("digits")


def report(score: float = 0.98, name: str = "fp32", **fields: Any) -> Report:
    values = {"split": "test", "rows": 360, "score_name": "accuracy", "sha256": name, "size_bytes": 500_000}
    return Report(name=name, score=score, **{**values, **fields})


def comparison(difference: float, low: float, high: float, **fields: Any) -> Comparison:
    interval = Interval(low=low, high=high, level=0.95)
    values = {
        "champion": 3,
        "sha256": "c",
        "rows": 360,
        "score": 0.98,
        "difference": difference,
        "interval": interval,
    }
    return Comparison(**{**values, **fields})


def trial(*problems: str) -> ServingCheck:
    return ServingCheck(
        requests=65, rows=380, max_abs=0.0, single_p50_ms=1, single_p95_ms=2, batch=64, batch_p50_ms=3,
        peak_bytes=1, start_seconds=1, problems=problems,
    )  # fmt: skip


def decide(
    against: Comparison | None = None,
    gates: Gates | None = None,
    challenger: Report | None = None,
    **fields: Any,
) -> Any:
    challenger = challenger or report()
    values = {"baseline": challenger, "against_fp32": None, "comparison": against, "trial": trial()}
    return gate(challenger, gates=gates or Gates(min_score=0.95), **{**values, **fields})


def test_without_a_champion_the_absolute_gates_decide() -> None:
    assert decide().decision == "pass"
    verdict = decide(challenger=report(0.94))
    assert verdict.decision == "fail" and "accuracy 0.9400 is below the minimum of 0.95" in verdict.reasons


@pytest.mark.parametrize(
    ("against", "decision", "words"),
    [
        (comparison(0.0, -0.005, 0.005), "pass", "not worse by more than the margin of 0.01"),
        (comparison(0.02, 0.01, 0.03), "pass", "0.0200 better than champion v3"),
        (comparison(-0.005, -0.009, -0.001), "pass", "not worse by more than the margin"),
        (comparison(-0.05, -0.07, -0.03), "fail", "0.0500 worse than champion v3"),
        (comparison(-0.002, -0.02, 0.016), "inconclusive", "more test rows would decide"),
        (comparison(-0.02, -0.045, 0.005), "inconclusive", "more test rows would decide"),
    ],
)
def test_the_interval_against_the_champion_decides(against: Comparison, decision: str, words: str) -> None:
    verdict = decide(against)
    assert verdict.decision == decision
    assert any(words in reason for reason in verdict.reasons)
    assert verdict.reasons[0].startswith("accuracy ") == (decision == "pass"), (
        "a pass begins with what is good"
    )
    assert (verdict.more_rows is not None) == (decision == "inconclusive")


def test_the_rows_that_would_decide_are_about_right() -> None:
    """Four times the rows halve the interval: from ±0.02 to the ±0.01 that the margin leaves."""
    assert more_rows(comparison(0.0, -0.02, 0.02), Gates(margin=0.01)) == pytest.approx(3 * 360, rel=0.01)
    assert more_rows(comparison(-0.01, -0.03, 0.01), Gates(margin=0.01)) is None


def test_a_champion_that_does_not_fit_is_said_and_left_to_a_person() -> None:
    problem = "it takes the inputs pixels and not image"
    other = Comparison(champion=3, sha256="c", rows=360, score=None, problem=problem)
    verdict = decide(other)
    assert (
        verdict.decision == "inconclusive"
        and "it takes the inputs pixels and not image" in verdict.reasons[0]
    )


def test_a_slice_that_is_surely_worse_fails_and_one_in_doubt_asks() -> None:
    def on_jfk(difference: float, high: float) -> SliceDifference:
        interval = Interval(low=difference - 0.05, high=high, level=0.99)
        return SliceDifference(
            column="origin", value="JFK", rows=500, difference=difference, interval=interval
        )

    surely = decide(comparison(0.0, -0.005, 0.005, slices=(on_jfk(-0.12, -0.04),)))
    assert surely.decision == "fail" and "origin=JFK is worse by 0.1200 on 500 rows" in surely.reasons[0]
    assert decide(comparison(0.0, -0.005, 0.005, slices=(on_jfk(-0.08, 0.01),))).decision == "inconclusive"
    assert decide(comparison(0.0, -0.005, 0.005, slices=(on_jfk(-0.04, 0.02),))).decision == "pass"


def test_problems_size_and_the_sea_trial_fail_it() -> None:
    assert (
        decide(challenger=report(problems=("the ONNX checker refuses it",))).reasons[0]
        == "the ONNX checker refuses it"
    )
    assert decide(trial=trial("sea trial: the server answered 500")).decision == "fail"
    assert decide(gates=Gates(max_size_mb=0.4)).decision == "fail"


def test_a_drop_from_fp32_fails_only_when_the_rows_can_tell() -> None:
    pick, fp32 = report(0.96, "int8", sha256="p"), report(0.98)
    sure, unsure = Interval(low=-0.03, high=-0.01, level=0.95), Interval(low=-0.03, high=0.01, level=0.95)
    assert decide(challenger=pick, baseline=fp32, against_fp32=sure).decision == "fail"
    verdict = decide(challenger=pick, baseline=fp32, against_fp32=unsure)
    assert verdict.decision == "pass" and any(
        "cannot tell from chance" in reason for reason in verdict.reasons
    )


def resample(rows: int, champion: float, challenger: float, seed: int, shared: float) -> str:
    """A verdict on rows drawn anew, from two models with these true scores whose errors partly coincide."""
    rng = np.random.default_rng(seed)
    target = rng.integers(0, 10, rows)
    luck = rng.random(rows)
    other = np.where(rng.random(rows) < shared, luck, rng.random(rows))
    ours, theirs = logits(target, luck < challenger), logits(target, other < champion)
    difference = float((ours.argmax(1) == target).mean() - (theirs.argmax(1) == target).mean())
    interval = bootstrap.difference(*(marks(DIGITS, target, said)[0] for said in (ours, theirs)), 0.95)
    assert interval is not None
    against = comparison(difference, interval.low, interval.high, rows=rows)
    return str(decide(against, Gates()).decision)


def logits(target: Array, right: Array) -> Array:
    return np.eye(10, dtype="float32")[np.where(right, target, (target + 1) % 10)]


@pytest.mark.slow
@pytest.mark.parametrize("shared", [0.0, 0.8])
def test_no_true_difference_on_360_rows_is_not_failed(shared: float) -> None:
    decisions = Counter(resample(360, 0.97, 0.97, seed, shared) for seed in range(100))
    assert decisions["fail"] <= 5, decisions


@pytest.mark.slow
@pytest.mark.parametrize(("champion", "challenger"), [(0.97, 0.92), (0.85, 0.80)])
def test_five_points_worse_on_2000_rows_is_failed(champion: float, challenger: float) -> None:
    decisions = Counter(resample(2000, champion, challenger, seed, 0.5) for seed in range(100))
    assert decisions["fail"] >= 95, decisions


@pytest.mark.parametrize(
    ("difference", "high", "decision"),
    [(-0.2, -0.1, "fail"), (-0.2, 0.1, "inconclusive"), (-0.005, 0.1, "pass")],
)
def test_a_goal_that_picks_nothing_must_not_lose_more_than_the_margin(
    difference: float, high: float, decision: str
) -> None:
    interval = Interval(low=-0.3, high=high, level=0.95)
    other = OtherDifference(
        goal="regression of 'weight'", score_name="r2", difference=difference, interval=interval
    )
    against = comparison(0.0, -0.005, 0.005).model_copy(update={"others": (other,)})
    verdict = gate(report(), report(), None, against, None, Gates())
    assert verdict.decision == decision
    said = [reason for reason in verdict.reasons if reason.startswith("regression of 'weight': r2 is 0.2")]
    assert bool(said) == (decision != "pass")


def test_a_score_that_many_resamples_do_not_have_is_a_persons_to_let_through() -> None:
    """R² of a target that is nearly constant: the interval is of the resamples that happen to vary."""
    sure = [Interval(low=0.97, high=0.99, level=0.95, undefined=share) for share in (0.01, 0.31)]
    few, many = (decide(challenger=report(interval=interval)) for interval in sure)
    assert few.decision == "pass" and many.decision == "inconclusive"
    assert many.reasons[0].startswith("accuracy is not defined in 31% of the resamples (a target that is")


def test_a_changed_signature_is_a_persons_to_let_through_and_said_whether_or_not_it_can_be_compared() -> None:
    changed = "outputs are label str[-1] and were logits float32[-1, 3]"
    for against in (
        comparison(0.02, 0.01, 0.03, new_signature=changed),
        comparison(0.02, 0.01, 0.03, new_signature=changed, problem="it does not run"),
    ):
        verdict = decide(against)
        assert verdict.decision == "inconclusive" and verdict.new_signature == changed
        assert any("promote with --new-signature" in reason for reason in verdict.reasons)


def test_what_serves_where_the_engine_cannot_be_had_has_to_hold_too() -> None:
    plain, other = report(problems=("it answers with NaN",)), report(engine=Engine(name="openvino"))
    for baseline, same in ((report(), plain), (plain, None)):
        verdict = gate(other, baseline, None, None, trial(), Gates(), (), same)
        assert verdict.decision == "fail"
        assert verdict.reasons[0] == "in ONNX Runtime, where its engine cannot be had: it answers with NaN"


@pytest.mark.parametrize(
    "plain, against, decision, said",
    [
        (0.94, None, "fail", "accuracy 0.9400 is below the minimum of 0.95"),
        (0.96, Interval(low=-0.03, high=-0.01, level=0.95), "fail", "accuracy is 0.0200 below fp32's"),
        (
            0.96,
            Interval(low=-0.05, high=0.01, level=0.95),
            "pass",
            "which these 360 rows cannot tell from chance",
        ),
        (0.978, None, "pass", None),
    ],
)
def test_the_score_where_the_engine_cannot_be_had_is_held_to_the_gates_too(
    plain: float, against: Interval | None, decision: str, said: str | None
) -> None:
    there, baseline = report(0.985, engine=Engine(name="openvino")), report(0.98)
    verdict = decide(
        challenger=there, baseline=baseline, in_onnxruntime=report(plain), its_against_fp32=against
    )
    assert verdict.decision == decision
    found = [reason for reason in verdict.reasons if reason.startswith("in ONNX Runtime, where its engine")]
    assert bool(found) is (said is not None) and (said is None or any(said in reason for reason in found))
