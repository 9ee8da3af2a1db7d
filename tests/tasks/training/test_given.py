"""Models that exist: each kind of file is a module like any other, and what cannot be served is refused in a sentence."""

import argparse
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import given_models
import numpy as np
import onnx
import pytest
import torch
from given_models import Ordered, given, graph, workload_file
from onnx import TensorProto, helper
from predicting import predict
from torch import nn

from tasks.config import Train
from tasks.data.arrays import Samples
from tasks.errors import UserError
from tasks.records import Fitted
from tasks.training.module import answers, build_from, main_output
from tasks.workloads.catalogue import load_workload

ROWS = Samples(
    {"numbers": np.random.default_rng(0).normal(size=(9, 4)).astype("float32")}, np.zeros(9, "int64")
)
FITTED = (Fitted(classes=("0", "1", "2")),)


def built(reference: str, rows: Samples = ROWS) -> nn.Module:
    return build_from(load_workload(reference), rows, FITTED, None, 0)


def refusal(reference: Path | str, rows: Samples = ROWS) -> str:
    with pytest.raises(UserError) as caught:
        built(str(reference), rows)
    return str(caught.value)


def of_onnx(folder: Path, proto: onnx.ModelProto | bytes, **fields: str) -> Path:
    """A workload of this graph, in model.onnx."""
    file = folder / "model.onnx"
    file.write_bytes(proto if isinstance(proto, bytes) else proto.SerializeToString())
    return workload_file(folder, f"Onnx({str(file)!r})", **fields)


def of_state(folder: Path, state: Any, name: str = "weights.pt") -> Path:
    torch.save(state, folder / name)
    return workload_file(folder, f"Weights({str(folder / name)!r}, Ordered)")


@pytest.mark.slow
@pytest.mark.parametrize("kind", given_models.WRITERS)
def test_a_file_answers_as_the_module_that_it_came_from(kind: str, tmp_path: Path) -> None:
    module = built(given(tmp_path, kind))
    expected = main_output(answers(given_models.made(), ROWS.inputs))
    assert np.allclose(predict(module, ROWS.inputs, 4), expected, atol=1e-5)


def test_safetensors_are_weights_like_any_other(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    safetensors.save_file(given_models.made().state_dict(), tmp_path / "weights.safetensors")
    module = built(
        str(workload_file(tmp_path, f"Weights({str(tmp_path / 'weights.safetensors')!r}, Ordered)"))
    )
    assert torch.equal(module.state_dict()["head.weight"], given_models.made().head.weight)
    (tmp_path / "weights.safetensors").write_bytes(b"\0" * 40)
    assert refusal(tmp_path / "mine.py").startswith("weights.safetensors is no safetensors file: ")


def test_what_a_checkpoint_holds_counts_and_not_what_lies_at_the_path_by_now(tmp_path: Path) -> None:
    for kind in ("Exported", "Onnx"):
        reference = given(tmp_path, kind)
        module = built(reference)
        weights = {name: tensor.clone() for name, tensor in module.state_dict().items()}
        path = tmp_path / given_models.WRITERS[kind][0]
        before = predict(module, ROWS.inputs)
        other = graph(opset=18)
        other.graph.initializer[3].CopyFrom(
            onnx.numpy_helper.from_array(np.full(3, 7, "float32"), "head.bias")
        )
        if kind == "Onnx":
            path.write_bytes(other.SerializeToString())
            assert not np.array_equal(predict(built(reference), ROWS.inputs), before)
        again = built(reference)
        again.load_state_dict(weights)
        assert np.array_equal(predict(again, ROWS.inputs), before)


# ── state_dicts


def test_keys_that_do_not_fit_are_named(tmp_path: Path) -> None:
    state = given_models.made().state_dict()
    state["classifier.weight"] = state.pop("head.weight")
    assert refusal(of_state(tmp_path, state)) == (
        "weights.pt lacks head.weight and has classifier.weight: rename them, or load what fits in build_model."
    )
    state = given_models.made().state_dict() | {"head.weight": torch.zeros(5, 16)}
    assert refusal(of_state(tmp_path, state)).startswith(
        "weights.pt has head.weight of shape [5, 16] where the model's is [3, 16]: "
    )


class Ran(Exception):
    """What a hostile file runs."""


class Hostile:
    def __reduce__(self) -> tuple[Any, ...]:
        return (_run, ())


def _run() -> None:
    raise Ran


PICKLED = "weights.pt is a pickled module, which runs code when it is loaded: save module.state_dict(), or torch.export.save(…)."


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        (given_models.made(), PICKLED),
        (Hostile(), PICKLED),
        (
            {"args": argparse.Namespace(lr=1), "w": torch.zeros(2)},
            "weights.pt holds argparse.Namespace beside its weights: save module.state_dict() alone.",
        ),
        (
            {"state_dict": given_models.made().state_dict(), "epoch": 3},
            "weights.pt keeps its weights in 'state_dict', beside epoch: save torch.load('weights.pt')['state_dict'] alone.",
        ),
        ({"epoch": 3}, "weights.pt holds epoch, which are no weights by name: save module.state_dict()."),
        (torch.zeros(3), "weights.pt holds a Tensor: save module.state_dict()."),
    ],
)
def test_what_is_no_state_dict_is_refused_without_running_it(
    state: Any, sentence: str, tmp_path: Path
) -> None:
    assert refusal(of_state(tmp_path, state)) == sentence


