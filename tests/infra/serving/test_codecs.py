"""The same tensors, to the bit, in training, in the server and in MLflow's python_function, whichever way a value is sent."""

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from coded import echo, jpegs
from serving_process import ServerProcess

from tasks.data.dataset import asked_rows, read_split
from tasks.records import Dataset

Array = np.ndarray[Any, Any]
Ship = tuple[Dataset, Path, ServerProcess]

BY_MLFLOW = """
import json, sys
import mlflow.pyfunc, numpy as np, pandas as pd
from mlflow.pyfunc.scoring_server import invocations

model = mlflow.pyfunc.load_model(sys.argv[1])
columns = json.load(open(sys.argv[2]))
numbers = {"numbers": "float32"}
records = [dict(zip(columns, row)) for row in zip(*columns.values())]
asked = {
    "dict": {name: np.array(values, numbers.get(name, str)) for name, values in columns.items()},
    "frame": pd.DataFrame({name: list(values) for name, values in columns.items()}),
}
answers = {name: model.predict(data) for name, data in asked.items()}
bodies = {
    "inputs": columns,
    "instances": records,
    "dataframe_records": records,
    "dataframe_split": {"columns": list(columns), "data": [list(record.values()) for record in records]},
}
for name, body in bodies.items():
    answer = invocations(json.dumps({name: body}), "application/json", model, model.metadata.get_input_schema())
    assert answer.status == 200, answer.response
    answers[name] = json.loads(answer.response)["predictions"]
first = answers["dict"]
for name, answer in answers.items():
    for output, expected in first.items():
        np.testing.assert_array_equal(expected, np.array(answer[output], expected.dtype), err_msg=name)
np.savez(sys.argv[3], **first)
assert "torch" not in sys.modules and not any(name.startswith("tasks") for name in sys.modules)
"""


@pytest.fixture(scope="module", params=["reads", "sees"])
def ship(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ship]:
    folder = tmp_path_factory.mktemp(request.param)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CODED_FOLDER", str(folder))
        dataset, package = echo(request.param, folder)
    with ServerProcess(f"m={package}", home=folder / "home", max_rows=1000) as server:
        yield dataset, package, server


def same(answers: dict[str, Any], trained: dict[str, Array]) -> None:
    """Padded to the longest that came along, where training is padded to the longest that can be."""
    for name, expected in trained.items():
        got = np.asarray(answers[f"{name}_again"], expected.dtype)
        width = got.shape[1] if got.ndim == 2 else None
        np.testing.assert_array_equal(got, expected[:, :width] if width else expected)


@pytest.mark.slow
def test_training_server_and_python_function_read_a_value_alike_to_the_bit(
    ship: Ship, tmp_path: Path
) -> None:
    dataset, package, server = ship
    columns: dict[str, list[Any]] = {spec.name: [] for spec in dataset.asked}
    whole: dict[str, list[Array]] = {spec.name: [] for spec in dataset.inputs}
    for split in dataset.rows:
        asked = asked_rows(dataset, split, 1000)
        trained = {name: np.asarray(array) for name, array in read_split(dataset, split).inputs.items()}
        request = asked.request(slice(None))
        for name, values in request.items():
            columns[name] += values
        for name, array in trained.items():
            whole[name].append(array)
        answer = server.post("/invocations", orjson.dumps({"inputs": request}))
        assert answer.status == 200, answer.body
        same(json.loads(answer.body)["predictions"], trained)
        for at in range(0, min(40, dataset.rows[split]), 8):  # alone, and padded as it is alone
            one = orjson.dumps({"inputs": asked.request(slice(at, at + 1))})
            answers = json.loads(server.post("/invocations", one).body)["predictions"]
            same(answers, {name: array[at : at + 1] for name, array in trained.items()})
            same(
                {f"{n}_again": a for n, a in asked.feed(slice(at, at + 1)).items()},
                {n: a[at : at + 1] for n, a in trained.items()},
            )
    (tmp_path / "columns.json").write_bytes(orjson.dumps(columns))
    script = [sys.executable, "-c", BY_MLFLOW, package, tmp_path / "columns.json", tmp_path / "answers.npz"]
    done = subprocess.run([*map(str, script)], cwd=tmp_path, env={"PATH": ""}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(tmp_path / "answers.npz") as answers:
        assert len(answers[f"{next(iter(whole))}_again"]) >= (500 if len(dataset.asked) > 1 else 150)
        same(dict(answers), {name: np.concatenate(arrays) for name, arrays in whole.items()})


@pytest.mark.slow
def test_a_picture_and_a_text_are_bodies_by_themselves(ship: Ship) -> None:
    dataset, _, server = ship
    (first, *others) = dataset.asked
    if others:  # more than one input: no body can be all of them
        answer = server.post("/invocations", b"a cat", {"Content-Type": "text/plain"})
        assert answer.status == 415 and b"this path takes application/json" in answer.body
        return
    picture = jpegs(1)[0]
    raw = server.post("/invocations", picture, {"Content-Type": "image/jpeg"})
    coded = orjson.dumps({"inputs": {first.name: [base64.b64encode(picture).decode()]}})
    assert raw.status == 200 and raw.body == server.post("/invocations", coded).body
    cut = server.post("/invocations", picture[:-40], {"Content-Type": "image/png"})
    assert (cut.status, json.loads(cut.body)["error"]) == (422, "'photo': value 0 is no whole JPEG or PNG")
    assert server.post("/invocations", b"a cat", {"Content-Type": "text/plain"}).status == 415


@pytest.mark.slow
def test_tritons_client_sends_and_gets_them(ship: Ship) -> None:
    from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput

    dataset, _, server = ship
    asked = asked_rows(dataset, "test", 5)
    client = InferenceServerClient(":".join(map(str, server.address)))
    metadata = client.get_model_metadata("m")["inputs"]
    assert [(i["name"], i["datatype"]) for i in metadata if i["name"] in asked.values] == [
        (n, "BYTES") for n in asked.values
    ]
    for binary in (True, False):
        inputs = []
        for spec in dataset.asked:
            values = asked.values.get(spec.name)
            text = spec.name in asked.values
            array = np.array(values, object) if text else np.array(asked.inputs[spec.name])
            inputs.append(InferInput(spec.name, [*array.shape], "BYTES" if text else "FP32"))
            if binary or text:  # their client refuses bytes that are not UTF-8 in JSON
                inputs[-1].set_data_from_numpy(array, binary_data=binary or isinstance(array.flat[0], bytes))
            else:
                inputs[-1].set_data_from_numpy(array, binary_data=False)
        names = [f"{spec.name}_again" for spec in dataset.inputs]
        answer = client.infer(
            "m", inputs, outputs=[InferRequestedOutput(name, binary_data=binary) for name in names]
        )
        same(
            {name: answer.as_numpy(name) for name in names},
            {s.name: read_split(dataset, "test").inputs[s.name][:5] for s in dataset.inputs},
        )
