"""Model folders made to do harm, each kind in as many ways as there are dice: what no server may run, or hang on, or die of."""

import gzip
import io
import json
import os
import random
import socket
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import serving_models as models
from onnx import TensorProto, helper, numpy_helper
from onnx.onnx_ml_pb2 import AttributeProto, ModelProto

EXAMPLE = "serving_input_example.json"

Dice = random.Random

Change = Callable[[Path, Dice], None]


class Harm(NamedTuple):
    """`whole`: it is in the model's bytes, so that a registry can hold it. `odd`: it may serve, if it then answers like any other."""

    change: Change
    whole: bool = True
    odd: bool = False


HARMS: dict[str, Harm] = {}


def harm(name: str, *, whole: bool = True, odd: bool = False) -> Callable[[Change], Change]:
    def add(change: Change) -> Change:
        HARMS[name] = Harm(change, whole, odd)
        return change

    return add


def sound(folder: Path) -> Path:
    """A model folder with nothing wrong in it: x [n, 64] to logits [n, 10]."""
    return models.save(folder, models.mlp(), {"x": [[0.5] * 64]})


def edit(change: Callable[[ModelProto, Dice], object]) -> Change:
    """A change of the parsed model."""

    def changed(folder: Path, dice: Dice) -> None:
        proto = onnx.load_model_from_string((folder / "model.onnx").read_bytes())
        change(proto, dice)
        (folder / "model.onnx").write_bytes(proto.SerializeToString())

    return changed


def edits(name: str, *, odd: bool = False) -> Callable[[Callable[[ModelProto, Dice], object]], object]:
    return lambda change: harm(name, odd=odd)(edit(change))


def rewritten(name: str, *, odd: bool = False) -> Callable[[Callable[[bytes, Dice], bytes]], object]:
    """A change of the bytes."""

    def add(change: Callable[[bytes, Dice], bytes]) -> object:
        def changed(folder: Path, dice: Dice) -> None:
            path = folder / "model.onnx"
            path.write_bytes(change(path.read_bytes(), dice))

        return harm(name, odd=odd)(changed)

    return add


def joined(proto: ModelProto, nodes: list[Any], last: str) -> None:
    """More nodes, whose last value, a number, is added to the logits."""
    proto.graph.node[-1].output[0] = "plain"
    proto.graph.node.extend(nodes)
    proto.graph.node.append(helper.make_node("Add", ["plain", last], ["logits"]))


def constant(proto: ModelProto, name: str, value: Any) -> str:
    proto.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    return name


def outside(tensor: TensorProto, dice: Dice) -> TensorProto:
    """The tensor as one whose bytes are elsewhere."""
    places = ("weights.bin", "../../secret", "/etc/passwd", "/proc/self/mem", "/dev/zero", "model.onnx")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(
        key="location", value=dice.choice((*places, "http://127.0.0.1:9/w", "a/../../..", "MLmodel"))
    )
    if dice.random() < 0.5:
        tensor.external_data.add(key="offset", value=str(dice.choice((0, -1, 2**63, 4096))))
        tensor.external_data.add(key="length", value=str(dice.choice((16, -1, 2**62))))
    return tensor


def lost(dice: Dice) -> TensorProto:
    return outside(TensorProto(name="t", data_type=TensorProto.FLOAT, dims=[10]), dice)


@edits("weights in another file")
def _(proto: ModelProto, dice: Dice) -> None:
    outside(dice.choice(proto.graph.initializer), dice)


@edits("a constant in another file")
def _(proto: ModelProto, dice: Dice) -> None:
    joined(proto, [helper.make_node("Constant", [], ["c"], value=lost(dice))], "c")


@edits("a branch's constant in another file")
def _(proto: ModelProto, dice: Dice) -> None:
    inner = [helper.make_node("Constant", [], ["inner"], value=lost(dice))]
    branch = helper.make_graph(inner, "b", [], [models.floats("inner", 10)])
    constant(proto, "yes", True)
    joined(proto, [helper.make_node("If", ["yes"], ["c"], then_branch=branch, else_branch=branch)], "c")


@edits("a function's constant in another file")
def _(proto: ModelProto, dice: Dice) -> None:
    node = helper.make_node("Constant", [], ["c"], value=lost(dice))
    function(proto, "F", [node], [], ["c"])
    joined(proto, [helper.make_node("F", [], ["more"], domain="own")], "more")