def test_torchscript_and_torn_files_are_no_state_dicts(tmp_path: Path) -> None:
    reference = of_state(tmp_path, {})
    with pytest.warns(DeprecationWarning):
        torch.jit.script(nn.Linear(2, 2)).save(str(tmp_path / "weights.pt"))
    assert refusal(reference).startswith("weights.pt is a TorchScript archive, which holds code: ")
    (tmp_path / "weights.pt").write_bytes(b"")
    assert refusal(reference).endswith("weights.pt is empty: write it again.")
    for torn in (b"abc", b"PK\x03\x04" + b"\0" * 60):
        (tmp_path / "weights.pt").write_bytes(torn)
        assert refusal(reference).startswith("weights.pt is no file of torch's (")


# ── exported programs


def test_a_program_with_a_fixed_batch_is_refused(tmp_path: Path) -> None:
    given_models.write_program(tmp_path / "model.pt2", batch=False)
    assert refusal(workload_file(tmp_path, f"Exported({str(tmp_path / 'model.pt2')!r})")) == (
        "axis 0 of input numbers is fixed at 3: export with a dynamic batch, for the server puts requests together."
    )


def test_a_program_in_training_mode_is_refused(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5)).train()
    shapes = {"input": {0: torch.export.Dim("batch")}}
    program = torch.export.export(net, (torch.randn(3, 4),), dynamic_shapes=shapes)
    torch.export.save(program, tmp_path / "model.pt2")
    assert refusal(workload_file(tmp_path, f"Exported({str(tmp_path / 'model.pt2')!r})")) == (
        "model.pt2 was exported in training mode, dropout and all: call module.eval() before torch.export."
    )


def test_pickled_parts_of_a_program_are_not_read(tmp_path: Path) -> None:
    path = given_models.write_program(tmp_path / "model.pt2")
    hostile = io.BytesIO()
    torch.save(Hostile(), hostile)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, part in parts.items():
            archive.writestr(name, hostile.getvalue() if name.endswith("sample_inputs/model.pt") else part)
    reference = workload_file(tmp_path, f"Exported({str(path)!r})")
    assert refusal(reference) == (
        "model.pt2 holds pickled objects, which run code when they are loaded: export the module anew."
    )
    path.write_bytes(b"abc")
    assert refusal(reference).startswith("model.pt2 is no program that torch.export.save wrote: ")


# ── ONNX files


def of_nodes(*nodes: onnx.NodeProto, domain: str = "", **how: Any) -> onnx.ModelProto:
    """The net with these nodes before the end."""
    proto = graph(**how)
    proto.graph.node.extend(nodes)
    if domain:
        proto.opset_import.append(helper.make_opsetid(domain, 1))
    return proto


def in_another_file() -> onnx.ModelProto:
    proto = graph()
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="model.onnx.data")
    return proto


def with_text() -> onnx.ModelProto:
    proto = of_nodes(helper.make_node("Constant", [], ["word"], value_strings=["a"]))
    proto.graph.output.append(helper.make_tensor_value_info("word", TensorProto.STRING, [1]))
    return proto


def of_version(opset: int | None = None, ir: int | None = None) -> onnx.ModelProto:
    proto = graph(**({} if opset is None else {"opset": opset}))
    proto.ir_version = ir or proto.ir_version
    return proto


