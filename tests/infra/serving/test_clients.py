"""Other people's clients, each call of theirs that a server like this one can answer: MLflow's, kserve's, Triton's."""

import base64
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime as ort
import pytest
import serving_models as models
from free_ports import free_port
from serving_process import ServerProcess, wait_for
from shipped import CODED, GOALS, Shipped, ship

BATCH = np.random.default_rng(3).normal(size=(5, 64)).astype(np.float32)

KSERVE = "kserve==0.21.0"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.save(tmp_path_factory.mktemp("m") / "digits", models.mlp(), {"x": BATCH.tolist()})


@pytest.fixture(scope="module")
def server(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(f"digits={folder}", home=tmp_path_factory.mktemp("home")) as process:
        yield process


@pytest.fixture(scope="module")
def wanted(folder: Path) -> Any:
    session = ort.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": BATCH})[0]


def same(answer: Any, wanted: Any) -> None:
    np.testing.assert_allclose(np.array(answer, np.float32), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_every_call_of_mlflows_scoring_client_works(server: ServerProcess, wanted: Any) -> None:
    import pandas as pd
    from mlflow.pyfunc.scoring_server.client import ScoringServerClient
    from scipy.sparse import csr_matrix

    client = ScoringServerClient(*server.address)
    client.ping()
    client.wait_server_ready()
    assert client.get_version().count(".") >= 1
    text = json.dumps({"dataframe_records": [{"x": row} for row in BATCH.tolist()]})
    for data in (BATCH, BATCH.tolist(), pd.DataFrame({"x": list(BATCH)}), csr_matrix(BATCH), text):
        for params in (None, {}, {"temperature": 0.5}):
            same(client.invoke(data, params)["predictions"]["logits"], wanted)


TRITON: dict[str, dict[str, Any]] = {
    "plain": {},
    "a version": {"model_version": "local"},
    "an id": {"request_id": "7"},
    "parameters": {"parameters": {"a": 1}, "priority": 3, "timeout": 1000},
    "a sequence": {"sequence_id": 3, "sequence_start": True, "sequence_end": True},
    "a query": {"query_params": {"a": 1}},
    "headers": {"headers": {"X-Request-Id": "7"}},
    "gzip": {"request_compression_algorithm": "gzip", "response_compression_algorithm": "gzip"},
    "deflate": {"request_compression_algorithm": "deflate", "response_compression_algorithm": "deflate"},
}


@pytest.mark.parametrize("options", TRITON.values(), ids=TRITON)
def test_every_way_that_tritons_client_asks_works(
    server: ServerProcess, wanted: Any, options: dict[str, Any]
) -> None:
    http = pytest.importorskip("tritonclient.http")
    with http.InferenceServerClient(server.url.removeprefix("http://")) as client:
        for binary_in in (True, False):
            for outputs in (None, True, False):
                tensor = http.InferInput("x", list(BATCH.shape), "FP32")
                tensor.set_data_from_numpy(BATCH, binary_data=binary_in)
                asked = None if outputs is None else [http.InferRequestedOutput("logits", outputs)]
                result = client.infer(
                    "digits", [tensor], outputs=asked, **deepcopy(options)
                )  # it writes into headers
                same(result.as_numpy("logits"), wanted)
                same(client.async_infer("digits", [tensor]).get_result().as_numpy("logits"), wanted)


def test_what_tritons_client_asks_of_a_server_is_answered(server: ServerProcess) -> None:
    http = pytest.importorskip("tritonclient.http")
    with http.InferenceServerClient(server.url.removeprefix("http://")) as client:
        assert client.is_server_live() and client.is_server_ready()
        for version in ("", "local"):
            assert client.is_model_ready("digits", version)
            assert client.get_model_metadata("digits", version)["name"] == "digits"
        assert client.get_server_metadata()["name"] == "slipway"


def as_kserve_sends_it(binary: bool, **more: Any) -> tuple[bytes, dict[str, str]]:
    """Body and headers, as kserve 0.21 has them in protocol/infer_type.py (InferRequest.to_rest) and inference_client.py."""
    tensor: dict[str, Any] = {"name": "x", "shape": list(BATCH.shape), "datatype": "FP32"}
    if binary:
        tensor["parameters"] = {"binary_data_size": BATCH.nbytes}
    else:
        tensor["data"] = BATCH.flatten().tolist()
    text = json.dumps({"id": str(uuid.uuid4()), "model_name": "digits", "inputs": [tensor], **more}).encode()
    if not binary:
        return text, {"content-type": "application/json"}
    headers = {"inference-header-content-length": str(len(text)), "content-type": "application/octet-stream"}
    return text + BATCH.tobytes(), headers


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize(
    "more", [{}, {"outputs": [{"name": "logits"}]}, {"parameters": {"binary_data_output": True}}]
)
def test_what_kserves_client_sends_by_its_published_source_is_answered(
    server: ServerProcess, wanted: Any, binary: bool, more: dict[str, Any]
) -> None:
    body, headers = as_kserve_sends_it(binary, **more)
    response = httpx.post(f"{server.url}/v2/models/digits/infer", content=body, headers=headers)
    assert response.is_success, response.text
    length = int(response.headers.get("inference-header-content-length", len(response.content)))
    answer = json.loads(response.content[:length])
    assert answer["model_name"] == "digits"
    (output,) = answer["outputs"]
    raw = response.content[length:]
    numbers = np.frombuffer(raw, np.float32) if raw else np.array(output["data"])
    same(numbers.reshape(output["shape"]), wanted)


@pytest.mark.slow
def test_what_kserves_client_reads_of_health_is_json(server: ServerProcess) -> None:
    assert httpx.get(f"{server.url}/v2/health/live").json()["live"] is True
    assert httpx.get(f"{server.url}/v2/health/ready").json()["ready"] is True
    assert httpx.get(f"{server.url}/v2/models/digits/ready").is_success


KSERVES_CALLS = """
import asyncio, base64, json, sys
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig

NUMBERS = {"FP32": np.float32, "INT64": np.int64}

def read(values):
    return [base64.b64decode(value["base64"]) if isinstance(value, dict) else value for value in values]

def lists(array):
    flat = [value.decode() if isinstance(value, bytes) else value for value in array.ravel().tolist()]
    return np.array(flat, object).reshape(array.shape).tolist()

async def main(url, questions):
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    seen = {"live": await client.is_server_live(url), "ready": await client.is_server_ready(url), "answers": []}
    for model, columns in questions.items():
        assert await client.is_model_ready(url, model), model
        arrays = {
            name: (kind, np.array(read(values), NUMBERS.get(kind, object))) for name, (kind, values) in columns.items()
        }
        coded = any(isinstance(value, bytes) for _, array in arrays.values() for value in array.flat[:1])
        for binary in (True,) if coded else (True, False):  # it refuses bytes that are not UTF-8 in JSON
            tensors = []
            for name, (kind, array) in arrays.items():
                tensors.append(InferInput(name, [*array.shape], kind))
                tensors[-1].set_data_from_numpy(array, binary_data=binary)
            for wanted in (True, False):
                request = InferRequest(model, tensors, parameters={"binary_data_output": wanted})
                answer = await client.infer(url, request, model)
                outputs = {output.name: output.as_numpy() for output in answer.outputs}
                seen["answers"].append([model, {name: lists(array) for name, array in outputs.items()}])
    await client.close()
    print(json.dumps(seen))

asyncio.run(main(sys.argv[1], json.load(open(sys.argv[2]))))
"""

ROWS = 7

DATATYPES = {"float32": "FP32", "int64": "INT64", "str": "BYTES"}

NUMPY = {"FP32": np.float32, "INT64": np.int64}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Shipped]:
    """A model of each kind of answer, and two that are asked in text and in pictures."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CODED_FOLDER", str(tmp_path_factory.mktemp("tokenizer")))
        return {name: ship(name, tmp_path_factory.mktemp(name)) for name in (*GOALS, *CODED)}


@pytest.fixture(scope="module")
def harbour(fleet: dict[str, Shipped], tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Our server of all of them."""
    names = [f"{name}={shipped.package}" for name, shipped in fleet.items()]
    with ServerProcess(*names, home=tmp_path_factory.mktemp("home")) as process:
        yield process


def agree(answer: dict[str, Any], wanted: dict[str, Any], whose: str) -> None:
    """The same words, and numbers but for the last digits."""
    assert answer.keys() == wanted.keys(), whose
    for name, expected in wanted.items():
        values = np.array(answer[name], object if expected.dtype.kind in "OU" else expected.dtype)
        assert values.shape == expected.shape, (whose, name)
        if values.dtype.kind == "O":
            assert values.tolist() == expected.tolist(), (whose, name)
        else:
            np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-6, err_msg=f"{whose}: {name}")


