"""Milder than what cost too much: the recipe to try after one that its score alone kept out. Pure."""

from math import isfinite

from tasks.config import Gates
from tasks.measured import Report
from tasks.recipes import Prune, Recipe

_SHARE = 0.7
"""Of the ratio: half, a third, a quarter."""


def milder(recipe: Recipe, report: Report, fp32: Report, gates: Gates, passes: int) -> Recipe | None:
    """The recipe trained as long as fp32 was (`passes` at most), then with 0.7 of what it prunes, as often as its step allows.

    None where it lost no more score than the gates allow, or what it lost is not the score.
    """
    drop = fp32.score - report.score
    if not isfinite(drop) or drop <= gates.max_score_drop or report.problems:
        return None
    for index, step in enumerate(recipe.steps):
        if isinstance(step, Prune) and step.milder:
            name, less = _less(recipe.name, step, passes)
            return Recipe(name=name, steps=(*recipe.steps[:index], less, *recipe.steps[index + 1 :]))
    return None


def _less(name: str, step: Prune, passes: int) -> tuple[str, Prune]:
    """pruned-50-int8 → pruned-50-int8-longer → pruned-35-int8-longer; a name that does not say the ratio gets it at its end."""
    left = step.milder - 1
    if step.epochs is None and passes > 1:  # else half of them, rounded up, are all
        return _ending(name, "-longer"), step.model_copy(update={"epochs": passes, "milder": left})
    ratio = round(step.ratio * _SHARE, 2)
    old, new = f"-{step.ratio * 100:.0f}", f"-{ratio * 100:.0f}"
    less = step.model_copy(update={"ratio": ratio, "milder": left})
    return (name.replace(old, new, 1) if old in name else _ending(name, new)), less


def _ending(name: str, end: str) -> str:
    """Within the 64 letters of a name."""
    return name[: 64 - len(end)] + end
