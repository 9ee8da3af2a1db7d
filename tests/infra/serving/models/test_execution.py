"""A batch as it is answered: whose fault it is when it does not run, and that what gets NaN is failed and nothing beside it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import serving_models as models
from onnx import TensorProto, helper, numpy_helper

from infra.serving.ipc.messages import Release
from infra.serving.models.execution import Request, execute
from infra.serving.models.version import LoadedVersion, load_version
from infra.serving.wire.problems import Problem
from infra.serving.wire.tensors import Outputs, rows_of
from tasks.onnx.session import open_session
from tasks.system.files import sha256_of

Loaded = tuple[LoadedVersion, LoadedVersion]


@pytest.fixture
def versions(tmp_path: Path) -> Loaded:
    """One that gives NaN for rows whose first number is above one, and one that never does."""
    made = []
    for number, proto in (("2", models.breaks_on_large()), ("1", models.mlp(seed=1))):
        folder = models.save(tmp_path / number, proto)
        digest = sha256_of(folder / "model.onnx")
        release = Release(model="m", version=number, digest=digest, folder=folder, evidence="local")
        made.append(load_version(release, threads=1, batch=None, max_rows=4096))
    return made[0], made[1]


def asked(version: LoadedVersion, *first: float) -> Request:
    """A request of as many rows, of which these are the first numbers."""
    rows = np.zeros((len(first), 64), "float32")
    rows[:, 0] = first
    nobody: Any = None
    return Request(rows_of(version.spec, [rows], 64), nobody, nobody, 0.0)


def test_what_gets_nan_is_failed_and_counted_and_what_is_beside_it_is_answered(versions: Loaded) -> None:
    bad, _ = versions
    requests = [asked(bad, 0.5), asked(bad, 0.1, 5.0), asked(bad, 0.2, 0.3), asked(bad, 7.0)]
    good, *failed = execute(bad, None, requests, 64)
    assert good.requests == [requests[0], requests[2]] and isinstance(good.outputs, Outputs)
    alone = [bad.run([request.rows]).arrays[0] for request in good.requests]
    np.testing.assert_allclose(good.outputs.arrays[0], np.concatenate(alone), rtol=1e-5)
    assert [done.requests for done in failed] == [[requests[1]], [requests[3]]]
    for done in failed:
        assert isinstance(done.outputs, Problem)
        assert (done.outputs.status, done.outputs.code) == (500, "answer_not_finite")
    assert bad.numbers.not_finite == 2


def test_the_version_before_answers_what_the_new_one_fails(versions: Loaded) -> None:
    bad, before = versions
    for _ in range(3):
        (done,) = execute(bad, before, [asked(bad, 5.0)], 64)
        assert done.loaded is before and done.rescued_from is bad and isinstance(done.outputs, Outputs)
        assert np.isfinite(done.outputs.arrays[0]).all()
    assert bad.numbers.not_finite == 3


TABLE = np.arange(20, dtype="float32").reshape(5, 4)
Node = helper.make_node
LOOK_UPS: dict[str, tuple[Any, ...]] = {
    "Gather": (Node("Gather", ["table", "codes"], ["y"]),),
    "GatherElements": (Node("GatherElements", ["table", "codes"], ["y"]),),
    "GatherND": (
        Node("Unsqueeze", ["codes", "last"], ["places"]),
        Node("GatherND", ["table", "places"], ["y"]),
    ),
    "ScatterElements": (Node("ScatterElements", ["table", "codes", "update"], ["y"]),),
}


def looking_up(name: str) -> Any:
    """A model of codes int64[batch, 4] that looks them up in a table of five rows, as a loaded version."""
    tensors = {"table": TABLE, "last": np.array([-1]), "update": np.zeros((1, 4), "float32")}
    graph = helper.make_graph(
        list(LOOK_UPS[name]),
        "codes",
        [helper.make_tensor_value_info("codes", TensorProto.INT64, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, key) for key, array in tensors.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    session = open_session(proto.SerializeToString())

    def run(group: Any) -> Any:
        return SimpleNamespace(arrays=session.run(None, {"codes": group[0].codes}), spec=None)

    return SimpleNamespace(run=run)


def request(*codes: int) -> Any:
    rows = SimpleNamespace(key="codes", length=1, codes=np.array([codes]))
    return SimpleNamespace(rows=rows)


@pytest.mark.parametrize("name", LOOK_UPS)
@pytest.mark.parametrize("code", [5, -6, 2**31, 2**63 - 1, -(2**63)])
def test_a_code_that_a_table_does_not_have_is_the_requests_fault(name: str, code: int) -> None:
    (done,) = execute(looking_up(name), None, [request(0, 1, code, 2)], 64)
    assert isinstance(done.outputs, Problem) and done.outputs.status == 422
    assert "an index that its tables do not have" in done.outputs.message
    (done,) = execute(looking_up(name), None, [request(0, 1, 4, 2)], 64)
    assert not isinstance(done.outputs, Problem)


def test_what_else_fails_is_the_models() -> None:
    def run(group: Any) -> Any:
        raise RuntimeError("no kernel for this operator")

    loaded: Any = SimpleNamespace(run=run)
    (done,) = execute(loaded, None, [request(0, 0, 0, 0)], 64)
    assert isinstance(done.outputs, Problem) and done.outputs.status == 500