def tensors_of(shipped: Shipped) -> dict[str, tuple[str, list[int], list[Any]]]:
    """Datatype, shape and values of what a request brings, by name; a picture as its bytes."""
    asked = shipped.asked(ROWS)
    kinds = {spec.name: DATATYPES[spec.dtype] for spec in shipped.dataset.asked}
    columns = asked.request(slice(0, ROWS)) | {name: values[:ROWS] for name, values in asked.values.items()}
    return {name: (kinds[name], [*np.shape(values)], values) for name, values in columns.items()}


@pytest.mark.platform
def test_every_kind_of_answer_is_ours_and_the_runtimes_and_comes_through_tritons_client(
    fleet: dict[str, Shipped], harbour: ServerProcess
) -> None:
    http = pytest.importorskip("tritonclient.http")
    seen: set[str] = set()
    with http.InferenceServerClient(harbour.url.removeprefix("http://")) as client:
        for name, shipped in fleet.items():
            wanted, request = shipped.answers(ROWS), {"inputs": shipped.asked(ROWS).request(slice(0, ROWS))}
            seen |= wanted.keys()
            path = f"/models/{name}/invocations"
            agree(harbour.post(path, request).json["predictions"], wanted, f"ours of {name}")
            for binary in (True, False):
                tensors = []
                for column, (kind, shape, values) in tensors_of(shipped).items():
                    tensors.append(http.InferInput(column, shape, kind))
                    array = np.array(values, NUMPY.get(kind, object))
                    in_json = not binary and not isinstance(array.flat[0], bytes)  # it refuses bytes in JSON
                    tensors[-1].set_data_from_numpy(array, binary_data=not in_json)
                outputs = [http.InferRequestedOutput(output, binary_data=binary) for output in wanted]
                result = client.infer(name, tensors, outputs=outputs)
                read = {output: words_of(result.as_numpy(output)) for output in wanted}
                agree(read, wanted, f"Triton's of {name}")
    assert seen == {"label", "probability", "prediction", "forecast", "score", "copy", "anchor", "positive"}


