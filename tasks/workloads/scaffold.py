"""A first workload file of one's own: a template of its sort, under another name."""

import re
from pathlib import Path

from tasks.errors import UserError
from tasks.workloads.catalogue import names

SORTS = {
    "table": ("churn.py", "numbers and words of a table: which customers will leave"),
    "text": ("messages.py", "text: what a message is about"),
    "image": ("shapes.py", "pictures, JPEG or PNG: which shape is on it"),
    "forecast": ("visitors.py", "a series: how many visitors the next hours bring"),
    "onnx": ("given.py", "a model that exists as an .onnx file, with rows to judge it on"),
    "lightning": ("tumours.py", "a LightningModule that you have, and its Trainer"),
}
"""What there are templates of, each with a file's name and what it is like, in a few words."""


def new_workload(path: Path, like: str = "table") -> str:
    """Write a commented workload that runs as it stands to `path`, and return the model's name, which is the file's.

    What it reads lies beside it, under the same name. Raises UserError for a file that is there, a folder that is not, a name
    that cannot be a model's or is one of ours, and a sort of workload that there is no template of.
    """
    if like not in SORTS:
        raise UserError(f"There is no template like {like!r}: choose one of {', '.join(SORTS)}.")
    name = re.sub(r"[^a-z0-9_-]", "_", path.stem.lower()).lstrip("_-")[:64]
    if path.suffix != ".py" or not name:
        raise UserError(f"{str(path)!r} cannot be a workload's file: name one such as churn.py.")
    if name in names():
        raise UserError(f"{name!r} is a workload that comes with Slipway: choose another name for {path}.")
    if not path.parent.is_dir():
        raise UserError(f"There is no folder {path.parent}: make it first, or name another.")
    written = _files(like, path, name)
    for file in written:
        if file.exists():
            raise UserError(
                f"{file} is there already and is left as it is: choose another name, or move it away."
            )
    for file, content in written.items():
        try:
            with file.open("xb") as opened:
                opened.write(content)
        except OSError as error:
            raise UserError(f"{file} cannot be written: {error.strerror or error}.") from error
    return name


def _files(like: str, path: Path, name: str) -> dict[Path, bytes]:
    """What is written: the workload's file last, for it needs the others."""
    text = (Path(__file__).parent / "templates" / f"{like}.py").read_text("utf-8")
    beside = path.with_suffix(".onnx")
    text = text.replace('name="template"', f'name="{name}"').replace("template.onnx", beside.name)
    return {**({beside: _linear()} if beside.name in text else {}), path: text.encode()}


def _linear() -> bytes:
    """The file that the template of ONNX judges: one layer over (months, monthly bill, support calls), written by hand."""
    import numpy as np
    import onnx
    from onnx import helper

    risk = np.array([[-0.09], [0.03], [1.6]], "float32")
    weight, bias = np.hstack([risk, -risk]), np.array([-0.5, 0.5], "float32")
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["numbers", "weight", "bias"], ["logits"])],
        "linear",
        [helper.make_tensor_value_info("numbers", onnx.TensorProto.FLOAT, ["batch", 3])],
        [helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["batch", 2])],
        [onnx.numpy_helper.from_array(weight, "weight"), onnx.numpy_helper.from_array(bias, "bias")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return bytes(model.SerializeToString())
