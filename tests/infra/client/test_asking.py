"""A notebook that asks the running server."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import serving_models as models
import slipway
from onnx import TensorProto, helper, numpy_helper
from serving_process import ServerProcess

from infra.platform.state import Running, State, write_state
from tasks.errors import RefusedError

WORDS = np.array([f"word {number}" for number in range(10)], object)
KEY = "a-key-of-the-test"


def worded() -> models.ModelProto:
    """The mlp, with the word of its largest logit."""
    model = models.mlp()
    model.graph.node.append(helper.make_node("ArgMax", ["logits"], ["code"], axis=1, keepdims=0))
    model.graph.node.append(helper.make_node("Gather", ["words", "code"], ["label"]))
    model.graph.initializer.append(numpy_helper.from_array(WORDS, "words"))
    model.graph.output.insert(0, helper.make_tensor_value_info("label", TensorProto.STRING, ["n"]))
    return model


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("server")
    package = models.save(folder / "digits", worded(), {"x": [[0.5] * 64]})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLIPWAY_SERVE_KEYS", KEY)
        with ServerProcess(f"digits={package}", home=folder / "home", max_rows=7) as running:
            yield running


@pytest.fixture(autouse=True)
def _named(server: ServerProcess, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIPWAY_SERVER", server.url)
    monkeypatch.setenv("SLIPWAY_SERVER_KEY", KEY)


@pytest.fixture
def frame() -> pd.DataFrame:
    rows = np.random.default_rng(0).normal(size=(20, 64)).astype("float32")
    return pd.DataFrame({"x": list(rows), "customer": range(20)}, index=range(100, 120))


@pytest.mark.slow
def test_a_frame_comes_back_as_a_frame_of_answers_however_few_rows_the_server_takes_at_once(
    server: ServerProcess, frame: pd.DataFrame
) -> None:
    answers = slipway.predict("digits", frame)
    assert [*answers.columns] == ["label", "logits"] and answers.index.equals(frame.index)
    wanted = [WORDS[row.argmax()] for row in answers["logits"]]
    assert answers["label"].tolist() == wanted and len(set(wanted)) > 1
    assert answers["logits"].iloc[0].dtype == np.float32
    assert answers.attrs["model"] == "digits" and [*answers.attrs["versions"]] == ["local"]
    assert slipway.predict("digits", frame[:0]).empty


@pytest.mark.slow
def test_the_server_of_slipway_up_on_the_same_home_is_found(
    server: ServerProcess, frame: pd.DataFrame, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLIPWAY_SERVER")
    home.mkdir()
    me = psutil.Process()
    part = Running(
        name="server", pid=me.pid, since=datetime.now(UTC), restarts=0, url=server.url, health=server.url
    )
    write_state(home, State(home=home, pid=me.pid, created=me.create_time(), services=(part,)))
    assert slipway.predict("digits", frame[:1]).attrs["server"] == server.url


@pytest.mark.slow
def test_what_goes_wrong_is_one_sentence_and_no_secret(
    server: ServerProcess, frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(model: str = "digits", rows: object = frame, **how: str) -> str:
        with pytest.raises(slipway.UserError) as raised:
            slipway.predict(model, rows, **how)  # type: ignore[arg-type]
        sentence = str(raised.value)
        assert "\n" not in sentence and sentence.endswith(".") and "wrong-key" not in sentence
        return sentence

    assert "digts is not served at " in refused("digts") and "there is digits." in refused("digts")
    assert "there is no column x: there is customer." in refused(rows=frame[["customer"]])
    assert "input 'x' has shape [1, 3], the model takes [-1, 64]" in refused(rows={"x": [[1, 2, 3]]})
    assert "its key is refused: give it as key= or in SLIPWAY_SERVER_KEY" in refused(key="wrong-key")
    monkeypatch.delenv("SLIPWAY_SERVER_KEY")
    assert "it asks for a key" in refused()
    assert "'localhost:8080' is no server's address" in refused(server="localhost:8080")
    monkeypatch.setenv("SLIPWAY_SERVER", "http://127.0.0.1:9")
    assert "No model server answers at http://127.0.0.1:9: start one with `slipway up`" in refused()
    assert issubclass(RefusedError, slipway.UserError) and "SLIPWAY_SERVER" in os.environ
