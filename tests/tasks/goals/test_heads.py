"""The nodes decide what numpy decides: whichever answer, size and threshold."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from tasks.goals.words import Each, Many, One, Worded
from tasks.records import Fitted

Array = np.ndarray[Any, Any]
WORDS = ("crème", "b", "", "日本")


def session(answer: Worded, axes: tuple[int | str, ...], fitted: Fitted) -> Any:
    """Logits in, the answer out."""
    head = answer.head({"logits": axes}, fitted)
    assert head is not None
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, axes)
    graph = helper.make_graph(head.nodes, "head", [logits], head.outputs, head.constants)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(proto, full_check=True)
    return onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 10_000),
    st.integers(1, 9),
    st.booleans(),
    st.sampled_from(["one", "logit", "wide", "many", "each"]),
)
def test_words_and_probabilities_are_those_that_numpy_decides(
    seed: int, rows: int, thresholds: bool, which: str
) -> None:
    rng = np.random.default_rng(seed)
    classes = WORDS[:2] if which == "logit" else WORDS
    limits = tuple(map(float, rng.uniform(0.2, 0.6, len(classes)).astype("float32"))) if thresholds else None
    tails: dict[str, tuple[int, ...]] = {"one": (4,), "logit": (), "wide": (6,), "many": (4,), "each": (3, 4)}
    make: dict[str, Callable[[], Worded]] = {"many": Many, "each": Each}
    answer = make.get(which, One)()
    fitted = Fitted(classes=classes, thresholds=None if which == "each" else limits)
    logits = (3 * rng.normal(size=(rows, *tails[which]))).astype("float32")
    label, probability = session(answer, ("batch", *tails[which]), fitted).run(None, {"logits": logits})
    expected = answer.decide([logits], fitted)
    assert probability == pytest.approx(expected["probability"], abs=1e-6)
    again = answer.read([label.astype(str), probability], fitted)
    if which == "many":
        chosen = np.where(expected["chosen"], np.array(classes), "")
        assert label.tolist() == chosen.tolist()
        assert again["chosen"].tolist() == (chosen != "").tolist()
    else:
        words = np.array([*classes, "class 4", "class 5", ""])  # -1, for nothing is said, is the last
        assert label.tolist() == words[expected["code"]].tolist()


def test_a_threshold_lies_where_f1_is_best_and_a_class_of_few_rows_keeps_its_own() -> None:
    rng = np.random.default_rng(0)
    there = rng.random((400, 2)) < (0.3, 0.02)
    logits = (rng.normal(size=(400, 2)) + 2 * there - 3).astype("float32")
    answer, fitted = Many(thresholds=True), Fitted(classes=("often", "rare"))
    learned, notes = answer.fit([logits], there.astype("float32"), fitted)
    assert learned.thresholds is not None and learned.thresholds[1] == 0.5 and learned.thresholds[0] < 0.5
    assert len(notes) == 1 and f"'rare' has {int(there[:, 1].sum())} validation rows" in notes[0]

    def f1(limit: float) -> float:
        said = answer.decide([logits], Fitted(classes=fitted.classes, thresholds=(limit, 0.5)))["chosen"][
            :, 0
        ]
        return float(2 * (said & there[:, 0]).sum() / (said.sum() + there[:, 0].sum()))

    assert f1(learned.thresholds[0]) >= max(f1(limit) for limit in np.linspace(0, 1, 501))


def test_a_champions_answers_are_held_to_ours_by_their_words() -> None:
    ours, theirs = Fitted(classes=("a", "b", "c")), Fitted(classes=("c", "a"))
    shares = np.array([[0.9, 0.1], [0.2, 0.8]])
    aligned = One().aligned([np.array(["c", "a"]), shares], theirs, ours)
    answer = One().read(aligned, ours)
    assert answer["code"].tolist() == [2, 0]
    assert answer["probability"].tolist() == [[0.1, 0, 0.9], [0.8, 0, 0.2]]
    assert One().comparable(theirs, ours) and not One().comparable(Fitted(classes=("x", "y")), ours)
    assert not One(undecided=True).comparable(theirs, ours)
