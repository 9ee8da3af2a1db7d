"""What clients of MLflow and of the Open Inference Protocol get, over real sockets and from their own client libraries."""

import gzip
import json
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import serving_models as models
from serving_process import ServerProcess, wait_for

ROW = np.linspace(-1, 1, 64, dtype=np.float32)
BATCH = np.random.default_rng(3).normal(size=(5, 64)).astype(np.float32)
TOKENS = {"tokens": [[1, 2, 3], [4, 5, 6]], "features": [[0.5, 0, 0, 1], [1, 2, 3, 4]]}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {
        "digits": models.save(root / "digits", models.mlp(), {"x": [ROW.tolist()]}),
        "words": models.save(root / "words", models.two_inputs(), TOKENS),
    }


@pytest.fixture(scope="module")
def server(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    targets = [f"{name}={folder}" for name, folder in folders.items()]
    with ServerProcess(*targets, home=tmp_path_factory.mktemp("home")) as process:
        yield process


@pytest.fixture(scope="module")
def single(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(f"digits={folders['digits']}", home=tmp_path_factory.mktemp("home")) as process:
        yield process


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def expected(folder: Path, **feeds: Any) -> list[Any]:
    session = ort.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


def same(answer: Any, wanted: Any) -> None:
    np.testing.assert_allclose(np.array(answer, np.float32), wanted, rtol=1e-5, atol=1e-6)


def flattened(batch: Any) -> dict[str, Any]:
    return {"columns": ["x"], "data": [[row.tolist()] for row in batch]}


@pytest.mark.slow
@pytest.mark.parametrize(
    "body",
    [
        {"inputs": {"x": BATCH.tolist()}},
        {"inputs": BATCH.tolist()},
        {"instances": BATCH.tolist()},
        {"instances": [{"x": row.tolist()} for row in BATCH]},
        {"dataframe_split": flattened(BATCH)},
        {"dataframe_records": [{"x": row.tolist()} for row in BATCH]},
    ],
    ids=lambda body: next(iter(body)),
)
def test_every_mlflow_format_gives_the_predictions_of_the_model(
    single: ServerProcess, folders: dict[str, Path], body: dict[str, Any]
) -> None:
    for _ in range(2):  # the second time the outline of the body was seen
        answer = single.post("/invocations", body)
        assert answer.status == 200, answer.body
        same(answer.json["predictions"]["logits"], expected(folders["digits"], x=BATCH)[0])


def post(url: str, body: Any) -> Any:
    request = urllib.request.Request(
        f"{url}/invocations", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=120) as response:
        return json.load(response)


def agree(ours: Any, theirs: Any) -> None:
    assert ours.keys() == theirs.keys()
    same(ours["logits"], np.float32(theirs["logits"]))


@pytest.mark.slow
def test_answers_have_the_shape_and_values_of_mlflows_own_scoring_server(
    single: ServerProcess, folders: dict[str, Path], tmp_path: Path
) -> None:
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--env-manager", "local", "-h", "127.0.0.1"]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "-m", str(folders["digits"]), "-p", str(port)], stdout=log, stderr=log, env=environment
        )
    try:
        from mlflow.pyfunc.scoring_server.client import ScoringServerClient

        theirs = ScoringServerClient("127.0.0.1", port)
        theirs.wait_server_ready(240, process)
        ours = ScoringServerClient(*single.address)
        ours.wait_server_ready()
        from_client = [client.invoke(BATCH)["predictions"] for client in (ours, theirs)]
        agree(*from_client)
        for body in (
            {"inputs": {"x": BATCH.tolist()}},
            {"instances": [{"x": row.tolist()} for row in BATCH]},
            {"dataframe_split": flattened(BATCH)},
            {"dataframe_records": [{"x": row.tolist()} for row in BATCH]},
        ):
            agree(*(post(server.url_prefix, body)["predictions"] for server in (ours, theirs)))
    finally:
        process.terminate()
        process.wait(120)


@pytest.mark.slow
def test_pyfunc_on_the_same_folder_predicts_the_same(single: ServerProcess, folders: dict[str, Path]) -> None:
    import mlflow

    local = mlflow.pyfunc.load_model(str(folders["digits"])).predict({"x": BATCH})
    answer = single.post("/invocations", {"inputs": {"x": BATCH.tolist()}})
    same(answer.json["predictions"]["logits"], local["logits"])


@pytest.mark.slow
def test_several_inputs_of_several_types_and_lengths(server: ServerProcess, folders: dict[str, Path]) -> None:
    for length in (3, 1, 7):
        tokens = (np.arange(2 * length) % 50).reshape(2, length)
        features = np.float32(TOKENS["features"])
        body = {"inputs": {"tokens": tokens.tolist(), "features": features.tolist()}}
        for _ in range(2):
            answer = server.post("/models/words/invocations", body)
            assert answer.status == 200, answer.body
            wanted = expected(folders["words"], tokens=tokens, features=features)
            same(answer.json["predictions"]["sum"], wanted[0])
            same(answer.json["predictions"]["total"], wanted[1])


def test_every_answer_names_model_version_and_digest(server: ServerProcess, folders: dict[str, Path]) -> None:
    import hashlib

    digest = hashlib.sha256((folders["digits"] / "model.onnx").read_bytes()).hexdigest()
    for path, body, status in (
        ("/models/digits/invocations", {"inputs": [ROW.tolist()]}, 200),
        ("/models/digits/invocations", {"inputs": [[1]]}, 422),
        ("/models/digits/invocations", b"{", 400),
    ):
        answer = server.post(path, body)
        assert answer.status == status
        named = {name: answer.headers[f"x-model-{name}"] for name in ("name", "version", "digest")}
        assert named == {"name": "digits", "version": "local", "digest": digest}


def test_several_models_have_a_path_each_and_none_by_default(server: ServerProcess) -> None:
    answer = server.post("/invocations", {"inputs": [ROW.tolist()]})
    assert (answer.status, answer.json["code"]) == (404, "which_model")
    assert "/models/digits/invocations" in answer.json["error"]


def test_gzip_bodies_are_unpacked_and_bombs_are_not(single: ServerProcess) -> None:
    body = json.dumps({"inputs": [ROW.tolist()]}).encode()
    plain = single.post("/invocations", body)
    packed = single.post("/invocations", gzip.compress(body), {"Content-Encoding": "gzip"})
    assert (packed.status, packed.body) == (200, plain.body)
    bomb = single.post("/invocations", gzip.compress(b" " * 64_000_000), {"Content-Encoding": "gzip"})
    assert bomb.status == 413
    cut = single.post("/invocations", gzip.compress(body)[:-9], {"Content-Encoding": "gzip"})
    assert cut.status == 400
    other = single.post("/invocations", body, {"Content-Encoding": "br"})
    assert other.status == 415


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"", 400, "not JSON"),
        (b'{"inputs": [[NaN]]}', 400, "not JSON"),
        (b'{"inputs": [[1e999]]}', 400, "not JSON"),
        (b"[" * 5000 + b"]" * 5000, 400, "not JSON"),
        (b"\xef\xbb\xbf{}", 400, "not JSON"),
        (b'{"inputs": 1, "inputs": 2}', 400, "twice"),
        (b'{"inputs": {"x": [[1]], "x": [[2]]}}', 400, "twice"),
        (b'{"inputs": {"x": [[1]], "\\u0078": [[2]]}}', 400, "twice"),
        (b"[1]", 422, "exactly one of"),
        (b'{"rows": [[1]]}', 422, "exactly one of"),
        (b'{"inputs": [[1]], "params": {}}', 422, "shape [1, 1]"),
        (b'{"inputs": [[1]], "params": [1]}', 422, "must be an object"),
        (b'{"params": {}}', 422, "exactly one of"),
        (b'{"inputs": {"y": [[1]]}}', 422, "no input 'y'"),
        (b'{"inputs": {}}', 422, "'x' is missing"),
        (b'{"inputs": []}', 422, "at least one row"),
        (b'{"inputs": [[1, 2], [3]]}', 422, "ragged"),
        (b'{"inputs": [[1, 2]]}', 422, "shape [1, 2]"),
        (b'{"inputs": "x"}', 422, "by name"),
        (b'{"instances": [{"x": [1]}, {"y": [1]}]}', 422, "same names"),
        (b'{"dataframe_split": {"data": [[1]]}}', 422, "columns"),
        (b'{"dataframe_split": {"columns": ["x"], "data": [[1, 2]]}}', 422, "rows of 1"),
        (b'{"dataframe_records": {"x": 1}}', 422, "by name"),
    ],
)
def test_bad_bodies_get_a_clear_4xx(single: ServerProcess, body: bytes, status: int, says: str) -> None:
    answer = single.post("/invocations", body)
    assert answer.status == status
    assert says in answer.json["error"]


