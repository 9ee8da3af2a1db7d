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

    An ONNX file that has the same name is what it serves, and else one is written. Raises UserError for a file that is there, a folder that is not, a name
    that cannot be a model's or is one of ours, and a sort of workload that there is no template of.
    """
    if like not in SORTS:
        raise UserError(f"There is no template like {like!r}: choose one of {', '.join(SORTS)}.")
    name = re.sub(r"[^a-z0-9_-]", "_", path.stem.lower()).lstrip("_-")[:64]
    if path.suffix != ".py" or not name:
        raise UserError(f"{str(path)!r} cannot be a workload's file: name one such as churn.py.")
    if name in names():
        raise UserError(f"{name!r} is a workload that comes with Slipway: choose another name for {path}.")
    if path.exists():
        raise UserError(
            f"{path} is there already and is left as it is: choose another name, or move it away."
        )
    if not path.parent.is_dir():
        raise UserError(f"There is no folder {path.parent}: make it first, or name another.")
    text = (Path(__file__).parent / "templates" / f"{like}.py").read_text("utf-8")
    text = text.replace('name="template"', f'name="{name}"').replace("template.onnx", f"{path.stem}.onnx")
    _write(path, text.encode())
    if like == "onnx" and not (model := path.with_suffix(".onnx")).exists():
        _write(model, _linear())
    return name


def _write(path: Path, content: bytes) -> None:
    try:
        with path.open("xb") as file:
            file.write(content)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}.") from error


def _linear() -> bytes:
    """The file that stands for yours: one layer over (months, monthly bill, support calls). Its numbers were written down."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    risk = np.array([-0.09, 0.03, 1.6], "float32")
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["numbers", "weight", "bias"], ["logits"])],
        "churn",
        [helper.make_tensor_value_info("numbers", TensorProto.FLOAT, ["batch", 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])],
        [
            numpy_helper.from_array(np.stack([risk, -risk], axis=1), "weight"),
            numpy_helper.from_array(np.zeros(2, "float32"), "bias"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())