@pytest.mark.parametrize(
    ("proto", "sentence"),
    [
        (
            lambda: of_nodes(
                helper.make_node("BertTokenizer", ["logits"], ["x"], domain="ai.onnx.contrib"),
                domain="ai.onnx.contrib",
            ),
            "model.onnx uses ai.onnx.contrib:BertTokenizer, which neither MLflow nor the server loads: leave it out and "
            "name Text(tokenizer=…) in inputs.",
        ),
        (
            lambda: of_nodes(helper.make_node("Mine", ["logits"], ["x"], domain="my.ops"), domain="my.ops"),
            "model.onnx uses my.ops:Mine, which neither MLflow nor the server loads: leave it out, and do its work in inputs().",
        ),
        (
            lambda: graph(batch=1),
            "axis 0 of input numbers is fixed at 1: export with a dynamic batch, for the server puts requests together.",
        ),
        (
            in_another_file,
            "model.onnx keeps weights in another file (model.onnx.data): export it with external_data=False, or put them in "
            "with onnx.save(onnx.load('model.onnx'), 'whole.onnx').",
        ),
        (
            lambda: of_version(opset=99),
            "model.onnx is of a newer opset than this ONNX Runtime takes, which is {opset}: export with opset_version={opset}.",
        ),
        (
            lambda: of_version(ir=99),
            "model.onnx is of a newer IR version than this ONNX Runtime takes, which is {ir}: set model.ir_version = {ir} and save it.",
        ),
        (
            lambda: of_version(opset=6),
            "model.onnx is of opset 6, and ONNX Runtime promises to run 7 and newer: export it anew, or convert it with "
            "onnx.version_converter.",
        ),
        (lambda: graph(first="scores"), "model.onnx gives scores and no logits: say output='scores'."),
        (with_text, "model.onnx gives word as text: leave it out, and give the numbers behind it."),
        (lambda: b"abc", "model.onnx is not an ONNX file: "),
        (
            lambda: onnx.ModelProto(ir_version=8),
            "model.onnx is not an ONNX file: it has no graph.",
        ),
    ],
)
def test_an_onnx_file_that_cannot_be_served_is_refused(
    proto: Callable[[], Any], sentence: str, tmp_path: Path
) -> None:
    said = refusal(of_onnx(tmp_path, proto()))
    start, _, rest = sentence.partition("{")
    assert said.startswith(start) and (rest or said == sentence or sentence.endswith(": "))
    assert said.endswith(".") and said.count(". ") == 0


def test_a_custom_operator_within_a_branch_or_a_function_is_seen(tmp_path: Path) -> None:
    strange = helper.make_node("Mine", ["logits"], ["inner"], domain="my.ops")
    branch = helper.make_graph(
        [strange], "branch", [], [helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)]
    )
    constant = helper.make_node(
        "Constant", [], ["yes"], value=helper.make_tensor("t", TensorProto.BOOL, [], [True])
    )
    choice = helper.make_node("If", ["yes"], ["chosen"], then_branch=branch, else_branch=branch)
    assert "uses my.ops:Mine" in refusal(of_onnx(tmp_path, of_nodes(constant, choice, domain="my.ops")))


def test_numbers_sizes_and_axes_have_to_be_those_of_the_inputs(tmp_path: Path) -> None:
    reference = of_onnx(tmp_path, graph())
    exact = Samples({"numbers": ROWS.inputs["numbers"].astype("float64")}, ROWS.target)
    assert refusal(reference, exact) == (
        "model.onnx takes numbers as float32, and inputs() gives float64: give .astype('float32')."
    )
    wide = Samples({"numbers": np.zeros((9, 5), "float32")}, ROWS.target)
    assert (
        refusal(reference, wide)
        == "axis 1 of input numbers is fixed at 4, and inputs() gives 5: give as many."
    )
    named = of_onnx(tmp_path, graph(), dynamic="{'numbers': {1: 'length'}}")
    assert refusal(named).startswith("axis 1 of input numbers is fixed at 4, and dynamic calls it 'length': ")
    other = Samples({"values": ROWS.inputs["numbers"]}, ROWS.target)
    assert "inputs() gives values, but the model's forward takes numbers" in refusal(
        of_onnx(tmp_path, graph()), other
    )


def test_the_learned_output_of_several_is_the_one_that_is_named(tmp_path: Path) -> None:
    proto = graph()
    proto.graph.output.insert(0, helper.make_tensor_value_info("active", TensorProto.FLOAT, ["batch", 16]))
    outputs = answers(built(str(of_onnx(tmp_path, proto))), ROWS.inputs)
    assert list(outputs) == ["logits", "active"]


# ── what train=None asks