@edits("sparse weights in another file")
def _(proto: ModelProto, dice: Dice) -> None:
    sparse = helper.make_sparse_tensor(lost(dice), helper.make_tensor("i", TensorProto.INT64, [1], [0]), [10])
    proto.graph.sparse_initializer.append(sparse)
    joined(proto, [], "t")


def function(proto: ModelProto, name: str, nodes: list[Any], inputs: list[str], outputs: list[str]) -> None:
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    proto.functions.append(helper.make_function("own", name, inputs, outputs, nodes, opsets))
    if len(proto.opset_import) == 1:
        proto.opset_import.append(helper.make_opsetid("own", 1))


@edits("an operator that nobody has")
def _(proto: ModelProto, dice: Dice) -> None:
    domain = dice.choice(
        ("", "evil", "com.microsoft", "ai.onnx.contrib", "ai.onnx.ml", "com.ms.internal.nhwc")
    )
    name = dice.choice(("PyOp", "Exec", "CDist2", "BertTokenizer", "../../lib.so", "Gemm2"))
    proto.graph.node[-1].op_type, proto.graph.node[-1].domain = name, domain
    if domain:
        proto.opset_import.append(helper.make_opsetid(domain, 1))


@edits("a version that is not yet")
def _(proto: ModelProto, dice: Dice) -> None:
    if dice.random() < 0.5:
        proto.ir_version = dice.choice((999, 2**40))
    else:
        proto.opset_import[0].version = dice.choice((999, 2**62, -5))


@edits("functions that call each other")
def _(proto: ModelProto, dice: Dice) -> None:
    count = dice.choice((1, 2, 50))
    for at in range(count):
        call = helper.make_node(f"F{(at + 1) % count}", ["a"], ["b"], domain="own")
        function(proto, f"F{at}", [call], ["a"], ["b"])
    proto.graph.node[-1].output[0] = "plain"
    proto.graph.node.append(helper.make_node("F0", ["plain"], ["logits"], domain="own"))


@edits("functions that unfold to billions")
def _(proto: ModelProto, dice: Dice) -> None:
    depth, wide = dice.choice(((9, 10), (30, 2), (6, 40)))
    for at in range(depth):
        inner, domain = (f"F{at + 1}", "own") if at < depth - 1 else ("Relu", "")
        nodes, last = [], "a"
        for call in range(wide):
            nodes.append(helper.make_node(inner, [last], [f"v{call}"], domain=domain))
            last = f"v{call}"
        function(proto, f"F{at}", nodes, ["a"], [last])
    proto.graph.node[-1].output[0] = "plain"
    proto.graph.node.append(helper.make_node("F0", ["plain"], ["logits"], domain="own"))


def loop(nodes: list[Any], values: list[Any], outputs: list[Any], inputs: list[Any] | None = None) -> Any:
    head = [
        helper.make_tensor_value_info("i", TensorProto.INT64, []),
        helper.make_tensor_value_info("go", TensorProto.BOOL, []),
    ]
    stay = helper.make_node("Identity", ["go"], ["on"])
    on = helper.make_tensor_value_info("on", TensorProto.BOOL, [])
    return helper.make_graph([stay, *nodes], "body", [*head, *(inputs or values)], [on, *outputs])


@edits("a loop without an end")
def _(proto: ModelProto, dice: Dice) -> None:
    constant(proto, "many", np.int64(2**63 - 1))
    constant(proto, "yes", True)
    constant(proto, "zero", np.float32(0))
    add = helper.make_node("Add", ["v", "v"], ["w"])
    body = loop([add], [models.floats("v")], [models.floats("w")])
    count = dice.choice(("many", ""))
    joined(proto, [helper.make_node("Loop", [count, "yes", "zero"], ["c"], body=body)], "c")


@edits("a loop that doubles its value")
def _(proto: ModelProto, dice: Dice) -> None:
    constant(proto, "many", np.int64(dice.choice((40, 60, 10**6))))
    constant(proto, "yes", True)
    constant(proto, "ones", np.ones(1024, np.float32))
    double = helper.make_node("Concat", ["v", "v"], ["w"], axis=0)
    body = loop([double], [models.floats("v", "k")], [models.floats("w", "k")])
    nodes = [
        helper.make_node("Loop", ["many", "yes", "ones"], ["c"], body=body),
        helper.make_node("ReduceSum", ["c"], ["sum"], keepdims=0),
    ]
    joined(proto, nodes, "sum")


