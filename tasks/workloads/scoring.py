"""What a score is, in one place: training, validation and the gate all ask here. Plain numpy: scikit-learn takes seconds."""

from inspect import signature
from typing import TYPE_CHECKING, Any

from tasks.system.sentences import as_user_error
from tasks.workloads.workload import Workload

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]


def score(workload: Workload, target: "Array", outputs: "Array") -> float:
    """The workload's score of a model's raw outputs against `target` [n]; higher is better.

    `outputs` are the model's own: logits [n, classes], or values [n] or [n, 1]. NaN where the score is not defined on
    these rows (no rows, a constant target under R², one class under AUC). Raises UserError when the workload's own score fails.
    """
    if len(target) == 0:
        return float("nan")
    if workload.score is not None:
        return _own(workload, target, outputs)
    scores = row_scores(workload, target, outputs)
    return float(scores.mean()) if scores is not None else r2(target, predictions(workload, outputs))


def score_name(workload: Workload) -> str:
    """What the score is called in tables and metrics."""
    if workload.score is None:
        return workload.score_name or ("accuracy" if workload.kind == "classification" else "r2")
    return workload.score_name or getattr(workload.score, "__name__", "score").strip("<>")


def predictions(workload: Workload, outputs: "Array") -> "Array":
    """Class codes [n] by the largest logit (one column: its sign), or values [n]."""
    columns = outputs.reshape(len(outputs), -1)
    if workload.kind == "regression":
        return columns[:, 0]
    codes: Array = columns.argmax(axis=1) if columns.shape[1] > 1 else (columns[:, 0] > 0).astype("int64")
    return codes


def probabilities(outputs: "Array") -> "Array":
    """Softmax of logits [n, classes], in float64, safe for large ones; one column becomes two by the sigmoid."""
    import numpy as np

    logits = outputs.reshape(len(outputs), -1).astype("float64")
    if logits.shape[1] == 1:
        logits = np.hstack([np.zeros_like(logits), logits])
    grown = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: Array = grown / grown.sum(axis=1, keepdims=True)
    return shares


def row_scores(workload: Workload, target: "Array", outputs: "Array") -> "Array | None":
    """Each row's part of the score, float64[n], when the score is their mean (accuracy); else None."""
    if workload.score is not None or workload.kind != "classification":
        return None
    right: Array = (predictions(workload, outputs) == target).astype("float64")
    return right


def r2(target: "Array", values: "Array", axis: int = -1) -> Any:
    """The share of the target's variance that `values` explain, along `axis`; NaN for a constant target."""
    import numpy as np

    target, values = target.astype("float64"), values.astype("float64")
    residual = ((target - values) ** 2).sum(axis=axis)
    total = ((target - target.mean(axis=axis, keepdims=True)) ** 2).sum(axis=axis)
    with np.errstate(divide="ignore", invalid="ignore"):
        result = np.where(total > 0, 1 - residual / total, np.nan)
    return float(result) if result.ndim == 0 else result


def _own(workload: Workload, target: "Array", outputs: "Array") -> float:
    assert workload.score is not None
    given = predictions(workload, outputs)
    if workload.probabilities:
        given = probabilities(outputs)
        given = given[:, 1] if given.shape[1] == 2 and _takes_one_column(workload.score) else given
    what = f"Workload {workload.name}: its score {score_name(workload)} failed on {len(target)} rows"
    with as_user_error(what):
        return float(workload.score(target, given))


def _takes_one_column(score: Any) -> bool:
    """Whether it is one of scikit-learn's that of two classes take the second's probability alone, such as roc_auc_score."""
    inner = getattr(score, "func", score)
    if not (getattr(inner, "__module__", None) or "").startswith("sklearn."):
        return False
    return "y_score" in signature(inner).parameters
