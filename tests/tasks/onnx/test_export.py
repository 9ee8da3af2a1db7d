"""Exporting shapes of model that each exporter has been wrong about."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from tasks.data.arrays import Samples
from tasks.errors import StepError
from tasks.onnx.export import check_export, export_module
from tasks.records import Dataset, OnnxModel, TensorSpec
from tasks.workloads.catalogue import load_workload
from tasks.workloads.workload import Workload

LENGTH = 12
Exported = tuple[nn.Module, OnnxModel]


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workload, Dataset]:
    """Token rows of up to LENGTH, with a dynamic second axis."""
    random, tmp_path = np.random.default_rng(0), tmp_path_factory.mktemp("texts")
    (tmp_path / "validation").mkdir()
    np.save(tmp_path / "validation" / "tokens.npy", random.integers(0, 20, (30, LENGTH)))
    np.save(tmp_path / "validation" / "target.npy", random.integers(0, 3, 30))
    workload = replace(load_workload("digits"), name="texts", dynamic={"tokens": {1: "length"}})
    spec = TensorSpec(name="tokens", dtype="int64", shape=("batch", "length"))
    target = TensorSpec(name="target", dtype="int64", shape=("batch",))
    dataset = Dataset(
        workload="texts",
        folder=tmp_path,
        fingerprint="0" * 64,
        rows={"validation": 30},
        inputs=(spec,),
        target=target,
        classes=("a", "b", "c"),
    )
    return workload, dataset


class Recurrent(nn.Module):
    """The dynamo exporter has fixed its length without a word."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 8)
        self.lstm = nn.LSTM(8, 6, batch_first=True, bidirectional=True)
        self.head = nn.Linear(12, 3)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        states, _ = self.lstm(self.embed(tokens))
        logits: torch.Tensor = self.head(states.max(1).values)
        return logits


class Attentive(nn.Module):
    """The TorchScript exporter has baked the traced length into its mask."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 8)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0)
        self.head = nn.Linear(8, 3)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        states = self.block(self.embed(tokens), src_key_padding_mask=tokens == 19)
        logits: torch.Tensor = self.head(states.mean(1))
        return logits


@pytest.fixture(scope="module")
def attentive(texts: tuple[Workload, Dataset], tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return exported(Attentive(), texts, tmp_path_factory.mktemp("attentive"))


def exported(module: nn.Module, texts: tuple[Workload, Dataset], folder: Path) -> Exported:
    return module, export_module(module, *texts, folder / "model.onnx", {"slipway.data": "fp"})


@pytest.mark.slow
def test_lengths_and_batches_that_were_never_traced_agree_with_torch(attentive: Exported) -> None:
    agrees_at_other_sizes(*attentive)


@pytest.mark.slow
def test_so_does_a_recurrent_model(texts: tuple[Workload, Dataset], tmp_path: Path) -> None:
    agrees_at_other_sizes(*exported(Recurrent(), texts, tmp_path))


def agrees_at_other_sizes(module: nn.Module, exported: OnnxModel) -> None:
    session = onnxruntime.InferenceSession(exported.path)
    for batch, length in ((1, 1), (5, 3), (17, 9)):
        tokens = np.random.default_rng(batch).integers(0, 19, (batch, length))
        with torch.inference_mode():
            expected = module(torch.from_numpy(tokens)).numpy()
        np.testing.assert_allclose(session.run(None, {"tokens": tokens})[0], expected, atol=1e-4)
    assert exported.inputs[0].shape == ("batch", "length") and exported.outputs[0].name == "logits"


@pytest.mark.slow
def test_it_is_one_file_with_its_origin_inside_and_a_reference_beside(attentive: Exported) -> None:
    _, exported = attentive
    assert {p.name for p in exported.path.parent.iterdir()} == {"model.onnx", "model.reference.npy"}
    proto = onnx.load(exported.path, load_external_data=False)
    assert {p.key: p.value for p in proto.metadata_props}["slipway.data"] == "fp"
    assert exported.size_bytes == exported.path.stat().st_size
    assert exported.reference is not None and np.load(exported.reference).shape == (30, 3)


class Baked(nn.Module):
    """Right for the traced batch only."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Attentive()

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        order = sorted(range(len(tokens)), key=lambda row: int(tokens[row].sum()))
        logits: torch.Tensor = self.inner(tokens)[order]
        return logits


@pytest.mark.slow
def test_a_model_that_neither_exporter_gets_right_is_refused_with_what_both_said(
    texts: tuple[Workload, Dataset], tmp_path: Path
) -> None:
    workload, dataset = texts
    with pytest.raises(StepError, match=r"does not export to ONNX. dynamo: .* \| torchscript: ") as caught:
        export_module(Baked(), workload, dataset, tmp_path / "model.onnx", {})
    assert "\n" not in str(caught.value) and not (tmp_path / "model.onnx").exists()


@pytest.mark.slow
def test_a_fixed_axis_and_a_foreign_name_are_seen(
    attentive: Exported, texts: tuple[Workload, Dataset]
) -> None:
    (workload, dataset), (_, exported) = texts, attentive
    rows = Samples({"tokens": np.zeros((3, LENGTH), "int64")}, np.zeros(3))
    fixed = onnx.load(exported.path)
    fixed.graph.input[0].type.tensor_type.shape.dim[1].dim_value = LENGTH
    assert (
        check_export(fixed, Attentive(), workload, dataset, rows)
        == f"axis 1 of tokens became fixed at {LENGTH}"
    )
    fixed.graph.input[0].name = "words"
    problem = check_export(fixed, Attentive(), workload, dataset, rows)
    assert problem is not None and "['words'] where the workload says ['tokens']" in problem
