"""How sure a score is, and a difference of two on the same rows: paired bootstrap, overall and slice by slice."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from tasks.config import Gates
from tasks.data.arrays import Array, Samples
from tasks.goals import bootstrap
from tasks.goals.bootstrap import Marks
from tasks.goals.metric import Outputs, Targets, input_called, truth_of
from tasks.measured import Champion, Comparison, Detail, OtherDifference, OtherScore, Slice, SliceDifference
from tasks.records import Fitted
from tasks.workloads.scoring import decisions, marks, scores_of
from tasks.workloads.workload import Workload

_LARGEST_GROUPS = 50


def compare(
    workload: Workload,
    target: Targets,
    frame: pd.DataFrame,
    ours: Outputs,
    theirs: Outputs,
    champion: Champion,
    gates: Gates,
    copied: Array | None = None,
    fitted: Sequence[Fitted] = (),
) -> Comparison:
    """Challenger (`ours`) less champion (`theirs`), both raw outputs on the same rows, with intervals."""
    mine, other = (marks(workload, target, outputs, fitted) for outputs in (ours, theirs))
    before, after = (scores_of(workload, made)[0] for made in (other, mine))
    groups = [group for group in slices(workload, frame) if int(group[2].sum()) >= gates.min_slice_rows]
    level = 1 - (1 - gates.confidence) / max(1, len(groups))  # Bonferroni: many slices, few false alarms
    parts = (
        _slice(column, value, mine[0][mask], other[0][mask], level, None if copied is None else copied[mask])
        for column, value, mask in groups
    )
    return Comparison(
        champion=champion.version,
        sha256=champion.sha256,
        rows=len(mine[0]),
        score=before,
        difference=after - before,
        interval=bootstrap.difference(mine[0], other[0], gates.confidence, copied),
        changed=_share_changed(workload, target, ours, theirs, fitted),
        slices=tuple(part for part in parts if part is not None),
        others=other_differences(workload, mine, other, gates.confidence, copied),
    )


def _share_changed(
    workload: Workload, target: Targets, ours: Outputs, theirs: Outputs, fitted: Sequence[Fitted]
) -> float:
    targets = truth_of(target).targets
    said = (decisions(workload, outputs, fitted, targets) for outputs in (ours, theirs))
    pairs = zip(workload.goals, *said, strict=True)
    return float(np.any([goal.answer.moved(mine, other) for goal, mine, other in pairs], axis=0).mean())


def other_scores(
    workload: Workload, made: Sequence[Marks], level: float, groups: Array | None
) -> tuple[OtherScore, ...]:
    """Of each goal but the first, by their rows' marks."""
    return tuple(
        OtherScore(
            goal=goal.said,
            score=defined(rows),
            score_name=goal.metric.name,
            interval=bootstrap.interval(rows, level, groups),
        )
        for goal, rows in [*zip(workload.goals, made, strict=True)][1:]
    )


def other_differences(
    workload: Workload, ours: Sequence[Marks], theirs: Sequence[Marks], level: float, groups: Array | None
) -> tuple[OtherDifference, ...]:
    """Of each goal but the first: ours less theirs, by the same paired rows."""
    return tuple(
        OtherDifference(
            goal=goal.said,
            score_name=goal.metric.name,
            difference=mine.score() - other.score(),
            interval=bootstrap.difference(mine, other, level, groups),
        )
        for goal, mine, other in [*zip(workload.goals, ours, theirs, strict=True)][1:]
    )


def details(
    workload: Workload,
    samples: Samples,
    outputs: Outputs,
    level: float,
    groups: Array | None,
    fitted: Sequence[Fitted],
) -> tuple[Detail, ...]:
    """What the goals say beside their scores; an interval for what is one number."""
    said, answers = [], decisions(workload, outputs, fitted)
    inputs = {input_called(name): array for name, array in samples.inputs.items()}
    for goal, target, answer in zip(workload.goals, samples.targets, answers, strict=True):
        for metric in goal.details:
            rows = bootstrap.marks_of(metric, target, {**answer, **inputs}, samples.weight)
            values = [value if math.isfinite(value) else None for value in rows.values().tolist()]
            sure = bootstrap.interval(rows, level, groups) if len(values) == 1 else None
            said.append(Detail(goal=goal.said, name=metric.name, values=tuple(values), interval=sure))
    return tuple(said)


def slices(workload: Workload, frame: pd.DataFrame) -> Iterator[tuple[str, str, Array]]:
    """(column, value, mask over the rows) of each group of the workload's slice columns, the largest first."""
    for column in workload.slices:
        for value in frame[column].value_counts().index[:_LARGEST_GROUPS]:
            yield column, str(value), (frame[column] == value).to_numpy(bool, na_value=False)


def score_slices(workload: Workload, rows: Marks, frame: pd.DataFrame) -> tuple[Slice, ...]:
    """Each slice scored by itself, by the first goal's marks; None where the score is not defined (one class under AUC)."""
    return tuple(
        Slice(column=column, value=value, rows=int(mask.sum()), score=defined(rows[mask]))
        for column, value, mask in slices(workload, frame)
    )


def defined(rows: Marks) -> float | None:
    """The score of some rows, where they have one; somebody's own may raise where they have none."""
    try:
        value = rows.score()
    except Exception:
        return None
    return value if value == value else None


def _slice(
    column: str, value: str, ours: Marks, theirs: Marks, level: float, groups: Array | None
) -> SliceDifference | None:
    mine, other = defined(ours), defined(theirs)
    interval = bootstrap.difference(ours, theirs, level, groups)
    if mine is None or other is None or interval is None:
        return None
    return SliceDifference(
        column=column, value=value, rows=len(ours), difference=mine - other, interval=interval
    )
