import gzip
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tasks.proof.speed import gzipped_size, measure, median_interval


def chain(path: Path, layers: int, width: int = 256) -> Path:
    """A file whose time grows with `layers`."""
    weight = numpy_helper.from_array(np.eye(width, dtype="float32"), "w")
    nodes = [helper.make_node("MatMul", [f"h{i}", "w"], [f"h{i + 1}"]) for i in range(layers)]
    ends = [helper.make_tensor_value_info(f"h{i}", TensorProto.FLOAT, ["batch", width]) for i in (0, layers)]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture
def rows() -> dict[str, np.ndarray]:
    return {"h0": np.random.default_rng(0).standard_normal((100, 256)).astype("float32")}


@pytest.mark.slow
def test_a_file_with_a_quarter_of_the_work_is_faster_at_every_batch_size(
    tmp_path: Path, rows: dict[str, np.ndarray]
) -> None:
    speeds = measure(chain(tmp_path / "a", 3), chain(tmp_path / "b", 12), rows, seconds=0.2)
    assert [speed.batch for speed in speeds] == [1, 64]
    for speed in speeds:
        assert speed.latency_ratio < 1
        assert speed.throughput_ratio == pytest.approx(1 / speed.latency_ratio)
        assert speed.interval.low <= speed.throughput_ratio <= speed.interval.high
        assert 0 < speed.p50_ms <= speed.p95_ms
        assert speed.rows_per_second == pytest.approx(speed.batch / speed.p50_ms * 1e3)


def test_the_baseline_against_itself_is_exactly_one(tmp_path: Path, rows: dict[str, np.ndarray]) -> None:
    path = chain(tmp_path / "a", 2)
    (speed,) = measure(path, path, rows, batches=(1,), seconds=0.05)
    assert (speed.latency_ratio, speed.interval.low, speed.interval.high) == (1, 1, 1)


def test_a_copy_of_the_baseline_is_near_one(tmp_path: Path, rows: dict[str, np.ndarray]) -> None:
    (speed,) = measure(chain(tmp_path / "a", 4), chain(tmp_path / "b", 4), rows, batches=(64,), seconds=0.3)
    assert 0.5 < speed.throughput_ratio < 2


def test_a_batch_larger_than_the_rows_is_left_out(tmp_path: Path, rows: dict[str, np.ndarray]) -> None:
    few = {"h0": rows["h0"][:8]}
    path = chain(tmp_path / "a", 1)
    assert [speed.batch for speed in measure(path, path, few, seconds=0.05)] == [1]


def test_the_interval_of_a_median_covers_it_as_often_as_it_says() -> None:
    draws = np.random.default_rng(0).lognormal(size=(2000, 31))
    covered = [low <= 1 <= high for _, low, high in map(median_interval, draws.tolist())]
    assert 0.93 < np.mean(covered) < 0.99


def test_gzipped_size_is_what_gzip_makes(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(bytes(100_000))
    assert gzipped_size(path) == len(gzip.compress(path.read_bytes(), 6, mtime=0))
    assert gzipped_size(path) < 1000
