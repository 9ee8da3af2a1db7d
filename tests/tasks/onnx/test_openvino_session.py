import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from decided import WORDS, decided, looked_up, many, one, spoken
from engines_here import OPENVINO, asked
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.errors import UserError
from tasks.onnx.engines import open_in
from tasks.onnx.session import Session, open_session

LIMITS = [0.3, 0.4, 0.2, 0.9, 0.1]

ROWS = np.random.default_rng(1).normal(size=(70, 16)).astype("float32")


@pytest.mark.parametrize("kind, limits", [(one, None), (one, LIMITS), (many, LIMITS)])
def test_words_and_thresholds_are_decided_of_the_engines_own_numbers(kind: object, limits: object) -> None:
    content = decided(kind, limits)  # type: ignore[arg-type]
    session, plain = open_in(OPENVINO, content), open_session(content)
    for count in (1, 3, 64):
        label, shares, logits = session.run(None, {"x": ROWS[:count]})
        theirs = plain.run(None, {"x": ROWS[:count]})
        for ours, its in zip((label, shares, logits), theirs, strict=True):
            assert (ours.dtype, ours.shape) == (its.dtype, its.shape)
        np.testing.assert_allclose(logits, theirs[2], atol=0.05 * np.abs(theirs[2]).max())
        least = np.array(limits if limits else [0] * 5, "float32")
        if kind is one:
            code = shares.argmax(axis=1)
            said = np.where(shares.max(axis=1) >= least[code], np.array(WORDS)[code], "")
        else:
            said = np.where(shares >= least, np.array(WORDS), "")
        np.testing.assert_array_equal(label.astype(str), said)


def test_what_is_decided_of_need_not_be_given_and_outputs_come_by_name() -> None:
    session = open_in(OPENVINO, decided(one, LIMITS, given=False))
    label, shares = session.run(None, {"x": ROWS[:7]})
    (alone,) = session.run(["label"], {"x": ROWS[:7]})
    np.testing.assert_array_equal(label, alone)
    assert [value.name for value in session.get_outputs()] == ["label", "probability"]
    assert shares.shape == (7, 5)


@settings(max_examples=20)
@given(st.integers(0, 12))
def test_batches_below_the_crossing_are_those_of_onnx_runtime_to_the_bit(count: int) -> None:
    session, plain = _crossing()
    with asked() as batches:
        ours, theirs = (each.run(["logits"], {"x": ROWS[:count]})[0] for each in (session, plain))
    assert ours.shape == theirs.shape and len(batches) == (count >= 6)
    assert count >= 6 or np.array_equal(ours, theirs)


@cache
def _crossing() -> tuple[Session, Session]:
    content = decided(one)
    return open_in(OPENVINO.model_copy(update={"rows": 6}), content), open_session(content)


def test_an_answer_is_not_overwritten_by_the_next_batch() -> None:
    session = open_in(OPENVINO, decided(None))
    (first,) = session.run(None, {"x": ROWS[:8]})
    kept = first.copy()
    session.run(None, {"x": ROWS[8:16]})
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("index", [-11, 10, 2**40])
def test_an_index_that_no_table_has_is_refused_and_not_answered_with_zeros(index: int) -> None:
    session = open_in(OPENVINO, looked_up())
    assert session.run(None, {"words": np.full((2, 3), 9)})[0].shape == (2, 3, 4)
    with pytest.raises(Exception, match="out of"):
        session.run(None, {"words": np.full((2, 3), index)})


def test_text_where_a_graph_computes_is_said_to_be_onnx_runtimes_alone() -> None:
    with pytest.raises(UserError, match="text inside"):
        open_in(OPENVINO, spoken())


_WATCHED = """
import os, sys
seen = []
def look(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.fork", "os.posix_spawn"):
        seen.append(event)
        raise OSError("nobody is called from here")
sys.addaudithook(look)
import logging, numpy as np
logging.disable()
{work}
import threading
for thread in threading.enumerate():
    if thread is not threading.current_thread():
        thread.join(5)
print(len(seen), os.path.exists(os.path.expanduser("~/intel")))
"""

_RUNS = """
from decided import decided
from engines_here import OPENVINO, asked
from tasks.onnx.engines import Session, open_in
open_in(OPENVINO, decided()).run(None, {"x": np.ones((8, 16), "float32")})
assert "openvino" in sys.modules
"""


@pytest.mark.slow
def test_openvino_calls_nobody_and_leaves_nothing_in_the_home_folder(tmp_path: Path) -> None:
    assert _watched(_RUNS, tmp_path / "ours") == "0 False"


@pytest.mark.slow
def test_the_same_look_sees_that_openvino_by_itself_would_call(tmp_path: Path) -> None:
    calls, left = _watched("import openvino", tmp_path / "its").split()
    assert int(calls) > 0 and left == "True"


def _watched(work: str, home: Path) -> str:
    home.mkdir()
    environment = {**os.environ, "HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path)}
    for name in ("CI", "TF_BUILD", "JENKINS_URL"):  # it is silent there by itself
        environment.pop(name, None)
    command = [sys.executable, "-c", _WATCHED.replace("{work}", work)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout.strip().splitlines()[-1]
