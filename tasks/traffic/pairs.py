"""Rows that two versions answered: how many agreed, and what labels say of the others."""

import datetime

from tasks.rollout.counts import LabelCounts
from tasks.rollout.policy import RolloutPolicy
from tasks.rollout.record import RolloutRecord
from tasks.settings import Settings


def label_counts(
    settings: Settings, model: str, record: RolloutRecord, policy: RolloutPolicy, now: datetime.datetime
) -> LabelCounts:
    """What labels say of the rollout's pairs of before `now` less the horizon; empty where nothing was recorded.

    Raises UserError for a model whose rows have no scores of their own.
    """
    raise NotImplementedError
