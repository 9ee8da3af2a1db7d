import pytest

from tasks.config import Gates
from tasks.engines import Engine
from tasks.measured import Interval, Report, Speed, latency
from tasks.outcome import Selection
from tasks.proof.selection import select, worth_another_engine
from tasks.recipes import Recipe
from tasks.records import Candidate

GATES = Gates(max_score_drop=0.005)


def report(
    name: str,
    score: float = 0.98,
    latency: float = 1.0,
    size: int = 1000,
    noise: float = 0.02,
    problems: tuple[str, ...] = (),
) -> Report:
    speed = tuple(
        Speed(
            batch=batch,
            p50_ms=latency,
            p95_ms=latency,
            rows_per_second=1,
            latency_ratio=latency,
            throughput_ratio=1 / latency,
            interval=Interval(low=1 / (latency * (1 + noise)), high=1 / (latency * (1 - noise)), level=0.95),
            rounds=9,
        )
        for batch in (1, 64)
    )
    return Report(
        name=name,
        split="validation",
        rows=1000,
        score=score,
        score_name="accuracy",
        sha256="0" * 64,
        size_bytes=size,
        speed=speed,
        problems=problems,
    )


def statuses(selection: Selection) -> dict[str, str]:
    return {result.name: result.status for result in selection.candidates}


def reason(selection: Selection, name: str) -> str:
    (result,) = (r for r in selection.candidates if r.name == name)
    return "; ".join(result.reasons)


def test_what_is_faster_and_smaller_within_the_gates_is_picked_and_says_by_how_much() -> None:
    chosen = select([report("fp32"), report("int8", 0.979, 0.5, 270)], [], GATES)
    assert chosen.picked == "int8"
    assert chosen.reason == "int8: 2.00× (1.96–2.04) as fast, 27% of the size, accuracy -0.10 pt"
    assert statuses(chosen) == {"fp32": "front", "int8": "picked"}


def test_a_candidate_that_loses_more_score_than_allowed_is_refused_with_its_numbers() -> None:
    chosen = select([report("fp32", 0.785), report("static", 0.574, 0.4, 300)], [], GATES)
    assert chosen.picked == "fp32"
    assert reason(chosen, "static") == (
        "accuracy 0.5740 is 21.10 pt below fp32's 0.7850, over the 0.50 pt allowed"
    )
    assert chosen.reason == "fp32: no candidate is within the gates"


def test_a_score_that_is_no_share_is_compared_in_its_own_unit() -> None:
    """Degrees of pinball loss are no points."""
    degrees = [report("fp32", -1.43), report("int8", -1.45, 0.5), report("static", -1.93, 0.4)]
    chosen = select(degrees, [], Gates(max_score_drop=0.05))
    assert chosen.reason.endswith("accuracy -0.02")
    assert reason(chosen, "static") == "accuracy -1.9300 is 0.5 below fp32's -1.4300, over the 0.05 allowed"


def test_a_candidate_that_is_surely_slower_is_refused_though_it_is_small() -> None:
    chosen = select([report("fp32"), report("dynamic", 0.98, 7.7, 260)], [], GATES)
    assert chosen.picked == "fp32"
    assert "takes 7.70× fp32's time at batch 1" in reason(chosen, "dynamic")


def test_a_candidate_within_noise_of_fp32s_speed_is_not_refused_and_wins_by_its_size() -> None:
    chosen = select([report("fp32"), report("small", 0.98, 1.01, 270)], [], GATES)
    assert chosen.picked == "small"


def test_a_candidate_that_others_beat_in_everything_is_dominated_and_names_the_winner() -> None:
    chosen = select([report("fp32"), report("a", 0.98, 0.5, 300), report("b", 0.979, 0.7, 400)], [], GATES)
    assert statuses(chosen) == {"fp32": "dominated", "a": "picked", "b": "dominated"}
    assert reason(chosen, "b") == "a beats it: 1.40× as fast, 75% of the size, accuracy +0.10 pt"


def test_a_better_score_keeps_a_slower_candidate_on_the_front() -> None:
    chosen = select(
        [report("fp32"), report("fast", 0.978, 0.4, 90), report("good", 0.982, 0.6, 270)], [], GATES
    )
    assert statuses(chosen) == {"fp32": "dominated", "fast": "picked", "good": "front"}
    assert reason(chosen, "good").startswith("fast is preferred: 1.50× as fast")


def test_of_equally_fast_candidates_the_smaller_is_picked() -> None:
    chosen = select([report("fp32"), report("a", 0.98, 0.500, 500), report("b", 0.98, 0.505, 130)], [], GATES)
    assert chosen.picked == "b"


def test_a_recipe_that_failed_is_listed_with_its_reason() -> None:
    recipe = Recipe.model_validate({"name": "x", "steps": [{"kind": "float16"}]})
    failed = Candidate(name="x", recipe=recipe, refused="nothing to quantise")
    chosen = select([report("fp32")], [failed], GATES)
    assert statuses(chosen) == {"fp32": "picked", "x": "refused"}
    assert reason(chosen, "x") == "nothing to quantise"


