"""A first workload file of one's own: a template under another name."""

import re
from collections.abc import Callable
from pathlib import Path

from tasks.errors import UserError
from tasks.system.files import write_atomically
from tasks.workloads.catalogue import names

_TEMPLATES = {
    "table": "template.py",
    "text": "template_text.py",
    "image": "template_image.py",
    "lightning": "template.py",
    "onnx": "template_onnx.py",
}


def _write_onnx(path: Path) -> None:
    """The file that stands for yours, unless there is one. It was not trained: its numbers were written down."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    file = path.with_suffix(".onnx")
    if file.exists():
        return
    risk = np.array([-0.09, 0.03, 1.6], "float32")
    made_of = [
        numpy_helper.from_array(np.stack([risk, -risk], axis=1), "weight"),
        numpy_helper.from_array(np.array([0.0, 0.0], "float32"), "bias"),
    ]
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["numbers", "weight", "bias"], ["logits"])],
        "churn",
        [helper.make_tensor_value_info("numbers", TensorProto.FLOAT, ["batch", 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])],
        made_of,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    write_atomically(file, model.SerializeToString())


_BESIDE: dict[str, Callable[[Path], None]] = {"onnx": _write_onnx}
"""What a template needs beside it to run as it stands."""

_FITS = {"lightning": "template_lightning.py"}
"""Of these the table's template gets its `fit` from another file."""


def new_workload(path: Path, like: str = "table") -> str:
    """Write a commented workload that runs as it stands to `path`, and return the model's name, which is the file's.

    Raises UserError for a file that is there, a folder that is not, a name that cannot be a model's or is one of ours, and a
    sort of workload that there is no template of.
    """
    if like not in _TEMPLATES:
        raise UserError(f"There is no template like {like!r}: choose one of {', '.join(_TEMPLATES)}.")
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
    if (write := _BESIDE.get(like)) is not None:
        write(path)
    text = (
        _template(like)
        .replace('name="template"', f'name="{name}"')
        .replace('with_name("template.onnx")', f'with_name("{path.stem}.onnx")')
    )
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}.") from error
    return name


def _template(like: str) -> str:
    folder = Path(__file__).parent
    text = (folder / _TEMPLATES[like]).read_text("utf-8")
    if like not in _FITS:
        return text
    fit = (folder / _FITS[like]).read_text("utf-8").partition("\n\n\ndef fit(")[2]
    for before, after in (
        ("import DEFAULT_RECIPES, Workload", "import DEFAULT_RECIPES, Training, Workload"),
        (
            "    import pandera.pandas as pa\n    from torch",
            "    import pandera.pandas as pa\n    import torch\n    from torch",
        ),
        ("\nworkload = Workload(", f"\ndef fit({fit}\n\nworkload = Workload("),
        ("    train=Train(", "    fit=fit,\n    train=Train("),
    ):
        text = text.replace(before, after, 1)
    return text
