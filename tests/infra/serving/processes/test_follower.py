"""Following a real MLflow over HTTP: swap, refuse, go back, survive without the registry."""

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import serving_models as models
from onnx.onnx_ml_pb2 import ModelProto
from registered import BODY, ROW, Registered, looked_again, serves
from serving_process import PATIENCE, ServerProcess, wait_for

pytestmark = pytest.mark.slow  # every test starts servers


@pytest.fixture
def registered(mlflow_server: str, tmp_path: Path) -> Registered:
    return Registered(mlflow_server, tmp_path / "models")


def predict(registered: Registered, version: str) -> Any:
    path = str(registered.folders[version] / "model.onnx")
    return ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"x": ROW})[0]


class Traffic:
    """Requests on a few connections, all the while; every answer is kept."""

    def __init__(self, server: ServerProcess, connections: int = 4) -> None:
        self.address = server.address
        self.failures: list[str] = []
        self.answers: list[tuple[str, Any]] = []
        self.going = True
        self.threads = [threading.Thread(target=self._run) for _ in range(connections)]

    def _run(self) -> None:
        connection = http.client.HTTPConnection(*self.address, timeout=PATIENCE)
        body = json.dumps(BODY)
        while self.going:
            try:
                connection.request("POST", "/invocations", body, {"Content-Type": "application/json"})
                response = connection.getresponse()
                content = response.read()
            except OSError as error:
                self.failures.append(repr(error))
                connection.close()
                continue
            if response.status != 200:
                self.failures.append(f"{response.status} {content!r}")
            else:
                logits = json.loads(content)["predictions"]["logits"]
                self.answers.append((response.headers["X-Model-Version"], logits))
        connection.close()

    def __enter__(self) -> "Traffic":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.going = False
        for thread in self.threads:
            thread.join()


def test_an_alias_moved_under_load_loses_nothing_and_every_answer_is_of_the_version_it_names(
    registered: Registered, home: Path
) -> None:
    first = registered.add(models.mlp(seed=1), "champion")
    second = registered.add(models.mlp(seed=2), "challenger")
    with registered.serve(home) as server, Traffic(server) as traffic:
        for _ in range(5):
            for version in (second, first):
                registered.move(version)
                wait_for(serves(server, version))
    assert traffic.failures == []
    seen = Counter(version for version, _ in traffic.answers)
    assert seen.keys() == {first, second}
    wanted = {version: predict(registered, version) for version in seen}
    for version, logits in traffic.answers:
        np.testing.assert_allclose(np.float32(logits), wanted[version], rtol=1e-4, atol=1e-5)


def tampered(folder: Path) -> None:
    (folder / "model.onnx").write_bytes((folder / "model.onnx").read_bytes()[:-100])


def renamed(folder: Path) -> None:
    (folder / "MLmodel").write_text((folder / "MLmodel").read_text().replace('"x"', '"other"'))


UNFIT: list[tuple[ModelProto, Callable[[Path], object], str]] = [
    (models.mlp(seed=2), tampered, "not an ONNX file"),
    (models.mlp(seed=2), renamed, "signature"),
    (models.mlp((32, 10)), lambda folder: None, "example fails"),
    (models.mlp((64, 256, 11)), lambda folder: None, "signature is not the one being served"),
    (models.mlp(seed=2), lambda folder: (folder / "model.onnx").unlink(), "no model.onnx"),
]


def test_versions_that_are_not_fit_are_refused_and_the_old_one_serves_on(
    registered: Registered, home: Path
) -> None:
    first = registered.add(models.mlp(seed=1), "champion")
    with registered.serve(home) as server:

        def refused(version: str) -> Any:
            refusal = server.get("/health").json["models"][registered.name]["refused"]
            return refusal if refusal and refusal["version"] == version else None

        for count, (model, change, says) in enumerate(UNFIT, 1):
            bad = registered.add(model, "champion", change=change)
            reason = wait_for(lambda bad=bad: refused(bad))["reason"]
            assert says in reason
            assert serves(server, first)()
            assert server.get("/ready").status == 200
            assert server.metric('slipway_serving_events_total{event="refusal"') == count
        good = registered.add(models.mlp(seed=3), "champion")
        wait_for(serves(server, good))
        assert server.get("/health").json["models"][registered.name]["refused"] is None