@pytest.mark.parametrize(
    ("model", "fields", "sentence"),
    [
        ("Ordered", {}, "train=None ships weights that are made up: name Weights, Exported or Onnx."),
        (
            "Onnx('m.onnx')",
            {"train": "Train()"},
            "m.onnx ships as it is, and nothing of it is trained: say train=None.",
        ),
        (
            "__import__('sklearn.pipeline').pipeline.Pipeline([])",
            {"train": "Train()"},
            "model is a Pipeline: export it with skl2onnx and give Onnx(…).",
        ),
    ],
)
def test_weights_are_trained_or_given(
    model: str, fields: dict[str, str], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as caught:
        load_workload(str(workload_file(tmp_path, model, **fields)))
    assert str(caught.value) == f"Workload mine: {sentence}"


def test_a_built_scikit_learn_model_is_to_be_a_file(tmp_path: Path) -> None:
    model = "(lambda: __import__('sklearn.pipeline').pipeline.Pipeline([]))"
    said = refusal(workload_file(tmp_path, model, train="Train()"))
    assert said == "Workload mine: model is a Pipeline: export it with skl2onnx and give Onnx(…)."


def test_a_file_that_is_not_there_is_named_before_anything_runs(tmp_path: Path) -> None:
    workload = load_workload(str(workload_file(tmp_path, "Onnx('/nowhere/m.onnx')")))
    with pytest.raises(UserError, match=r"^There is no m.onnx /nowhere/m.onnx: check the path\.$"):
        workload.check(workload.defaults())
    relative = load_workload(str(workload_file(tmp_path, "Onnx('m.onnx')")))
    with pytest.raises(UserError, match=r"Path\(__file__\)\.with_name\(…\) is found from any folder\.$"):
        relative.check(relative.defaults())


def test_folds_and_knobs_of_a_training_that_there_is_none_of_are_refused(tmp_path: Path) -> None:
    workload = load_workload(given(tmp_path, "Onnx", gates="Gates(folds=3)"))
    with pytest.raises(UserError, match=r"gates\.folds=3 cannot be, for nothing is trained"):
        workload.check(workload.defaults())
    with pytest.raises(UserError, match=r"trains nothing \(train=None\), as its file says"):
        workload.check(workload.defaults().model_copy(update={"train": Train()}))


def test_fine_tuning_begins_with_the_weights_and_trains_them(tmp_path: Path) -> None:
    from tasks.data.dataset import prepare
    from tasks.training.checkpoint import load_weights
    from tasks.training.trainer import train

    reference = given(tmp_path, "Weights", train="Train(epochs=1, lr=1e-5, batch_size=64, threads=1)")
    workload = load_workload(reference)
    dataset = prepare(reference, workload.data, tmp_path / "data")
    checkpoint = train(reference, dataset, workload.train, tmp_path / "train")
    moved = load_weights(checkpoint)["head.weight"] - given_models.made().head.weight
    assert 0 < moved.abs().max() < 1e-3  # near where it began: no other first weights are
    assert [material.name for material in checkpoint.materials] == ["state.pt"] and not checkpoint.remarks


def test_bases_are_read_while_a_module_is_built(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    torch.save(given_models.made().state_dict(), tmp_path / "base" / "w.pt")
    model = "lambda known: (known.classes(), m := Ordered(), m.load_state_dict(__import__('torch').load(known.base('small') / 'w.pt')))[1]"
    bases = f"{{'small': Files(path={str(tmp_path / 'base')!r}, licence='MIT')}}"
    reference = str(workload_file(tmp_path, model, train="Train()", bases=bases))
    module = built(reference)
    assert isinstance(module, Ordered) or torch.equal(
        module.state_dict()["head.bias"], given_models.made().head.bias
    )
    before = load_workload(reference).materials()
    assert [(item.name, item.licence) for item in before] == [("base small", "MIT")]
    (tmp_path / "base" / "more.txt").write_text("x")
    assert load_workload(reference).materials() != before
    absent = workload_file(tmp_path, "lambda known: known.base('large')", train="Train()", bases=bases)
    assert "the workload's bases are small: add bases={'large': Files(…)}" in refusal(absent)
    gone = workload_file(
        tmp_path,
        "lambda known: known.base('b')",
        train="Train()",
        bases="{'b': Files(package='no_such_weights')}",
    )
    assert refusal(gone) == (
        "The package 'no_such_weights', which has the base b, is not installed: pip install no_such_weights."
    )
