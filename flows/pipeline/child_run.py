"""The MLflow run of one training of a search: below the run that searches, with what it set and its curve."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from flows.pipeline.context import RunContext
from tasks.measured import TriedTraining
from tasks.records import Metric
from tasks.registry.tags import PARENT_TAG, SEARCH_TAG, TRAINING_TAG
from tasks.training.proposal import Proposal

_STATUS = {"finished": "FINISHED", "ended early": "KILLED", "failed": "FAILED"}

_BY_EPOCH = "search/score"
"""Curves of trainings whose batches differ lie over each other by epochs, and not by steps."""


class ChildRun:
    """Where a training's metrics go meanwhile; `ended` says what came of it."""

    def __init__(self, context: RunContext, run_id: str, *, open_: bool) -> None:
        self._registry, self.run_id, self._open = context.registry, run_id, open_

    @property
    def publish(self) -> Callable[[Sequence[Metric]], None] | None:
        """None for a run that had ended well: it has its curve."""
        return self._registry.publisher(self.run_id) if self._open else None

    def ended(self, tried: TriedTraining) -> TriedTraining:
        """Say so in MLflow; the record, with where its curve is."""
        if self._open:
            now = time.time_ns() // 1_000_000
            curve = [
                Metric(_BY_EPOCH, score, epoch, now)
                for epoch, score in enumerate(tried.scores, 1)
                if score is not None
            ]
            self._registry.log_metrics(self.run_id, curve)
            self._registry.tag_run(self.run_id, {"slipway.ended": f"{tried.state}: {tried.why}"[:500]})
            self._registry.finish_run(self.run_id, _STATUS[tried.state])
        return tried.model_copy(update={"run_id": self.run_id})


@contextmanager
def child_run(context: RunContext, proposal: Proposal) -> Iterator[ChildRun]:
    """The run of this training: the one that an attempt which was killed had begun, or a new one; without a run above it, it is by itself."""
    registry, label = context.registry, f"{proposal.study}-{proposal.name}"
    run_id = registry.run_by_tag(context.model, TRAINING_TAG, label)
    open_ = run_id is None or registry.resume_run(run_id)
    if run_id is None:
        tags = {TRAINING_TAG: label, SEARCH_TAG: proposal.study}
        tags |= {PARENT_TAG: context.run_id} if context.run_id else {}
        run_id = registry.start_run(context.model, f"training {proposal.name}", tags)
    if open_:
        registry.log_params(run_id, proposal.knobs)
    yield ChildRun(context, run_id, open_=open_)