def words_of(array: Any) -> Any:
    """Text, where a client leaves it as bytes."""
    if array.dtype != object:
        return array
    words = [value.decode() if isinstance(value, bytes) else value for value in array.flat]
    return np.array(words, object).reshape(array.shape)


@contextmanager
def mlflow_serves(package: Path, log: Path) -> Iterator[str]:
    """The address of `mlflow models serve`, once it answers."""
    url, words = f"http://127.0.0.1:{(port := free_port())}", ["serve", "--env-manager", "local", "--port"]
    command = [sys.executable, "-m", "mlflow", "models", *words, str(port), "-m", str(package)]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, env={**os.environ, "PATH": path}, stdout=file, stderr=file, start_new_session=True
        )
    try:
        wait_for(lambda: process.poll() is not None or up(f"{url}/ping"), pause=0.2)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def up(url: str) -> bool:
    try:
        return httpx.get(url).is_success
    except httpx.TransportError:
        return False


@pytest.mark.platform
@pytest.mark.timeout(900)
def test_mlflow_models_serve_gives_every_kind_of_answer_as_our_server_does(
    fleet: dict[str, Shipped], harbour: ServerProcess, tmp_path: Path
) -> None:
    for name, shipped in fleet.items():
        request = {"inputs": shipped.asked(ROWS).request(slice(0, ROWS))}
        with mlflow_serves(shipped.package, tmp_path / f"{name}.log") as url:
            theirs = httpx.post(f"{url}/invocations", json=request, timeout=60)
        assert theirs.is_success, theirs.text
        ours = harbour.post(f"/models/{name}/invocations", request).json["predictions"]
        agree(theirs.json()["predictions"], shipped.answers(ROWS), f"MLflow's of {name}")
        agree(ours, shipped.answers(ROWS), f"ours of {name}")


@pytest.mark.platform
@pytest.mark.timeout(900)
def test_every_call_of_kserves_client_works_from_an_environment_of_its_own(
    fleet: dict[str, Shipped], harbour: ServerProcess, tmp_path: Path
) -> None:
    """It wants an older pandas, protobuf and psutil than this project has. Text and pictures are sent as they are."""
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    subprocess.run([python, "-m", "pip", "install", "-q", KSERVE], check=True)
    questions = {
        name: {
            column: (kind, [in_text(value) for value in values])
            for column, (kind, _, values) in tensors_of(shipped).items()
        }
        for name, shipped in fleet.items()
    }
    (tmp_path / "questions.json").write_text(json.dumps(questions))
    (tmp_path / "calls.py").write_text(KSERVES_CALLS)
    asked = [python, tmp_path / "calls.py", harbour.url, tmp_path / "questions.json"]
    done = subprocess.run(asked, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    seen = json.loads(done.stdout)
    assert seen["live"] is seen["ready"] is True
    assert len(seen["answers"]) == 4 * len(fleet) - 2
    for name, answer in seen["answers"]:
        agree(answer, fleet[name].answers(ROWS), f"kserve's of {name}")


def in_text(value: Any) -> Any:
    return {"base64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value
