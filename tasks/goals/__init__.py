"""Goals: what is learned of a row, what is said of it, and how good that is; no step outside asks which goal it has.

Public: `Classify`, `MultiLabel`, `Regress`, `Forecast`, `Tag`, `Rank`, `Reconstruct` and `Match`, each of which makes a `Goal`; its
`Target`, `Answer` (`Values`, `One`, `Many`, `Each` or `Quantiles`) and `Metric`, of which a goal of one's own is made; and
`metric_of` a score function.
"""

from tasks.errors import UserError
from tasks.goals.answer import Answer, Quantiles, Values
from tasks.goals.goal import Goal, GoalError
from tasks.goals.kinds import (
    Classify,
    Forecast,
    Match,
    MultiLabel,
    Rank,
    Reconstruct,
    Regress,
    Tag,
    metric_of,
)
from tasks.goals.metric import Metric
from tasks.goals.target import Target
from tasks.goals.words import Each, Many, One

__all__ = [
    "Answer",
    "Classify",
    "Each",
    "Forecast",
    "Goal",
    "GoalError",
    "Many",
    "Match",
    "Metric",
    "MultiLabel",
    "One",
    "Quantiles",
    "Rank",
    "Reconstruct",
    "Regress",
    "Tag",
    "Target",
    "Values",
    "metric_of",
]

_NOT_OFFERED = {
    "Generate": "an answer that is asked for again and again has no single digest of rows; Slipway proves one pass",
    "Detect": "outputs of different length a row cannot be batched; give boxes and scores of a fixed size, with a mask",
}


def __getattr__(name: str) -> object:
    """What people look for here, and why it is not; as AttributeError has it for any other name."""
    if name in _NOT_OFFERED:
        raise UserError(f"goal {name} is not offered: {_NOT_OFFERED[name]}.")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