@pytest.mark.parametrize("value", [True, None, "1", {}, [1], 1e300])
def test_a_value_of_the_wrong_kind_in_an_outline_seen_before_is_refused(
    single: ServerProcess, value: Any
) -> None:
    good = [ROW.tolist()]
    assert single.post("/invocations", {"inputs": good}).status == 200
    bad = [[*good[0][:-1], value]]
    assert single.post("/invocations", {"inputs": bad}).status == 422


def test_integers_are_integers_and_indices_are_in_range(server: ServerProcess) -> None:
    path = "/models/words/invocations"
    features = [[0.5, 0, 0, 1]]
    assert server.post(path, {"inputs": {"tokens": [[1, 2]], "features": features}}).status == 200
    fraction = server.post(path, {"inputs": {"tokens": [[1.5, 2]], "features": features}})
    assert (fraction.status, "integers" in fraction.json["error"]) == (422, True)
    huge = server.post(path, {"inputs": {"tokens": [[2**64 - 1]], "features": features}})
    assert (huge.status, "outside int64" in huge.json["error"]) == (422, True), "it is not taken for -1"
    outside = server.post(path, {"inputs": {"tokens": [[999999, 2]], "features": features}})
    assert (outside.status, outside.json["code"]) == (422, "unfit_input")
    uneven = server.post(path, {"inputs": {"tokens": [[1], [2]], "features": features}})
    assert (uneven.status, "rows" in uneven.json["error"]) == (422, True)