@edits("a loop that keeps every turn")
def _(proto: ModelProto, dice: Dice) -> None:
    constant(proto, "many", np.int64(2**62))
    constant(proto, "yes", True)
    constant(proto, "big", np.zeros(1 << 18, np.float32))
    scan = helper.make_node("Identity", ["big"], ["kept"])
    body = loop([scan], [], [models.floats("kept", 1 << 18)])
    nodes = [
        helper.make_node("Loop", ["many", "yes"], ["c"], body=body),
        helper.make_node("ReduceSum", ["c"], ["sum"], keepdims=0),
    ]
    joined(proto, nodes, "sum")


@edits("a loop whose body does not fit")
def _(proto: ModelProto, dice: Dice) -> None:
    constant(proto, "three", np.int64(3))
    constant(proto, "yes", True)
    constant(proto, "words", np.array(["a"], object).astype(str).astype(object))
    body = loop(
        [helper.make_node("Identity", ["v"], ["w"])], [models.floats("v", 3)], [models.floats("w", 4)]
    )
    joined(proto, [helper.make_node("Loop", ["three", "yes", "words"], ["c"], body=body)], "c")


def nested(depth: int) -> Any:
    graph = helper.make_graph(
        [helper.make_node("Constant", [], ["o"], value=numpy_helper.from_array(np.zeros(10, np.float32)))],
        "g", [], [models.floats("o", 10)],
    )  # fmt: skip
    for _ in range(depth):
        nodes = [
            helper.make_node("Constant", [], ["t"], value=numpy_helper.from_array(np.array(True))),
            helper.make_node("If", ["t"], ["o"], then_branch=graph, else_branch=graph if depth < 9 else None),
        ]
        if depth >= 9:
            attribute = AttributeProto(name="else_branch", type=AttributeProto.GRAPH)
            attribute.g.CopyFrom(
                helper.make_graph(
                    [helper.make_node("Identity", ["t"], ["u"])], "e", [], [models.floats("u", 10)]
                )
            )
            del nodes[1].attribute[1:]
            nodes[1].attribute.append(attribute)
        graph = helper.make_graph(nodes, "g", [], [models.floats("o", 10)])
    return graph


@edits("branches in branches", odd=True)
def _(proto: ModelProto, dice: Dice) -> None:
    graph = nested(dice.choice((6, 8, 20, 24)))
    constant(proto, "yes", True)
    joined(proto, [helper.make_node("If", ["yes"], ["c"], then_branch=graph, else_branch=graph)], "c")


def length(size: int) -> bytes:
    out = bytearray()
    while size > 127:
        out.append(size & 127 | 128)
        size >>= 7
    return bytes(out + bytes([size]))


@rewritten("messages in messages")
def _(content: bytes, dice: Dice) -> bytes:
    """A graph in an attribute of a node of a graph, thousands deep."""
    inner = b""
    for _ in range(dice.choice((60, 1_000, 20_000))):
        attribute = b"\x0a\x01a\x32" + length(len(inner)) + inner
        node = b"\x2a" + length(len(attribute)) + attribute
        inner = b"\x0a" + length(len(node)) + node
        if len(inner) > 4_000_000:
            break
    return content + b"\x3a" + length(len(inner)) + inner


@rewritten("groups that stay open")
def _(content: bytes, dice: Dice) -> bytes:
    return content + dice.choice((b"\xa3\x06", b"\x3b")) * dice.choice((100, 100_000, 5_000_000))


@rewritten("a length that is a lie")
def _(content: bytes, dice: Dice) -> bytes:
    lie = dice.choice((b"\x3a\xff\xff\xff\xff\x07", b"\x3a" + b"\xff" * 9 + b"\x01", b"\x3a" + b"\xff" * 40))
    return dice.choice((b"", content)) + lie


@rewritten("cut short")
def _(content: bytes, dice: Dice) -> bytes:
    return content[: dice.randrange(len(content) - 1)]


@rewritten("something else altogether")
def _(content: bytes, dice: Dice) -> bytes:
    return dice.choice(
        (
            Path(sys.executable).read_bytes()[:100_000],
            b"<html><script>alert(1)</script>",
            b"\x80\x04cposix\nsystem\n(S'touch /tmp/slipway-was-here'\ntR.",
            b"TFL3" + content,
            dice.randbytes(dice.choice((1, 100, 100_000))),
            b"\0" * dice.choice((1, 10_000_000)),
        )
    )


