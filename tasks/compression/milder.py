"""Less of what cost too much: the recipe to try after one that its score alone kept out. Pure."""

from math import isfinite

from tasks.config import Gates
from tasks.measured import Report
from tasks.recipes import Prune, Recipe

_SHARE = 0.7
"""Of the ratio: half, a third, a quarter."""


def milder(recipe: Recipe, report: Report, fp32: Report, gates: Gates) -> Recipe | None:
    """The recipe with 0.7 of what it prunes, as often as its step allows; None where it lost no more score than the gates allow."""
    drop = fp32.score - report.score
    if not isfinite(drop) or drop <= gates.max_score_drop or report.problems:
        return None
    for index, step in enumerate(recipe.steps):
        if isinstance(step, Prune) and step.milder:
            ratio = round(step.ratio * _SHARE, 2)
            less = step.model_copy(update={"ratio": ratio, "milder": step.milder - 1})
            steps = (*recipe.steps[:index], less, *recipe.steps[index + 1 :])
            return Recipe(name=_name(recipe.name, step.ratio, ratio), steps=steps)
    return None


def _name(name: str, before: float, after: float) -> str:
    """pruned-50-int8 → pruned-35-int8; a name that does not say the ratio gets it at its end."""
    old, new = f"-{before * 100:.0f}", f"-{after * 100:.0f}"
    return name.replace(old, new, 1) if old in name else name + new
