"""The goals that there are names for, and `by_kind`, which makes one of the keywords that workloads had before."""

from collections.abc import Callable
from dataclasses import replace
from inspect import signature
from typing import Any

from tasks.goals import losses, metric
from tasks.goals.answer import Quantiles, Values
from tasks.goals.classes import Flags, Labels, Tags
from tasks.goals.goal import Goal
from tasks.goals.metric import Array, Arrays, Metric
from tasks.goals.target import Gains, InputItself, NoTarget, Numbers, Steps
from tasks.goals.words import Each, Many, One

Loss = Callable[..., Any]

Score = Callable[[Array, Array], float]


def Classify(
    column: str,
    *,
    output: str = "logits",
    loss: Loss | None = None,
    score: Metric | None = None,
    thresholds: bool = False,
    raw: bool = False,
) -> Goal:
    """One of the column's classes; logits [n, classes], or one logit for two. Cross-entropy, accuracy.

    The answer is `label`, a word [n], and `probability` [n, classes]; with `raw` also the logits. With `thresholds`, fitted on
    validation rows for each file, the word is "" where its class is not likely enough, and the score is macro F1.
    """
    return Goal(
        name="classification",
        target=Labels((column,)),
        outputs=(output,),
        loss=losses.cross_entropy if loss is None else loss,
        answer=One(thresholds=thresholds, raw=raw),
        metric=score or (metric.class_f1() if thresholds else metric.accuracy()),
        rowwise=loss is not None,
    )


def MultiLabel(
    *columns: str,
    output: str = "logits",
    loss: Loss | None = None,
    score: Metric | None = None,
    thresholds: bool = True,
    raw: bool = False,
) -> Goal:
    """Any of the labels, a column of 0 and 1 each; a logit for each, [n, labels]. Binary cross-entropy, macro F1.

    The answer is `label` [n, labels], each label's word or "", and `probability` [n, labels]. `thresholds` are fitted on
    validation rows for each file; without them they are 0.5.
    """
    return Goal(
        name="multi-label",
        target=Flags(columns),
        outputs=(output,),
        loss=losses.binary_cross_entropy if loss is None else loss,
        answer=Many(thresholds=thresholds, raw=raw),
        metric=score or metric.macro_f1(),
        rowwise=loss is not None,
    )


def Regress(
    *columns: str, output: str = "prediction", loss: Loss | None = None, score: Metric | None = None
) -> Goal:
    """A number a column; values [n] or [n, columns]. Squared error, R² (the mean over the columns)."""
    return Goal(
        name="regression",
        target=Numbers(columns),
        outputs=(output,),
        loss=losses.fitting(loss),
        answer=Values(),
        metric=score or metric.r2(),
        rowwise=loss is not None,
    )


def Forecast(
    column: str,
    *,
    horizon: int,
    quantiles: tuple[float, ...] = (),
    past: str | None = None,
    season: int = 1,
    output: str = "forecast",
    score: Metric | None = None,
) -> Goal:
    """The next `horizon` steps, of cells that hold as many; values [n, horizon], or [n, horizon, quantiles]. MAE or pinball loss.

    Said beside the score: the error of each step, and how much the quantiles cover and cross. `past` names the input, [n, steps],
    that is the series before, the oldest first: then also MASE, in units of the naive forecast of the same `season` before.
    """
    details = [metric.error_by_step(horizon)]
    if past is not None:
        details.insert(0, metric.mase(past, season))
    if len(quantiles) > 1:
        details += [metric.coverage(quantiles), metric.crossed(quantiles)]
    return Goal(
        name="forecast",
        target=Steps((column,), length=horizon, past=past, season=season),
        details=tuple(details),
        outputs=(output,),
        loss=losses.Pinball(quantiles) if quantiles else losses.mean_absolute_error,
        answer=Quantiles(levels=quantiles) if quantiles else Values(),
        metric=score or (metric.negative_pinball(quantiles) if quantiles else metric.negative_mae()),
    )