def test_triton_client_reads_metadata_and_gets_binary_and_json_outputs(
    server: ServerProcess, folders: dict[str, Path]
) -> None:
    httpclient = pytest.importorskip("tritonclient.http")
    client = httpclient.InferenceServerClient(server.url.removeprefix("http://"))
    try:
        assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("digits")
        metadata = client.get_model_metadata("digits")
        assert metadata["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 64]}]
        assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
        wanted = expected(folders["digits"], x=BATCH)[0]
        for binary_in in (True, False):
            for binary_out in (True, False):
                tensor = httpclient.InferInput("x", list(BATCH.shape), "FP32")
                tensor.set_data_from_numpy(BATCH, binary_data=binary_in)
                asked = [httpclient.InferRequestedOutput("logits", binary_data=binary_out)]
                result = client.infer("digits", [tensor], outputs=asked, request_id="7")
                same(result.as_numpy("logits"), wanted)
                assert result.get_response()["id"] == "7"
        with pytest.raises(Exception, match="no input"):
            wrong = httpclient.InferInput("nope", [1, 64], "FP32")
            wrong.set_data_from_numpy(ROW[None])
            client.infer("digits", [wrong])
    finally:
        client.close()


def v2(**changes: Any) -> dict[str, Any]:
    tensor = {"name": "x", "shape": [1, 64], "datatype": "FP32", "data": ROW.tolist()}
    return {"inputs": [{**tensor, **changes}]}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (v2(datatype="FP64"), "takes FP32"),
        (v2(shape=[1, 63]), "shape"),
        (v2(shape=[2, 64]), "64 values"),
        (v2(shape=[-1, 64]), "list of sizes"),
        (v2(data=None), "no 'data'"),
        (v2(extra=1), "unknown field"),
        (v2(parameters={"binary_data_size": 256}), "both 'data'"),
        ({"inputs": []}, "list of tensors"),
        ({**v2(), "outputs": [{"name": "nope"}]}, "no output"),
        ({**v2(), "outputs": [{"name": "logits", "parameters": {"classification": 3}}]}, "classification"),
        ({**v2(), "more": 1}, "unknown field"),
        ({**v2(), "model_name": "words"}, "'model_name' is 'words', the path is that of 'digits'"),
        ({**v2(), "model_name": None}, "'model_name' is None"),
        ({"inputs": v2()["inputs"] * 2}, "twice"),
    ],
)
def test_bad_v2_requests_get_a_clear_422(server: ServerProcess, body: dict[str, Any], says: str) -> None:
    answer = server.post("/v2/models/digits/infer", body)
    assert answer.status == 422
    assert says in answer.json["error"]


@pytest.mark.slow
def test_v2_checks_the_length_of_its_parts_and_the_version_in_the_path(server: ServerProcess) -> None:
    head = json.dumps(
        {
            "inputs": [
                {"name": "x", "shape": [1, 64], "datatype": "FP32", "parameters": {"binary_data_size": 256}}
            ]
        }
    ).encode()
    length = {"Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"}
    path = "/v2/models/digits/infer"
    first = server.post(path, head + ROW.tobytes(), length)
    for _ in range(2):  # the second time its JSON part was seen
        other = server.post(path, head + (2 * ROW).tobytes(), length)
        assert (other.status, other.body == first.body) == (200, False)
        assert server.post(path, head + ROW.tobytes(), length).body == first.body
        assert server.post(path, head + ROW.tobytes()[:-1], length).status == 422
        assert server.post(path, head + ROW.tobytes() + b"x", length).status == 400
        infinite = np.full(64, np.inf, np.float32).tobytes()
        assert server.post(path, head + infinite, length).json["code"] == "not_finite"
    for odd in ("-1", "9999999", "x", "1e3", "0" * 18 + "9999999", "0" * 5000):
        assert server.post(path, head, {**length, "Inference-Header-Content-Length": odd}).status == 400
    assert server.post("/v2/models/digits/versions/local/infer", v2()).status == 200
    assert server.post("/v2/models/digits/versions/9/infer", v2()).status == 404
    for path in ("", "/ready"):
        assert server.get(f"/v2/models/digits/versions/local{path}").status == 200
        assert server.get(f"/v2/models/digits/versions/9{path}").json["code"] == "no_such_version"


@pytest.mark.slow
def test_health_says_alive_and_ready_and_metrics_count(single: ServerProcess) -> None:
    assert single.get("/ping").status == 200
    assert single.get("/health").json["status"] == "alive"
    assert single.get("/ready").json["ready"] is True
    before = single.metric('slipway_serving_requests_total{model="digits",status="200"')
    single.post("/invocations", {"inputs": [ROW.tolist()]})
    after = wait_for(lambda: single.metric('slipway_serving_requests_total{model="digits",status="200"'))
    assert after == before + 1
