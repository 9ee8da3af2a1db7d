"""Versions that were proved in another engine, followed from a registry by a real server."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import serving_models as models
from engines_here import CRASHING, HERE, IN
from registered import BODY, Registered, serves
from serving_process import ServerProcess, wait_for

from tasks.engines import Engine
from tasks.measured import Interval, Speed
from tasks.onnx.engines import title
from tasks.proof import evidence
from tasks.system.signing import private_key, public_key

pytestmark = pytest.mark.slow


@pytest.fixture
def registered(mlflow_server: str, home: Path, tmp_path: Path) -> Iterator[Registered]:
    private_key()
    yield Registered(mlflow_server, tmp_path / "models", sealed=True)


def sealed(name: str, engine: Engine, *ratios: float) -> Any:
    """Evidence that says so, in the folder's own."""
    promise = tuple(
        Speed(
            batch=64, p50_ms=1, p95_ms=1, rows_per_second=1, latency_ratio=1 / ratio, throughput_ratio=ratio,
            interval=Interval(low=ratio, high=ratio, level=0.95), rounds=9,
        )
        for ratio in ratios
    )  # fmt: skip

    def seal(folder: Path) -> None:
        proved = models.evidence_of(folder, name)
        report = proved.proof.report.model_copy(update={"engine": engine, "promise": promise})
        proof = proved.proof.model_copy(update={"report": report})
        evidence.seal(folder, proved.model_copy(update={"proof": proof}))

    return seal


def engines(server: ServerProcess, name: str) -> dict[str, Any]:
    said: dict[str, Any] = server.get("/ready").json["engines"][name]
    return said


def test_the_server_runs_what_the_signed_evidence_says_and_says_where_it_does_not(
    registered: Registered, tmp_path: Path
) -> None:
    name = registered.name
    first = registered.add(models.mlp(seed=1), "champion", change=sealed(name, HERE))
    with registered.serve(tmp_path / "server", public_key=public_key()) as server:
        kept = engines(server, name)
        assert kept["engine"] == kept["proved"] and kept["instead"] is None
        assert kept["engine"].startswith("OpenVINO ") and kept["engine"].endswith(f" {IN}")
        labels = (
            f'slipway_serving_engine{{engine="openvino",model="{name}",proved="openvino",version="{first}"}}'
        )
        assert server.metric(labels) == 1
        assert server.post("/invocations", BODY).status == 200
        labels = f'slipway_serving_engine_rows_total{{engine="openvino",model="{name}",version="{first}"}}'
        assert server.metric(labels) == engines(server, name)["rows"]["openvino"] == 1
        other = HERE.model_copy(update={"instructions": ("amx_of_tomorrow",)})
        second = registered.add(models.mlp(seed=2), change=sealed(name, other, 5.0))
        registered.move(second)
        wait_for(serves(server, second))
        fell = engines(server, name)
        assert (fell["engine"], fell["instead"]) == (
            f"ONNX Runtime {onnxruntime.__version__}", f"OpenVINO {IN} rests on amx_of_tomorrow, which this processor has not",
        )  # fmt: skip
        labels = f'slipway_serving_engine{{engine="onnxruntime",model="{name}",proved="openvino",version="{second}"}}'
        assert server.metric(labels) == 1
        assert f"{name} version {second} runs in ONNX Runtime: {fell['instead']}" in server.log.read_text()
        answer = server.post("/invocations", BODY).json["predictions"]
        assert np.isfinite(np.array(answer["logits"])).all()


@pytest.mark.parametrize("rows", [0, 1, 16])
def test_an_engine_that_ends_a_process_over_a_file_ends_none_that_serves(
    registered: Registered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    """By a fake of OpenVINO, which the inspector's process meets and then, if it is asked, a worker's: taking the file, or at so many rows."""
    if rows:
        monkeypatch.setenv("ONE_THAT_RUNS", "1")
    name, engine = registered.name, HERE.model_copy(update={"rows": max(1, rows)})
    registered.add(models.mlp(seed=1), "champion", change=sealed(name, engine, 2.0))
    with registered.serve(tmp_path / "server", public_key=public_key(), ahead=CRASHING) as server:
        fell = engines(server, name)
        assert fell["engine"].startswith("ONNX Runtime ")
        assert fell["instead"] == f"a process in which {title(engine)} took the file was ended by SIGSEGV"
        answer = server.post("/invocations", BODY).json["predictions"]
        assert np.isfinite(np.array(answer["logits"])).all()
