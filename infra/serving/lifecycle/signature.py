"""The MLflow signature of a model folder, held against the tensors that the graph really has."""

import json
from pathlib import Path
from typing import Any

from infra.serving.errors import Unservable
from infra.serving.wire.tensors import Spec, Tensor

MAX_MLMODEL = 4 * 1024 * 1024


def check_signature(folder: Path, spec: Spec) -> None:
    """Unservable unless the MLmodel file, if there is one, describes these inputs and outputs."""
    path = folder / "MLmodel"
    if not path.is_file():
        return
    if path.stat().st_size > MAX_MLMODEL:
        raise Unservable(f"MLmodel is larger than {MAX_MLMODEL} bytes")
    import yaml

    try:
        signature = yaml.safe_load(path.read_bytes())["signature"]
        sides = {side: json.loads(signature[side]) for side in ("inputs", "outputs")}
    except (yaml.YAMLError, KeyError, TypeError, ValueError, RecursionError):
        raise Unservable("MLmodel has no signature of its inputs and outputs") from None
    for side, tensors in (("inputs", spec.inputs), ("outputs", spec.outputs)):
        declared = [described(item) for item in sides[side]] if isinstance(sides[side], list) else []
        actual = [graph(tensor) for tensor in tensors]
        if sorted(declared) != sorted(actual):
            raise Unservable(f"the signature's {side} {declared} are not those of the graph, {actual}")


def described(item: Any) -> tuple[str, str, list[int]]:
    try:
        tensor = item["tensor-spec"]
        return str(item["name"]), str(tensor["dtype"]), [int(size) for size in tensor["shape"]]
    except (KeyError, TypeError, ValueError):
        raise Unservable("the signature must consist of named tensors") from None


def graph(tensor: Tensor) -> tuple[str, str, list[int]]:
    return tensor.name, tensor.word, list(tensor.shape)
