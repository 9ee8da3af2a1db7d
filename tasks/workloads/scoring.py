"""What a workload's goals make of outputs and targets, in one place: training, validation and the gate all ask here."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tasks.records import Fitted
from tasks.system.sentences import as_user_error
from tasks.workloads.workload import Workload

if TYPE_CHECKING:
    from tasks.goals.bootstrap import Marks
    from tasks.goals.metric import Array, Arrays, Outputs, Targets


def decisions(
    workload: Workload,
    outputs: "Outputs",
    fitted: Sequence[Fitted] = (),
    targets: "Sequence[Array]" = (),
) -> "tuple[Arrays, ...]":
    """What is said of rows by each goal, from a model's outputs by name, or the first one alone.

    With `targets`, each goal's, nothing is said of places behind a row's end.
    """
    named = {**outputs} if isinstance(outputs, Mapping) else {workload.outputs[0]: outputs}
    learned = fitted or (Fitted(),) * len(workload.goals)
    said = tuple(goal.decide(named, own) for goal, own in zip(workload.goals, learned, strict=True))
    pairs = zip(workload.goals, said, targets, strict=False)
    return tuple(goal.answer.within(answer, target) for goal, answer, target in pairs) if targets else said


def marks(
    workload: Workload, targets: "Targets", outputs: "Outputs", fitted: Sequence[Fitted] = ()
) -> "tuple[Marks, ...]":
    """Rows as each goal's metric sees them. Raises UserError when a metric of the workload's own fails."""
    from tasks.goals.bootstrap import marks_of
    from tasks.goals.metric import truth_of

    truth, made = truth_of(targets), []
    answers = decisions(workload, outputs, fitted)
    for goal, target, answer in zip(workload.goals, truth.targets, answers, strict=True):
        with as_user_error(_what_failed(workload, goal.metric.name, len(target))):
            made.append(marks_of(goal.metric, target, answer, truth.weight))
    return tuple(made)


def scores(
    workload: Workload, targets: "Targets", outputs: "Outputs", fitted: Sequence[Fitted] = ()
) -> tuple[float, ...]:
    """Each goal's score of a model's outputs against its targets; higher is better. The first picks and gates.

    NaN where it is not defined on these rows (no rows, a constant target under R², one class under AUC). Raises UserError
    when a metric of the workload's own fails.
    """
    from tasks.goals.metric import truth_of

    truth = truth_of(targets)
    if not len(truth):
        return (float("nan"),) * len(workload.goals)
    return scores_of(workload, marks(workload, truth, outputs, fitted))


def scores_of(workload: Workload, made: "tuple[Marks, ...]") -> tuple[float, ...]:
    """Each goal's score of rows as its metric sees them. Raises UserError when a metric of the workload's own fails."""
    scored = []
    for goal, rows in zip(workload.goals, made, strict=True):
        with as_user_error(_what_failed(workload, goal.metric.name, len(rows))):
            scored.append(rows.score())
    return tuple(scored)


def score(workload: Workload, targets: "Targets", outputs: "Outputs", fitted: Sequence[Fitted] = ()) -> float:
    """The first goal's."""
    return scores(workload, targets, outputs, fitted)[0]


def score_name(workload: Workload) -> str:
    """What the score is called in tables and metrics."""
    return workload.goals[0].metric.name


def _what_failed(workload: Workload, name: str, rows: int) -> str:
    return f"Workload {workload.name}: its score {name} failed on {rows} rows"