@rewritten("an archive")
def _(content: bytes, dice: Dice) -> bytes:
    """Some of ten gigabytes of nothing."""
    if dice.random() < 0.5:
        return gzip.compress(dice.choice((content, b"\0" * 50_000_000)), 6)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../model.onnx", b"\0" * 50_000_000)
    return packed.getvalue()


def ort_format(content: bytes, folder: Path) -> bytes:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(folder / "model.ort")
    options.add_session_config_entry("session.save_model_format", "ORT")
    onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    made = (folder / "model.ort").read_bytes()
    (folder / "model.ort").unlink()
    return made


@harm("ONNX Runtime's own format")
def _(folder: Path, dice: Dice) -> None:
    made = ort_format((folder / "model.onnx").read_bytes(), folder)
    (folder / "model.onnx").write_bytes(made)


@harm("ONNX Runtime's own format, damaged")
def _(folder: Path, dice: Dice) -> None:
    made = bytearray(ort_format((folder / "model.onnx").read_bytes(), folder))
    for _ in range(dice.choice((1, 10, 300))):
        made[dice.randrange(8, min(len(made), dice.choice((2_000, len(made)))))] = dice.randrange(256)
    (folder / "model.onnx").write_bytes(bytes(made))


@edits("weights declared and not there")
def _(proto: ModelProto, dice: Dice) -> None:
    tensor = proto.graph.initializer[0]
    del tensor.dims[:]
    tensor.dims.extend(
        dice.choice(
            ([2**31, 2], [2**40], [2**62, 2**62], [-1, 256], [2**63 - 1], [64, 2**28], [1 << 32, 1 << 32])
        )
    )
    if dice.random() < 0.5:
        tensor.ClearField("raw_data")


@edits("bytes that are not as many as declared")
def _(proto: ModelProto, dice: Dice) -> None:
    tensor = proto.graph.initializer[0]
    size = len(tensor.raw_data)
    tensor.raw_data = b"\1" * dice.choice((0, 1, size - 1, size + 4))


@edits("sparse weights that are dense", odd=True)
def _(proto: ModelProto, dice: Dice) -> None:
    value = numpy_helper.from_array(np.ones(1, np.float32), "t")
    places = helper.make_tensor("i", TensorProto.INT64, [1], [dice.choice((0, -1, 2**40))])
    dims = dice.choice(([2**33], [2**40], [2**31, 2**31], [10]))
    proto.graph.sparse_initializer.append(helper.make_sparse_tensor(value, places, dims))
    joined(proto, [helper.make_node("ReduceSum", ["t"], ["sum"], keepdims=0)], "sum")


@edits("a value as large as all memory")
def _(proto: ModelProto, dice: Dice) -> None:
    size = dice.choice((2**34, 2**40, 2**62))
    kind = dice.choice(("ConstantOfShape", "Expand", "Range", "Tile", "OneHot", "Pad"))
    sizes = constant(proto, "sizes", np.array([size], np.int64))
    zero = constant(proto, "zeros", np.zeros(1, np.float32))
    if kind in ("ConstantOfShape",):
        nodes = [helper.make_node(kind, [sizes], ["big"])]
    elif kind in ("Expand", "Tile"):
        nodes = [helper.make_node(kind, [zero, sizes], ["big"])]
    elif kind == "Pad":
        pads = constant(proto, "pads", np.array([0, size], np.int64))
        nodes = [helper.make_node(kind, [zero, pads], ["big"])]
    elif kind == "Range":
        ends = [constant(proto, f"r{at}", np.float32(value)) for at, value in enumerate((0, size, 1))]
        nodes = [helper.make_node(kind, ends, ["big"])]
    else:
        values = constant(proto, "values", np.array([0, 1], np.float32))
        place = constant(proto, "place", np.zeros(1, np.int64))
        nodes = [helper.make_node(kind, [place, sizes, values], ["big"])]
    joined(proto, [*nodes, helper.make_node("ReduceSum", ["big"], ["sum"], keepdims=0)], "sum")


@edits("values that grow with each row", odd=True)
def _(proto: ModelProto, dice: Dice) -> None:
    """It is quick and small with one row of the example, and takes gigabytes to warm up."""
    constant(proto, "sizes", np.array([1, 64 * dice.choice((500_000, 2_000_000))], np.int64))
    constant(proto, "axis", np.array([1]))
    nodes = [
        helper.make_node("Slice", ["x", "z0", "z1", "axis"], ["first"]),
        helper.make_node("Expand", ["first", "sizes"], ["big"]),
        helper.make_node("ReduceMean", ["big"], ["mean"], axes=[1], keepdims=1),
    ]
    constant(proto, "z0", np.array([0]))
    constant(proto, "z1", np.array([1]))
    joined(proto, nodes, "mean")


