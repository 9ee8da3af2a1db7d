"""What a ledger's entry keeps of a rollout: enough to recompute the decision from it alone."""

import math
from typing import Literal

from pydantic import Field

from tasks.rollout.counts import Counts, LabelCounts
from tasks.rollout.policy import RolloutPolicy
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


class Terms(Frozen):
    """What a rollout was begun with, whole: the start's entry has it, and every later decision follows from it."""

    policy: RolloutPolicy
    old: int
    new: int
    old_sha256: str
    new_sha256: str
    salt: str


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
    terms: Terms | None = Field(
        None, description="Of a start's entry alone.", exclude_if=lambda terms: terms is None
    )

    def __str__(self) -> str:
        seen, labels = self.counts, self.labels
        where = f"{100 * self.weight:g}% of the keys" if self.weight else "shadow"
        said = f"{where}: {seen.pairs:,} pairs and {seen.requests:,} requests, {seen.failed + seen.rescued:,} failed, {seen.agreed:,} agreed"
        if labels is not None:
            told = labels.better + labels.worse + labels.neither
            said += f"; {told:,} labels where they differ ({labels.better:,} better, {labels.worse:,} worse), {labels.missing:,} missing"
        return said