def Tag(
    column: str,
    *,
    length: int | tuple[int, ...],
    outside: str | None = "O",
    output: str = "logits",
    loss: Loss | None = None,
    score: Metric | None = None,
    raw: bool = False,
) -> Goal:
    """A tag for each place of a row, of cells that hold a list; logits [n, length, tags]. Cross-entropy, F1 but for `outside`.

    The answer is `label`, words [n, length], and `probability`; `outside` is the first tag. A row's places behind its last tag are learned and scored nowhere. Two lengths, such as (8, 8), are a picture's.
    """
    return Goal(
        name="tags",
        target=Tags((column,), shape=(length,) if isinstance(length, int) else length, outside=outside),
        outputs=(output,),
        loss=losses.each_cross_entropy if loss is None else loss,
        answer=Each(raw=raw, outside=outside is not None),
        metric=score or metric.tag_f1(),
    )


def Rank(
    column: str,
    *,
    query: str,
    at: int = 10,
    output: str = "score",
    loss: Loss | None = None,
    score: Metric | None = None,
) -> Goal:
    """How high each row stands among those of its query, by what it is worth there; a score a row. Listwise softmax, NDCG."""
    return Goal(
        name="ranking",
        target=Gains((column, query)),
        outputs=(output,),
        loss=losses.listwise if loss is None else loss,
        answer=Values(width=1),
        metric=replace(score or metric.ndcg(at), units=metric.query_of),
    )


def Reconstruct(
    source: str, *, output: str = "copy", loss: Loss | None = None, score: Metric | None = None
) -> Goal:
    """An input out of itself, in its shape. Squared error, mean absolute error."""
    return Goal(
        name="reconstruction",
        target=InputItself((), source=source),
        outputs=(output,),
        loss=losses.fitting(loss),
        answer=Values(),
        metric=score or metric.negative_mae(),
    )


def Match(*, ours: str = "anchor", theirs: str = "positive", at: int = 1, loss: Loss | None = None) -> Goal:
    """Two encoders' outputs, alike for what belongs together; [n, width] each. InfoNCE within the batch, recall."""
    return Goal(
        name="matching",
        target=NoTarget(()),
        outputs=(ours, theirs),
        loss=losses.contrastive if loss is None else loss,
        answer=Values(),
        metric=metric.recall(at),
    )


def by_kind(
    kind: str,
    target: str,
    *,
    output: str | None,
    loss: Loss | None,
    score: Score | None,
    score_name: str | None,
    probabilities: bool,
) -> Goal:
    """The goal that a workload's older keywords ask for; what is served is the model's own output, as ever."""
    make, name, asked = _KINDS[kind]
    goal = make(target, output=output or name, loss=loss)
    goal = replace(goal, answer=replace(goal.answer, undecided=True))
    if score is None:
        return replace(goal, metric=replace(goal.metric, name=score_name or goal.metric.name))
    return replace(goal, metric=metric_of(score, "probability" if probabilities else asked, name=score_name))


_KINDS: dict[str, tuple[Callable[..., Goal], str, str]] = {
    "classification": (Classify, "logits", "code"),
    "regression": (Regress, "prediction", "value"),
}


def metric_of(score: Score, of: str = "code", *, name: str | None = None) -> Metric:
    """A score of somebody's own, (truth, answers) to a number, of class codes [n], of their "probability" [n, classes] or of "value"s [n].

    Higher is better. scikit-learn's roc_auc_score and its like get, of two classes, the second's probability. Where rows weigh, it
    is given sample_weight.
    """
    return Metric(name or getattr(score, "__name__", "score").strip("<>"), whole=_asked(score, of))


def _asked(score: Score, what: str) -> Callable[..., float]:
    def whole(target: Array, answer: Arrays, weight: Array | None = None) -> float:
        given = answer[what]
        if what == "probability":
            given = given[:, 1] if given.shape[1] == 2 and _takes_one_column(score) else given
        if what == "value":
            given = given.reshape(len(given), -1)[:, 0]
        return float(score(target, given) if weight is None else score(target, given, sample_weight=weight))  # type: ignore[call-arg]

    return whole


def _takes_one_column(score: Any) -> bool:
    """Whether it is one of scikit-learn's that of two classes take the second's probability alone, such as roc_auc_score."""
    inner = getattr(score, "func", score)
    if not (getattr(inner, "__module__", None) or "").startswith("sklearn."):
        return False
    return "y_score" in signature(inner).parameters
