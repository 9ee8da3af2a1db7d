"""The search over a fake landscape of scores and speeds: what a recipe costs is computed and not measured."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.compression.search import Study, params_of, recipe_of
from tasks.config import Gates, Search
from tasks.measured import Interval, Report, Speed
from tasks.proof.selection import select
from tasks.recipes import Prune, Recipe
from tasks.workloads.workload import DEFAULT_RECIPES

GATES = Gates(max_score_drop=0.005)


def report(name: str, score: float, latency: float, size: int) -> Report:
    speed = Speed(
        batch=1,
        p50_ms=latency,
        p95_ms=latency,
        rows_per_second=1 / latency,
        latency_ratio=latency,
        throughput_ratio=1 / latency,
        interval=Interval(low=1 / latency, high=1 / latency, level=0.95),
        rounds=9,
    )
    return Report(
        name=name,
        split="validation",
        rows=1000,
        score=score,
        score_name="accuracy",
        sha256="0" * 64,
        size_bytes=size,
        speed=(speed,),
    )


FP32 = report("fp32", 0.98, 1.0, 1000)


def landscape(recipe: Recipe) -> Report:
    """Pruning is fast and costs score with its ratio beyond a half; static int8 is faster still; dynamic is slow."""
    score, latency, size = 0.98, 1.0, 1000.0
    for step in recipe.steps:
        knobs = step.model_dump()
        if step.kind == "prune":
            score -= max(0.0, knobs["ratio"] - 0.5) * 0.2
            latency, size = latency * (1 - knobs["ratio"]), size * (1 - knobs["ratio"]) ** 2
        else:
            latency, size = latency * (0.5 if knobs["mode"] == "static" else 3), size * 0.27
    return report(recipe.name, score, latency, int(size))


def search(
    path: Path, trials: int, tried: list[Recipe], until: Callable[[int], bool] = lambda n: False
) -> Study:
    study = Study(Search(trials=trials), GATES, path)
    for recipe in DEFAULT_RECIPES:
        study.learn(recipe, landscape(recipe), FP32)
    for recipe in study.recipes():
        tried.append(recipe)
        if until(len(tried)):
            return study
        study.tell(recipe, landscape(recipe), FP32)
    return study


@pytest.mark.slow
def test_a_search_finds_a_recipe_that_beats_the_default_ones(tmp_path: Path) -> None:
    tried: list[Recipe] = []
    search(tmp_path / "s.log", 12, tried)
    reports = [FP32, *map(landscape, DEFAULT_RECIPES)]
    before = select(reports, [], GATES).picked
    after = select([*reports, *map(landscape, tried)], [], GATES).picked
    assert before == "pruned-50-int8"
    assert after == before or after.startswith("search-")
    assert len(tried) == 12
    assert len({recipe.name for recipe in tried}) == 12


@pytest.mark.slow
def test_no_proposal_is_tried_twice_or_is_fp32_or_a_default_recipe(tmp_path: Path) -> None:
    tried: list[Recipe] = []
    search(tmp_path / "s.log", 15, tried)
    steps = [recipe.model_dump_json(exclude={"name"}) for recipe in (*DEFAULT_RECIPES, *tried)]
    assert len(set(steps)) == len(steps)


@pytest.mark.slow
def test_what_is_clearly_dominated_is_not_trained(tmp_path: Path) -> None:
    study = Study(Search(trials=15), GATES, tmp_path / "s.log")
    heavy = Recipe.model_validate({"name": "given", "steps": [{"kind": "prune", "ratio": 0.3, "rounds": 3}]})
    study.learn(heavy, report("given", 0.90, 0.7, 500), FP32)
    for recipe in study.recipes():
        ratios = [step.model_dump()["ratio"] for step in recipe.steps if step.kind == "prune"]
        assert all(ratio < 0.3 for ratio in ratios)
        study.tell(recipe, landscape(recipe), FP32)


def test_a_search_that_was_killed_has_what_it_tried_and_tries_again_what_it_was_at(tmp_path: Path) -> None:
    tried: list[Recipe] = []
    search(tmp_path / "s.log", 10, tried, until=lambda n: n == 4)
    interrupted = tried[-1]
    again: list[Recipe] = []
    search(tmp_path / "s.log", 10, again)
    assert again[:3] == tried[:3] and again[3].steps == interrupted.steps
    assert len(again) == 10


def test_another_run_of_the_same_training_has_the_candidates_that_were_searched(tmp_path: Path) -> None:
    """Such as one with other gates; but not twice what is among its own recipes by now."""
    tried: list[Recipe] = []
    again: list[Recipe] = []
    search(tmp_path / "s.log", 4, tried)
    study = Study(Search(trials=4), Gates(max_score_drop=0.01), tmp_path / "s.log")
    study.learn(tried[0].model_copy(update={"name": "mine"}), landscape(tried[0]), FP32)
    for recipe in study.recipes():
        again.append(recipe)
        study.tell(recipe, landscape(recipe), FP32)
    assert again == tried[1:]
    assert len([*Study(Search(trials=2), GATES, tmp_path / "s.log").recipes()]) == 2


def test_another_seed_is_another_search_of_the_same_training(tmp_path: Path) -> None:
    tried: dict[int, list[Recipe]] = {0: [], 7: []}
    for seed, recipes in tried.items():
        study = Study(Search(trials=3, seed=seed), GATES, tmp_path / "s.log")
        for recipe in study.recipes():
            recipes.append(recipe)
            study.tell(recipe, landscape(recipe), FP32)
    assert [len(recipes) for recipes in tried.values()] == [3, 3] and tried[0] != tried[7]


def test_a_proposal_that_could_not_be_made_counts_and_the_search_goes_on(tmp_path: Path) -> None:
    study = Study(Search(trials=5), GATES, tmp_path / "s.log")
    count = 0
    for recipe in study.recipes():
        study.tell(recipe, None, FP32)
        count += 1
    assert count == 5


def test_the_time_budget_ends_a_search(tmp_path: Path) -> None:
    study = Study(Search(trials=1000, seconds=1e-9), GATES, tmp_path / "s.log")
    assert list(study.recipes()) == []


def test_without_trials_nothing_is_searched(tmp_path: Path) -> None:
    assert list(Study(Search(), GATES, tmp_path / "s.log").recipes()) == []


@pytest.mark.parametrize("recipe", DEFAULT_RECIPES, ids=lambda recipe: recipe.name)
def test_default_recipes_are_points_of_the_space(recipe: Recipe) -> None:
    params = params_of(recipe)
    assert params is not None
    steps = [s.model_copy(update={"milder": 0}) if isinstance(s, Prune) else s for s in recipe.steps]
    assert recipe_of(recipe.name, params).steps == tuple(
        steps
    )  # what is tried after it is no part of the space


@pytest.mark.parametrize(
    "steps",
    [
        [{"kind": "float16"}],
        [{"kind": "prune", "ratio": 0.55}],
        [{"kind": "prune", "ratio": 0.5, "epochs": 3}],
        [{"kind": "quantize", "mode": "static", "keep_float": ["a"]}],
        [{"kind": "quantize", "mode": "dynamic"}, {"kind": "float16"}],
    ],
)
def test_recipes_outside_the_space_are_left_out(steps: list[dict[str, object]]) -> None:
    assert params_of(Recipe.model_validate({"name": "x", "steps": steps})) is None
