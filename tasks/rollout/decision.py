"""What follows from the evidence: to stay, to go a step up, to promote, to go back, to ask. Pure: the same counts, the same decision."""

import datetime
import math
from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from tasks.rollout.counts import Counts, LabelCounts
from tasks.rollout.evalue import log_wealth
from tasks.rollout.evidence import Answer, Guard
from tasks.rollout.policy import Margins, RolloutPolicy
from tasks.system.frozen import Frozen

Action = Literal["stay", "step", "promote", "abort", "ask"]

SILENT = datetime.timedelta(minutes=2)
"""A pod that has not reported for so long holds the rollout."""

GONE = datetime.timedelta(minutes=15)
"""And after so long it is taken as gone, so that a killed one does not hold it for ever."""

FEWEST_FAILURES = 3
"""One failure on the first request wins a bet on 0.2%, and convinces nobody."""

BRAKE = 1e4
"""Wealth at which a process alone reverts: a hundred of them together use up a fifth of an alpha of 5%."""

SHARES = 5
"""Of alpha, for harm: four guards, and the processes' own brakes."""


class Pod(Frozen):
    """What is known of one process that serves the model."""

    age: datetime.timedelta = Field(description="Since its last report.")
    sequence: int = Field(description="Of the rollout's record that it obeyed then.")


class Place(Frozen):
    """Where a rollout stands, by the ledger and the pods' reports. Times have a zone."""

    step: int = Field(ge=0, description="In the policy's steps.")
    sequence: int = Field(ge=1, description="Of the record that pods should obey.")
    began: datetime.datetime
    stepped: datetime.datetime = Field(description="When this step began.")
    last: datetime.datetime = Field(description="The ledger's last entry.")
    then: Counts = Field(Counts(), description="When this step began.")
    paused: bool = False
    pods: Mapping[str, Pod] = {}


class ToGo(Frozen):
    """What a guard needs more until it is surely within its margin, if what comes is as what came; None: not at that rate."""

    guard: Guard
    pairs: int | None
    labels: int | None = None


class Decision(Frozen):
    """What to do now, and the sentence that says why."""

    action: Action
    why: str
    answers: tuple[Answer, ...] = ()
    to_go: tuple[ToGo, ...] = ()


def answers(policy: RolloutPolicy, counts: Counts, labels: LabelCounts | None) -> tuple[Answer, ...]:
    """Both questions of every guard that the policy asks, from counts alone: what the ledger keeps, and what a replay makes anew."""
    return ()


def failing(counts: Counts, margin: Margins) -> str | None:
    """Why a process reverts by itself, from its own counts; None: it does not."""
    seen = {
        0: counts.requests + counts.pairs - counts.served - counts.rescued - counts.failed,
        1: counts.rescued + counts.failed,
    }
    failures = seen[1]
    if failures >= FEWEST_FAILURES and log_wealth(seen, margin.errors, "above") >= math.log(BRAKE):
        return f"It failed {failures} of {seen[0] + failures} requests that the other version answered; {margin.errors:.2%} are allowed."
    return None


def decide(
    policy: RolloutPolicy, place: Place, counts: Counts, labels: LabelCounts | None, now: datetime.datetime
) -> Decision:
    """What follows, for who is at `place` and has seen `counts` from the rollout's start; `labels`: of rows past the horizon."""
    return Decision(action="stay", why="Nothing is decided yet.")