def test_it_starts_from_the_cache_without_the_registry_and_says_how_stale_it_is(
    registered: Registered, home: Path
) -> None:
    version = registered.add(models.mlp(seed=1), "champion")
    with registered.serve(home) as server:
        assert serves(server, version)()
    with registered.serve(home, tracking_uri="http://127.0.0.1:9") as server:
        assert serves(server, version)()
        about = wait_for(
            lambda: (
                (health := server.get("/health").json["models"][registered.name])["registry_error"] and health
            )
        )
        assert "cannot be read" in about["registry_error"]
        assert "127.0.0.1" not in about["registry_error"]
        never = f'slipway_serving_registry_seen_timestamp_seconds{{model="{registered.name}"}} 0.0'
        assert never in server.get("/metrics").body.decode(), "an alarm on its age goes off"


def test_it_is_not_ready_until_the_alias_exists(registered: Registered, home: Path) -> None:
    version = registered.add(models.mlp(seed=1))
    server = registered.serve(home, ready=False)
    try:
        server.wait_listening()
        assert server.get("/ready").status == 503
        answer = server.post("/invocations", BODY)
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        registered.move(version)
        server.wait_ready()
        assert serves(server, version)()
    finally:
        server.stop()


def test_a_worker_that_dies_is_replaced_and_serves_the_same_version(
    registered: Registered, home: Path
) -> None:
    import os
    import signal

    version = registered.add(models.mlp(seed=1), "champion")
    with registered.serve(home) as server:
        (worker,) = server.children("infra.serving.processes.worker")
        os.kill(worker, signal.SIGKILL)
        assert serves(server, version)()  # the port stays open: the request waits for the next worker
        assert server.children("infra.serving.processes.worker") != [worker]


def test_a_new_version_that_fails_is_reverted_and_stays_so_after_a_restart(
    registered: Registered, home: Path
) -> None:
    good = registered.add(models.mlp(seed=1), "champion")
    bad = registered.add(models.breaks_on_large(), "challenger")
    large = ROW.copy()
    large[0, 0] = 5
    with registered.serve(home) as server:
        registered.move(bad)
        wait_for(serves(server, bad))

        def gone_back() -> bool:
            answer = server.post("/invocations", {"inputs": {"x": large.tolist()}})
            assert answer.version == good, (
                "an answer with NaN is a failed one, and the version before is asked"
            )
            return server.get("/status").json["events"][0]["kind"] == "revert"

        wait_for(gone_back)
        events = server.get("/status").json["events"]
        assert events[0]["kind"] == "revert" and "failed" in events[0]["reason"]
        assert server.get("/health").json["models"][registered.name]["refused"]["version"] == bad
        assert server.metric('slipway_serving_events_total{event="revert"') == 1
        looked_again(server, registered.name)
        assert serves(server, good)()
    note = wait_for(lambda: registered.tags(bad).get("slipway.reverted"))
    assert json.loads(note)["back_to"] == good and "failed" in json.loads(note)["reason"]
    with registered.serve(home) as server:
        looked_again(server, registered.name)  # whose alias still names the bad one
        assert serves(server, good)()


def test_a_new_version_that_takes_twice_the_time_is_reverted_though_that_is_a_millisecond(
    registered: Registered, home: Path
) -> None:
    good = registered.add(models.slow(1000), "champion")
    bad = registered.add(models.slow(2000), "challenger")
    with registered.serve(home) as server, Traffic(server, 2):
        registered.move(bad)
        wait_for(serves(server, bad))
        revert = wait_for(lambda: [e for e in server.get("/status").json["events"] if e["kind"] == "revert"])
        assert "slower" in revert[0]["reason"]
        assert server.metric('slipway_serving_compared_total{count="slow"') >= 16
        assert serves(server, good)()


def test_mlflows_webhook_makes_it_look_at_once_and_a_forged_one_does_not(
    registered: Registered, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.webhooks.delivery import _generate_hmac_signature

    first = registered.add(models.mlp(seed=1), "champion")
    second = registered.add(models.mlp(seed=2), "challenger")
    monkeypatch.setenv("SLIPWAY_SERVE_WEBHOOK_SECRET", "s3cret")
    with registered.serve(home, poll=3600) as server:
        assert serves(server, first)()
        registered.move(second)
        content, now = json.dumps({"entity": "model_version_alias"}), str(int(time.time()))

        def deliver(secret: str, moment: str) -> int:
            signature = _generate_hmac_signature(secret, "d1", moment, content)
            headers = {
                "X-MLflow-Signature": signature,
                "X-MLflow-Delivery-Id": "d1",
                "X-MLflow-Timestamp": moment,
            }
            return server.post("/webhook", content.encode(), headers).status

        assert deliver("other", now) == 401
        assert deliver("s3cret", str(int(time.time()) - 3600)) == 401
        assert serves(server, first)()
        assert deliver("s3cret", now) == 200
        wait_for(serves(server, second))