@edits("a circle")
def _(proto: ModelProto, dice: Dice) -> None:
    nodes = proto.graph.node
    match dice.randrange(4):
        case 0:
            nodes[0].input[0] = nodes[-1].output[0]
        case 1:
            nodes[1].input[0] = nodes[1].output[0]
        case 2:
            joined(
                proto,
                [helper.make_node("Add", ["a", "plain"], ["b"]), helper.make_node("Relu", ["b"], ["a"])],
                "a",
            )
        case 3:
            inner = helper.make_graph(
                [helper.make_node("Relu", ["logits"], ["o"])], "g", [], [models.floats("o", "n", 10)]
            )
            constant(proto, "yes", True)
            joined(proto, [helper.make_node("If", ["yes"], ["c"], then_branch=inner, else_branch=inner)], "c")


@edits("one name for two values")
def _(proto: ModelProto, dice: Dice) -> None:
    match dice.randrange(4):
        case 0:
            proto.graph.node[1].output[0] = proto.graph.node[0].output[0]
        case 1:
            proto.graph.input.append(proto.graph.input[0])
        case 2:
            proto.graph.output.append(proto.graph.output[0])
        case 3:
            proto.graph.input[0].name = proto.graph.output[0].name


@edits("a value from nowhere")
def _(proto: ModelProto, dice: Dice) -> None:
    node = dice.choice(proto.graph.node)
    node.input[dice.randrange(len(node.input))] = dice.choice(("nothing", "../x", "x\n", "logits "))


@edits("types that do not fit")
def _(proto: ModelProto, dice: Dice) -> None:
    match dice.randrange(4):
        case 0:
            proto.graph.initializer[0].data_type = dice.choice((0, 2, 7, 8, 9, 16, 17, 23, 9999, -1))
        case 1:
            proto.graph.input[0].type.tensor_type.elem_type = dice.choice((0, 7, 8, 9, 14, 16, 17, 9999))
        case 2:
            proto.graph.output[0].type.tensor_type.elem_type = dice.choice((0, 7, 8, 9, 11, 16, 9999))
        case 3:
            kind = proto.graph.input[0].type
            inner = helper.make_tensor_type_proto(TensorProto.FLOAT, ["n"])
            kind.CopyFrom(
                dice.choice((helper.make_sequence_type_proto, helper.make_optional_type_proto))(inner)
            )


@edits("a type in a type in a type")
def _(proto: ModelProto, dice: Dice) -> None:
    kind = helper.make_tensor_type_proto(TensorProto.FLOAT, ["n"])
    for _ in range(dice.choice((3, 30, 45))):
        kind = helper.make_sequence_type_proto(kind)
    proto.graph.input[0].type.CopyFrom(kind)


@edits("no batch axis")
def _(proto: ModelProto, dice: Dice) -> None:
    side = dice.choice((proto.graph.input, proto.graph.output))
    shape = side[0].type.tensor_type.shape
    match dice.randrange(4):
        case 0:
            shape.dim[0].dim_value = dice.choice((1, 4, -7, 2**62))
        case 1:
            del shape.dim[:]
        case 2:
            del side[:]
        case 3:
            shape.dim[1].dim_value = dice.choice((2**62, -3, 0, 65))


@edits("names that are not for people", odd=True)
def _(proto: ModelProto, dice: Dice) -> None:
    name = dice.choice(
        (
            "a\nX-Key: b",
            "a\0b",
            "\r\n\r\n",
            "‮x",
            "a" * 1_000_000,
            '"},{"',
            "\x1b[2J",
            "../../x",
            "",
            "{0}%s",
            "x\ud7ff",
        )
    )
    if dice.random() < 0.5:
        proto.graph.input[0].name = proto.graph.node[0].input[0] = name
    else:
        proto.graph.output[0].name = proto.graph.node[-1].output[0] = name


@rewritten("names that are not UTF-8")
def _(content: bytes, dice: Dice) -> bytes:
    return content.replace(b"logits", dice.choice((b"log\xff\xfes", b"lo\xc0\x80ts", b"lo\xed\xa0\x80s")))