def test_a_problem_that_validation_found_refuses() -> None:
    chosen = select([report("fp32"), report("a", 0.98, 0.5, 300, problems=("fails at batch 7",))], [], GATES)
    assert (chosen.picked, reason(chosen, "a")) == ("fp32", "fails at batch 7")


def test_the_size_gate_names_the_size() -> None:
    gates = Gates(max_size_mb=0.0005)
    chosen = select([report("fp32"), report("a", 0.98, 0.5, 400)], [], gates)
    assert chosen.picked == "a"
    assert reason(chosen, "fp32") == "is 0.00 MB, over the 0.0005 MB allowed"


def test_a_score_that_is_not_a_number_is_refused() -> None:
    chosen = select([report("fp32"), report("a", float("nan"), 0.5, 300)], [], GATES)
    assert chosen.picked == "fp32"


def test_without_measured_speed_the_smaller_one_wins() -> None:
    bare = [r.model_copy(update={"speed": ()}) for r in (report("fp32"), report("a", size=300))]
    assert latency(bare[0]) == 1
    assert select(bare, [], GATES).picked == "a"


@pytest.mark.parametrize("seed", range(20))
def test_whatever_the_reports_one_is_picked_and_every_loser_has_a_reason(seed: int) -> None:
    import random

    draw = random.Random(seed)
    some = [
        report(f"c{i}", draw.uniform(0.97, 0.99), draw.uniform(0.3, 1.3), draw.randint(50, 1500))
        for i in range(8)
    ]
    chosen = select([report("fp32"), *some], [], GATES)
    assert list(statuses(chosen).values()).count("picked") == 1
    assert statuses(chosen)[chosen.picked] == "picked"
    assert all(result.reasons for result in chosen.candidates if result.status != "picked")
    again = select([report("fp32"), *reversed(some)], [], GATES)
    assert (chosen.picked, statuses(chosen)) == (again.picked, statuses(again))


FRONT = [
    report("fp32", 0.985),
    report("quick", 0.983, 0.45, 900),
    report("small", 0.982, 0.95, 150),
    report("even", 0.981, 0.5, 300),
]


@pytest.mark.parametrize(
    ("prefer", "picked", "purpose"),
    [
        ("speed", "quick", "of 3 the one for speed"),
        ("size", "small", "of 3 the one for size"),
        ("balanced", "small", "of 3 the one for speed and size alike"),
    ],
)
def test_the_pick_of_the_front_is_for_what_is_preferred_and_says_so(
    prefer: str, picked: str, purpose: str
) -> None:
    chosen = select(FRONT, [], Gates.model_validate({"prefer": prefer}))
    assert chosen.picked == picked and chosen.reason.endswith(f"pt; {purpose}")


def test_who_prefers_the_score_keeps_fp32_where_nothing_scores_higher() -> None:
    chosen = select(FRONT, [], Gates(prefer="score"))
    assert chosen.reason == "fp32: no candidate within the gates scores higher"


def test_a_file_three_times_smaller_does_not_lose_to_a_tenth_of_the_speed_unless_speed_is_preferred() -> None:
    reports = [report("fp32"), report("large", 0.98, 0.50, 900), report("small", 0.98, 0.55, 300)]
    assert select(reports, [], GATES).picked == "small"
    assert select(reports, [], Gates(prefer="speed")).picked == "large"


def test_the_engine_is_said_beside_each_candidate_also_of_one_that_was_not_made() -> None:
    bf16 = Engine(name="openvino", precision="bf16", version="2026.4.1")
    other = report("fp32-openvino", 0.98, 0.5).model_copy(update={"engine": bf16})
    lost = Candidate(name="int8-openvino", engine=bf16, refused="is slower")
    chosen = select([report("fp32"), other], [lost], GATES)
    said = {result.name: (result.engine, result.precision) for result in chosen.candidates}
    assert said["fp32-openvino"] == said["int8-openvino"] == ("openvino", "bf16")
    assert said["fp32"] == ("onnxruntime", None) and chosen.picked == "fp32-openvino"


def test_of_8_bits_also_what_one_of_its_size_beats_is_worth_another_engine_and_not_what_is_beaten_in_size() -> (
    None
):
    int8 = {"engine": Engine(precision="int8")}
    reports = [
        report("fp32"),
        report("dynamic", 0.98, 0.5, 260).model_copy(update=int8),
        report("static", 0.98, 0.8, 262).model_copy(update=int8),
        report("large", 0.98, 0.8, 400).model_copy(update=int8),
        report("plain", 0.98, 0.8, 262),
    ]
    assert worth_another_engine(reports, GATES) == ["fp32", "dynamic", "static"]


def test_only_fp32_the_front_and_slow_files_of_8_bits_are_worth_another_engine() -> None:
    int8 = {"engine": Engine(precision="int8")}
    reports = [
        report("fp32"),
        report("pruned", 0.979, 0.5, 500),
        report("worse", 0.978, 0.6, 600),
        report("lost", 0.9, 0.4, 300),
        report("slow", 0.98, 3.0, 270),
        report("slow-int8", 0.98, 3.0, 270).model_copy(update=int8),
        report("lost-int8", 0.9, 3.0, 270).model_copy(update=int8),
    ]
    assert worth_another_engine(reports, GATES) == ["fp32", "pruned", "slow-int8"]
