"""Other people's clients, each call of theirs that a server like this one can answer: MLflow's, kserve's, Triton's."""

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime as ort
import pytest
import serving_models as models
from serving_process import ServerProcess

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


CLIENT = """
import asyncio, json, sys
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig

async def main(url, rows):
    batch = np.array(rows, np.float32)
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    seen = {"live": await client.is_server_live(url), "ready": await client.is_server_ready(url)}
    seen["model"] = await client.is_model_ready(url, "digits")
    for name, options in {"json": {"binary_data": False}, "binary": {"binary_data": True}}.items():
        tensor = InferInput("x", list(batch.shape), "FP32")
        tensor.set_data_from_numpy(batch, **options)
        for outputs in ({}, {"parameters": {"binary_data_output": True}}):
            answer = await client.infer(url, InferRequest("digits", [tensor], **outputs), "digits")
            seen[f"{name} {len(outputs)}"] = answer.outputs[0].as_numpy().tolist()
    await client.close()
    print(json.dumps(seen))

asyncio.run(main(sys.argv[1], json.loads(sys.argv[2])))
"""


@pytest.mark.platform
@pytest.mark.timeout(900)
def test_every_call_of_kserves_client_works_from_an_environment_of_its_own(
    server: ServerProcess, wanted: Any, tmp_path: Path
) -> None:
    """It wants an older pandas, protobuf and psutil than this project has."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", KSERVE], check=True)
    (tmp_path / "client.py").write_text(CLIENT)
    asked = [python, tmp_path / "client.py", server.url, json.dumps(BATCH.tolist())]
    seen = json.loads(subprocess.run(asked, check=True, capture_output=True, text=True).stdout)
    assert seen.pop("live") is seen.pop("ready") is seen.pop("model") is True
    assert len(seen) == 4
    for numbers in seen.values():
        same(numbers, wanted)