@edits("a heap of notes", odd=True)
def _(proto: ModelProto, dice: Dice) -> None:
    match dice.randrange(3):
        case 0:
            for at in range(100_000):
                proto.metadata_props.add(key=f"k{at}", value="v" * 20)
        case 1:
            proto.doc_string = "\n" * 20_000_000
        case 2:
            proto.graph.node[0].attribute.append(helper.make_attribute("alpha2", list(range(1_000_000))))


@rewritten("fields that nobody knows", odd=True)
def _(content: bytes, dice: Dice) -> bytes:
    """And a name for the graph that is no text."""
    return content + b"\xca\x3e\x02ab" * 100_000 + b"\x3a\x04\x12\x02\xff\xff"


@rewritten("bits flipped in the head")
def _(content: bytes, dice: Dice) -> bytes:
    changed = bytearray(content)
    for _ in range(dice.choice((30, 300))):
        changed[dice.randrange(120)] ^= 1 << dice.randrange(8)
    return bytes(changed)


@harm("a signature of something else", odd=True)
def _(folder: Path, dice: Dice) -> None:
    path = folder / "MLmodel"
    text = path.read_text()
    deep = "[" * 20_000
    aliases = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9))
    changed = dice.choice(
        (
            "!!python/object/apply:os.system ['touch /tmp/slipway-was-here']\n",
            f"signature: {deep}",
            f"a0: &a0 [x]\n{aliases}\nsignature: *a8\n",
            f"a0: &a0 [x]\n{aliases}\nsignature:\n  inputs: *a8\n  outputs: *a8\n",
            "signature: &s\n  inputs: *s\n  outputs: *s\n",
            text.replace("float32", "float64"),
            text.replace("tensor-spec", "x\\0"),
            f"signature:\n  inputs: '{deep}'\n  outputs: '[]'\n",
            "\0\0\0",
            text + "# " + "x" * 5_000_000,
            text.replace("64", "1e999"),
            "",
        )
    )
    path.write_text(changed)


@harm("an example that cannot be")
def _(folder: Path, dice: Dice) -> None:
    example = dice.choice(
        (
            "{",
            "[" * 100_000,
            '{"inputs": {"x": ' + "[" * 900 + "]" * 900 + "}}",
            json.dumps({"inputs": {"x": [["a" * 100_000] * 64]}}),
            json.dumps({"inputs": {"x": [[1e39] * 64]}}),
            json.dumps({"inputs": {"y": [[0.5] * 64]}}),
            json.dumps({"inputs": {"x": []}}),
            '{"inputs": {"x": [[' + "0," * 2_000_000 + "0]]}}",
            '{"inputs": {"x": [[NaN]]}}',
            '{"a": 1, "a": 2}',
            "\0",
        )
    )
    (folder / EXAMPLE).write_text(example)


@harm("not a plain file", whole=False)
def _(folder: Path, dice: Dice) -> None:
    path = folder / dice.choice(("model.onnx", "model.onnx", EXAMPLE, "more"))
    content = path.read_bytes() if path.exists() else b""
    path.unlink(missing_ok=True)
    match dice.randrange(4):
        case 0:
            elsewhere = folder.parent / "elsewhere"
            elsewhere.write_bytes(content)
            path.symlink_to(dice.choice((elsewhere, Path("/etc/passwd"), Path("/dev/zero"), path)))
        case 1:
            os.mkfifo(path)
        case 2:
            path.symlink_to("/etc")
        case 3:
            with socket.socket(socket.AF_UNIX) as listener:
                here = os.open(folder, os.O_RDONLY)
                listener.bind(f"/proc/self/fd/{here}/{path.name}")
                os.close(here)


@harm("as large as the disk", whole=False)
def _(folder: Path, dice: Dice) -> None:
    """Sparse: it takes no room, and who reads it finds zeros."""
    name = dice.choice(("model.onnx", "model.onnx", "MLmodel"))
    os.truncate(folder / name, dice.choice((3 << 30, 20 << 30, 1 << 40)))


@harm("more files than there ought to be", whole=False)
def _(folder: Path, dice: Dice) -> None:
    (folder / "data").mkdir()
    for at in range(1_500):
        (folder / "data" / f"{at}\n").touch()


@harm("no model at all", whole=False)
def _(folder: Path, dice: Dice) -> None:
    (folder / "model.onnx").unlink()
    if dice.random() < 0.5:
        (folder / "model.onnx").mkdir()
