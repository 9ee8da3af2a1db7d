"""Trainings that stop before their end for a reason of their own: a search goes on to the next one."""

from collections.abc import Sequence
from pathlib import Path

from tasks.errors import StepError

Bar = Sequence[float | None]
"""What a training has to have reached after each epoch from the first, to go on; None: nothing is asked."""


class UnfinishedError(StepError):
    """A training that cannot, or need not, be taken to its end."""

    folder: Path | None = None
    """Where its metrics are."""


class DivergedError(UnfinishedError):
    """Its loss or its weights are no numbers any more."""


class NoRoomError(UnfinishedError):
    """The memory of its GPU does not hold a batch of it."""


class EndedEarlyError(UnfinishedError):
    """Half of the trainings before it had been better after as many epochs."""


def check_bar(bar: Bar, epoch: int, best: float) -> None:
    """Raise EndedEarlyError for a training whose best score after `epoch` epochs is below what is asked."""
    asked = bar[epoch - 1] if epoch <= len(bar) else None
    if asked is not None and best < asked:
        raise EndedEarlyError(
            f"its best score after {epoch} epochs is {best:.4f}, and the middle of those before it {asked:.4f}"
        )
