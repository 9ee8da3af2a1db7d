"""What a ledger's entry keeps of a rollout: enough to recompute the decision from it alone."""

import math
from typing import Literal

from pydantic import Field

from tasks.rollout.counts import Counts, LabelCounts
from tasks.system.frozen import Frozen

Guard = Literal["errors", "slower", "tail", "score"]

Question = Literal["harmful", "within"]
"""Surely worse than the margin allows; surely not."""


class Answer(Frozen):
    """One question about one guard, as it stood."""

    guard: Guard
    question: Question
    mean: float | None = Field(description="Of what was seen; None before anything was.")
    bound: float = Field(description="The mean that the question is about.")
    alpha: float
    log_wealth: float
    enough: bool = Field(
        True,
        description="False: no yes, whatever the wealth (fewer than 3 failures, a score within the margin, labels that cannot prove it).",
    )

    @property
    def sure(self) -> bool:
        """Yes, at any look: the wealth has reached 1 / alpha."""
        return self.enough and self.log_wealth >= -math.log(self.alpha)


class RolloutEvidence(Frozen):
    """The counts of all processes together, and what they say."""

    run: str
    step: int
    weight: float
    policy: str = Field(
        description="SHA-256 of the policy's canonical JSON, which the start's entry has whole."
    )
    counts: Counts = Counts()
    labels: LabelCounts | None = None
    labels_sha256: str | None = None
    answers: tuple[Answer, ...] = ()
