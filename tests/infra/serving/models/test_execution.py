"""Whose fault it is when a batch does not run: the values', or the model's."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from infra.serving.models.execution import execute
from infra.serving.wire.problems import Problem
from tasks.onnx.session import open_session

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
    return SimpleNamespace(run=lambda group: session.run(None, {"codes": group[0].codes}))


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
