"""A training that a search proposes, as the step that tries it is given it. Apart, for those who try it need no Optuna."""

from typing import Any

from tasks.config import Train
from tasks.system.frozen import Frozen


class Proposal(Frozen):
    """A training to try."""

    study: str
    """Which search it belongs to; the same number of another is another training."""
    name: str
    knobs: dict[str, Any]
    model: str | None
    train: Train
    bar: tuple[float | None, ...] = ()
    best: float | None = None
    """The best score so far: what is no better need not be kept."""
