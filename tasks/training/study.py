"""Looks for better knobs of a training: Optuna proposes, validation scores decide, and what was tried makes the next proposal.

Nothing is kept here: a study that is told the same results proposes the same, so that whoever has stored the results goes on from them.
"""

import itertools
import math
from collections.abc import Sequence
from statistics import median
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState

from tasks.config import RunConfig, is_range
from tasks.errors import StepError
from tasks.measured import Searched, TriedTraining
from tasks.training.proposal import Proposal
from tasks.training.space import (
    budget_of,
    distributions,
    own_point,
    params_of,
    point_of,
    points_in,
    with_point,
)

AT_ONCE = 4
"""Trainings of a round, which are proposed before any of them has ended: a cluster has something to share, and one machine tries the same."""

_BEFORE_BAR = 5
"""Finished trainings, before which none is ended early."""

_UNPRESSED = 0.25
"""The share of its epochs in which none is: what begins slowly may end well."""

_DRAWN = 8
"""Trainings whose knobs are drawn before what is known decides: two rounds."""

_TRIES = 20
"""Draws of a point that was tried already, before one that was not is taken from the list of all, where they can be listed."""

_LISTED = 10_000


class Study:
    """One search: `propose` a round, `tell` what came of it, until nothing is proposed."""

    def __init__(self, run: RunConfig, identity: str, first: str | None = None) -> None:
        """`identity`: what else decides the results, such as rows and code; `first`: the model that is trained where none is named."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._run, self._search, self.identity = run, run.search, identity
        self._study = optuna.create_study(direction="maximize")
        self._distributions = distributions(run.search)
        self._seen: list[dict[str, Any]] = []
        self._round: list[optuna.Trial] = []
        self._tried: list[TriedTraining] = []
        self._minutes = self._cpu_seconds = 0.0
        self._ended = ""
        self._own = own_point(run, first)
        if self._own is not None:
            self._study.enqueue_trial(params_of(run.search, self._own))

    def propose(self) -> list[Proposal]:
        """The next round; empty when the budget is used up or every point is tried."""
        limit = budget_of(self._search)
        bar, best = bar_of(self._tried), _best(self._tried)
        proposals: list[Proposal] = []
        while len(proposals) < AT_ONCE and not self.out_of_time():
            if len(self._seen) == limit:
                self._ended = f"{limit} were asked for"
                break
            if (point := self._draw()) is None:
                break
            proposals.append(self._proposal(point, bar, best))
        return proposals

    def out_of_time(self) -> bool:
        """Whether no further training may be started."""
        for spent, name, unit in (
            (self._minutes, "training_minutes", "minutes"),
            (self._cpu_seconds, "training_cpu_seconds", "CPU-seconds"),
        ):
            limit = getattr(self._search, name)
            if limit is not None and spent >= limit:
                self._ended = f"{limit:g} {unit} were up"
                return True
        return False

    def tell(self, results: Sequence[TriedTraining]) -> None:
        """What came of the next proposals, in their order, which were started together."""
        self._minutes += _seconds_of(results) / 60
        self._cpu_seconds += sum(tried.cpu_seconds for tried in results)
        self._tried += results
        if len(self._tried) == len(self._seen):
            for trial, tried in zip(self._round, self._tried[-len(self._round) :], strict=True):
                self._learn(trial, tried)
            self._round.clear()

    def searched(self) -> Searched:
        """What was tried, and the choice of it. Raises StepError when none came to an end."""
        finished = [tried for tried in self._tried if tried.score is not None and tried.state == "finished"]
        if not finished:
            raise StepError(
                f"None of the {len(self._tried)} trainings of search.space came to an end: {self._tried[0].why}"
            )
        choice = max(finished, key=lambda tried: tried.score or 0.0)
        return Searched(trainings=tuple(self._tried), chosen=choice.name, ended=self._ended)

    def _draw(self) -> dict[str, Any] | None:
        """The next point, by the seed and what was told; None, and why, when there is no other."""
        count = points_in(self._search)
        if len(self._seen) == count:
            self._ended = f"all {count} points of the space were tried"
            return None
        for attempt in range(_TRIES):
            self._study.sampler = optuna.samplers.TPESampler(
                seed=self._seed(attempt), n_startup_trials=_DRAWN
            )
            trial = self._study.ask(self._distributions)
            first = None if self._seen else self._own
            point = first or point_of(self._search, trial.params)
            if point not in self._seen:
                self._take(point, trial)
                return point
            self._study.tell(trial, state=TrialState.FAIL)
        if count is None or count > _LISTED:
            self._ended = "nothing else was proposed"
            return None
        others = [point for point in self._points() if point not in self._seen]
        point = others[self._seed(_TRIES) % len(others)]
        self._study.enqueue_trial(params_of(self._search, point))
        self._take(point, self._study.ask(self._distributions))
        return point

    def _take(self, point: dict[str, Any], trial: optuna.Trial) -> None:
        self._seen.append(point)
        self._round.append(trial)

    def _points(self) -> list[dict[str, Any]]:
        """All of them, where they can be counted."""
        choices = [
            range(values[0], values[1] + 1) if is_range(name, values) else values
            for name, values in self._search.space.items()
        ]
        return [dict(zip(self._search.space, each, strict=True)) for each in itertools.product(*choices)]

    def _seed(self, attempt: int) -> int:
        """Of each proposal its own, so that a search that goes on proposes what one that was never ended does."""
        return int(np.random.SeedSequence((self._search.seed, len(self._seen), attempt)).generate_state(1)[0])

    def _proposal(self, point: dict[str, Any], bar: Sequence[float | None], best: float | None) -> Proposal:
        run = with_point(self._run, point)
        assert run.train is not None
        unpressed = int(run.train.epochs * _UNPRESSED)
        return Proposal(
            study=self.identity,
            name=f"{len(self._seen) - 1:03d}",
            knobs=point,
            model=run.model,
            train=run.train,
            bar=(*(None for _ in bar[:unpressed]), *bar[unpressed:]),
            best=best,
        )

    def _learn(self, trial: optuna.Trial, tried: TriedTraining) -> None:
        for epoch, score in enumerate(tried.scores, 1):
            if score is not None:
                trial.report(score, epoch)
        if tried.state == "finished" and tried.score is not None:
            self._study.tell(trial, tried.score)
        else:
            early = tried.state == "ended early"
            self._study.tell(trial, state=TrialState.PRUNED if early else TrialState.FAIL)


def bar_of(tried: Sequence[TriedTraining]) -> tuple[float | None, ...]:
    """What half of the finished trainings had reached after each epoch, as Optuna's MedianPruner asks it; nothing of fewer than five."""
    finished = [training.scores for training in tried if training.state == "finished"]
    if len(finished) < _BEFORE_BAR:
        return ()
    by_epoch = itertools.zip_longest(*finished)
    known = [[score for score in scores if score is not None] for scores in by_epoch]
    return tuple(median(scores) if scores else None for scores in known)


def _seconds_of(results: Sequence[TriedTraining]) -> float:
    """In which any of them went on: a cluster has some side by side, and each of its machines one after another."""
    seconds, end = 0.0, -math.inf
    for tried in sorted(results, key=lambda tried: tried.began):
        ends = tried.began + tried.wall_seconds
        seconds += max(0.0, ends - max(tried.began, end))
        end = max(end, ends)
    return seconds


def _best(tried: Sequence[TriedTraining]) -> float | None:
    return max((each.score for each in tried if each.score is not None), default=None)
