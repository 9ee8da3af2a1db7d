import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from tasks.errors import UserError
from tasks.onnx.session import open_session, refuse_external_data


def graph_of(nodes: list[onnx.NodeProto], initializers: list[onnx.TensorProto]) -> onnx.ModelProto:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])
    graph = helper.make_graph(nodes, "g", [x], [y], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


@pytest.fixture
def linear() -> onnx.ModelProto:
    weight = numpy_helper.from_array(np.arange(12, dtype="float32").reshape(4, 3), "w")
    return graph_of([helper.make_node("MatMul", ["x", "w"], ["y"])], [weight])


def outside(name: str) -> onnx.TensorProto:
    tensor = TensorProto(
        name=name, data_type=TensorProto.FLOAT, dims=[4, 3], data_location=TensorProto.EXTERNAL
    )
    tensor.external_data.add(key="location", value="weights.bin")
    return tensor


def test_a_session_from_a_path_and_from_bytes_has_one_thread_and_the_same_answers(
    tmp_path: Path, linear: onnx.ModelProto
) -> None:
    (tmp_path / "m.onnx").write_bytes(linear.SerializeToString())
    rows = np.ones((2, 4), "float32")
    answers = []
    for session in (open_session(tmp_path / "m.onnx"), open_session(linear.SerializeToString())):
        assert session.get_session_options().intra_op_num_threads == 1
        assert session.get_providers() == ["CPUExecutionProvider"]
        answers.append(session.run(None, {"x": rows})[0])
    np.testing.assert_array_equal(answers[0], [[18, 22, 26]] * 2)
    np.testing.assert_array_equal(answers[0], answers[1])


def in_an_initializer() -> onnx.ModelProto:
    return graph_of([helper.make_node("MatMul", ["x", "w"], ["y"])], [outside("w")])


def in_a_constant() -> onnx.ModelProto:
    constant = helper.make_node("Constant", [], ["w"], value=outside("w"))
    return graph_of([constant, helper.make_node("MatMul", ["x", "w"], ["y"])], [])


def in_a_branch() -> onnx.ModelProto:
    constant = helper.make_node("Constant", [], ["w"], value=outside("w"))
    branch = helper.make_graph(
        [constant, helper.make_node("MatMul", ["x", "w"], ["b"])],
        "branch",
        [],
        [helper.make_tensor_value_info("b", TensorProto.FLOAT, None)],
    )
    condition = helper.make_tensor("c", TensorProto.BOOL, [], [True])
    return graph_of(
        [helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)], [condition]
    )


def in_a_function() -> onnx.ModelProto:
    opset, own = helper.make_opsetid("", 18), helper.make_opsetid("own", 1)
    constant = helper.make_node("Constant", [], ["c"], value=outside("c"))
    weights = helper.make_node("Weights", [], ["w"], domain="own")
    model = graph_of([weights, helper.make_node("MatMul", ["x", "w"], ["y"])], [])
    model.opset_import.append(own)
    model.functions.append(helper.make_function("own", "Weights", [], ["c"], [constant], [opset]))
    return model


@pytest.mark.parametrize("make", [in_an_initializer, in_a_constant, in_a_branch, in_a_function])
def test_weights_in_another_file_are_refused_wherever_they_hide_though_the_file_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[], onnx.ModelProto]
) -> None:
    monkeypatch.chdir(tmp_path)  # where ONNX Runtime by itself would find them
    content = make().SerializeToString()
    (tmp_path / "weights.bin").write_bytes(np.zeros(12, "float32").tobytes())
    (tmp_path / "m.onnx").write_bytes(content)
    assert onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    for model in (content, tmp_path / "m.onnx"):
        with pytest.raises(UserError, match="keeps weights in another file"):
            open_session(model)
    with pytest.raises(UserError, match="keeps weights in another file"):
        refuse_external_data(content, "m.onnx")


def test_without_onnx_installed_they_are_refused_by_onnx_runtime_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.bin").write_bytes(np.zeros(12, "float32").tobytes())
    monkeypatch.setitem(sys.modules, "onnx", None)
    for make in (in_an_initializer, in_a_constant, in_a_branch, in_a_function):
        with pytest.raises(UserError, match="does not load in ONNX Runtime"):
            open_session(make().SerializeToString())


def test_a_location_flag_without_a_location_is_refused(linear: onnx.ModelProto) -> None:
    linear.graph.initializer[0].data_location = TensorProto.EXTERNAL
    with pytest.raises(UserError, match="keeps weights in another file"):
        open_session(linear.SerializeToString())


@pytest.mark.parametrize("content", [b"", b"\xff" * 40, b"\x0a\xff\xff\x03short", b"PK\x03\x04 a zip file"])
def test_bytes_that_are_no_model_are_refused_in_one_sentence(content: bytes) -> None:
    with pytest.raises(UserError) as caught:
        open_session(content)
    assert "\n" not in str(caught.value)


def test_a_model_that_is_cut_anywhere_is_refused_and_never_a_traceback(linear: onnx.ModelProto) -> None:
    content = linear.SerializeToString()
    for end in range(len(content) - 1):
        try:
            open_session(content[:end])
        except UserError:
            continue
        assert end > len(content) - 20, "only the trailing opset and graph fields may be missing"


def test_the_module_loads_no_torch_and_no_onnx() -> None:
    import subprocess

    code = "import sys, tasks.onnx.session; print({'torch', 'onnx', 'onnxruntime', 'prefect'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
