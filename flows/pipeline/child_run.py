"""The MLflow run of one training of a search: below the run that searches, with what it set and its curve."""

import time
from collections.abc import Callable, Sequence

from flows.pipeline.context import RunContext
from tasks.measured import TriedTraining
from tasks.records import Metric
from tasks.registry.tags import PARENT_TAG, SEARCH_TAG, TRAINING_TAG
from tasks.training.proposal import Proposal

_STATUS = {"finished": "FINISHED", "ended early": "KILLED", "failed": "FAILED"}

_LONGEST = 500

_BY_EPOCH = "search/score"
"""Curves of trainings whose batches differ lie over each other by epochs, and not by steps."""


class ChildRun:
    """Where a training's metrics go meanwhile; `ended` says what came of it."""

    def __init__(self, context: RunContext, run_id: str, *, going_on: bool) -> None:
        self._registry, self.run_id, self._going_on = context.registry, run_id, going_on

    @property
    def publish(self) -> Callable[[Sequence[Metric]], None] | None:
        """None for a run that had ended well: it has its curve."""
        return self._registry.publisher(self.run_id) if self._going_on else None

    def ended(self, tried: TriedTraining) -> TriedTraining:
        """Say so in MLflow; the record, with where its curve is."""
        if self._going_on:
            now, there = time.time_ns() // 1_000_000, self._registry.metric_history(self.run_id, _BY_EPOCH)
            curve = [
                Metric(_BY_EPOCH, score, epoch, now)
                for epoch, score in enumerate(tried.scores, 1)
                if score is not None
                and epoch not in there  # of an attempt that was killed when it had said so
            ]
            self._registry.log_metrics(self.run_id, curve)
            self._registry.tag_run(self.run_id, {"slipway.ended": f"{tried.state}: {tried.why}"[:_LONGEST]})
            self._registry.finish_run(self.run_id, _STATUS[tried.state])
        return tried.model_copy(update={"run_id": self.run_id})


def child_run(context: RunContext, proposal: Proposal) -> ChildRun:
    """The run of this training: the one that an attempt which was killed had begun, or a new one below the context's."""
    registry, label = context.registry, f"{proposal.study}-{proposal.name}"
    run_id = registry.run_by_tag(context.model, TRAINING_TAG, label)
    going_on = run_id is None or registry.resume_run(run_id)
    if run_id is None:
        tags = {TRAINING_TAG: label, SEARCH_TAG: proposal.study, PARENT_TAG: context.run_id or ""}
        run_id = registry.start_run(context.model, f"training {proposal.name}", tags)
    if going_on:
        registry.log_params(run_id, proposal.knobs)
    return ChildRun(context, run_id, going_on=going_on)
