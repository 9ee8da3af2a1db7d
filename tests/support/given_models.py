"""Models that exist, as files: one small net whose weights are known by hand, in each form that a stranger may bring."""

from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from tasks.compression.candidate import compress
from tasks.config import Gates
from tasks.data.dataset import prepare
from tasks.measured import Report
from tasks.onnx.export import export
from tasks.proof.validation import validate
from tasks.recipes import Recipe
from tasks.records import Candidate, Checkpoint, Dataset
from tasks.training.trainer import train
from tasks.workloads.catalogue import load_workload


class Ordered(nn.Module):
    """Of which of three ranges the first number is; right in nine rows of ten as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(4, 16), nn.Linear(16, 3)

    def forward(self, numbers: Tensor) -> Tensor:
        logits: Tensor = self.head(torch.relu(self.body(numbers)))
        return logits


def made() -> Ordered:
    """The net with the weights that answer."""
    net = Ordered()
    with torch.no_grad():
        for tensor in net.parameters():
            tensor.zero_()
        net.body.weight[0, 0], net.body.weight[1, 0] = 1.0, -1.0
        for code, (slope, offset) in enumerate([(0.0, 0.0), (4.0, 2.0), (8.0, 0.0)]):
            net.head.weight[code, 0], net.head.weight[code, 1], net.head.bias[code] = slope, -slope, offset
    return net.eval()


def write_state(path: Path) -> Path:
    torch.save(made().state_dict(), path)
    return path


def write_program(path: Path, *, batch: bool = True, training: bool = False) -> Path:
    net = made().train(training)
    shapes = {"numbers": {0: torch.export.Dim("batch")}} if batch else None
    torch.export.save(
        torch.export.export(net, (), {"numbers": torch.randn(3, 4)}, dynamic_shapes=shapes), path
    )
    return path


def graph(batch: Any = "batch", opset: int = 17, first: str = "logits") -> onnx.ModelProto:
    """The net as ONNX, made by hand: what comes from elsewhere has names and versions of its own."""
    weights = {name: tensor.numpy() for name, tensor in made().state_dict().items()}
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [
        helper.make_node("Gemm", ["numbers", "body.weight", "body.bias"], ["hidden"], transB=1),
        helper.make_node("Relu", ["hidden"], ["active"]),
        helper.make_node("Gemm", ["active", "head.weight", "head.bias"], [first], transB=1),
    ]
    made_of = [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()]
    proto = helper.make_model(
        helper.make_graph(
            nodes,
            "of-a-stranger",
            [helper.make_tensor_value_info("numbers", kind, [batch, 4])],
            [helper.make_tensor_value_info(first, kind, [batch, 3])],
            made_of,
        ),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=8,
        producer_name="a stranger",
    )
    return proto


def write_onnx(path: Path, **how: Any) -> Path:
    path.write_bytes(graph(**how).SerializeToString())
    return path


WRITERS = {
    "Weights": ("state.pt", write_state, "Weights({path!r}, Ordered)"),
    "Exported": ("model.pt2", write_program, "Exported({path!r})"),
    "Onnx": ("model.onnx", write_onnx, "Onnx(Files(path={path!r}, licence='MIT'))"),
}


def workload_file(folder: Path, model: str, **fields: str) -> Path:
    """A workload file in `folder` whose model is this expression; `fields` are further ones, as code."""
    given = {"train": "None", "recipes": "DEFAULT_RECIPES", "gates": "Gates(min_score=0.7)", **fields}
    file = folder / "mine.py"
    file.write_text(
        "from contract_models import load, numbers, schema\n"
        "from given_models import Ordered\n"
        "from tasks.config import Gates, Train\n"
        "from tasks.workloads import *\n"
        f"workload = Workload(name='mine', kind='classification', load=load, schema=schema, target='label',\n"
        f"    inputs=numbers, model={model}, {', '.join(f'{k}={v}' for k, v in given.items())})\n"
    )
    return file


def given(folder: Path, kind: str, **fields: str) -> str:
    """A workload whose model is a file of this kind, both written to `folder`; its reference."""
    name, write, model = WRITERS[kind]
    return str(workload_file(folder, model.format(path=str(write(folder / name))), **fields))  # type: ignore[operator]


class Way:
    """From a reference to a measured candidate, each step once."""

    def __init__(self, reference: str, folder: Path) -> None:
        self.reference, self.folder = reference, folder
        self.workload = load_workload(reference)
        self.dataset: Dataset = prepare(reference, self.workload.data, folder / "data")
        self.checkpoint: Checkpoint = train(reference, self.dataset, self.workload.train, folder / "train")
        self.fp32: Candidate = export(
            reference, self.dataset, self.checkpoint, folder / "model" / "fp32.onnx", metadata={"a": "b"}
        )

    def compress(self, name: str, *steps: dict[str, object]) -> Candidate:
        recipe = Recipe.model_validate({"name": name, "steps": steps})
        return compress(
            self.reference,
            self.dataset,
            self.checkpoint,
            self.fp32,
            recipe,
            self.folder / "compress",
            self.workload.train,
            Gates(),
        )

    def report(self, candidate: Candidate) -> Report:
        return validate(self.reference, self.dataset, candidate, self.fp32, self.folder)
