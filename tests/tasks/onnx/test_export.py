"""Exporting shapes of model that each exporter has been wrong about."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from checkout import SUPPORT
from torch import nn

from tasks.config import Data
from tasks.data.arrays import Samples, load_arrays
from tasks.data.dataset import prepare, read_split
from tasks.errors import StepError, UserError
from tasks.onnx.export import check_export, export_module
from tasks.onnx.exporters import EXPORTERS
from tasks.records import Dataset, OnnxModel, TensorSpec
from tasks.training.module import answers, build_module
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
    kept = {"model.onnx", "model.reference.npz", "model.lengths.npz"}
    assert {p.name for p in exported.path.parent.iterdir()} == kept
    assert exported.lengths is not None
    with np.load(exported.lengths) as lengths:
        assert {sizes: lengths[sizes].shape for sizes in lengths} == {
            "length=1 logits": (30, 3),
            "length=5 logits": (30, 3),
            "length=9 logits": (30, 3),
        }
    proto = onnx.load(exported.path, load_external_data=False)
    assert {p.key: p.value for p in proto.metadata_props}["slipway.data"] == "fp"
    assert exported.size_bytes == exported.path.stat().st_size
    assert exported.reference is not None and load_arrays(exported.reference)["logits"].shape == (30, 3)


class Baked(nn.Module):
    """Right for the traced batch only."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Attentive()

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        order = sorted(range(len(tokens)), key=lambda row: int(tokens[row].sum()))
        logits: torch.Tensor = self.inner(tokens)[order]
        return logits


def case(name: str, root: Path) -> tuple[nn.Module, Workload, Dataset]:
    """A small workload in the situation of a public report, with its first weights."""
    reference = str(SUPPORT / "cases" / name)
    workload, dataset = load_workload(reference), prepare(reference, Data(), root)
    return build_module(workload, dataset), workload, dataset


@pytest.mark.slow
def test_a_decision_by_the_data_is_refused_with_the_models_own_line(
    texts: tuple[Workload, Dataset], tmp_path: Path
) -> None:
    with pytest.raises(
        StepError, match=r"decides by the data at ops.py:\d+ ‘if flat.mean\(\) > 0.1:’"
    ) as caught:
        export_module(*case("ops.py:branch", tmp_path), tmp_path / "model.onnx", {})
    assert "GuardOnDataDependentSymNode" in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(StepError, match="decides by the data at test_export.py:"):
        export_module(Baked(), *texts, tmp_path / "model.onnx", {})
    assert not (tmp_path / "model.onnx").exists()


class Signed(nn.Module):
    """Answers otherwise when anything is below zero, which no digit is."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        flat = image.flatten(1)[:, :10]
        return 2 * flat if flat.min() < 0 else flat


@pytest.mark.slow
def test_rows_of_another_sign_or_size_are_asked_too(
    linear_digits: tuple[Dataset, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With real rows alone, a branch that was frozen agrees everywhere."""
    monkeypatch.setattr("tasks.onnx.exporters.EXPORTERS", {"torchscript": EXPORTERS["torchscript"]})
    with pytest.raises(
        StepError, match="torchscript: its answers to rows of the other sign differ from torch's"
    ):
        export_module(Signed(), load_workload("digits"), linear_digits[0], tmp_path / "model.onnx", {})


class Peeking(nn.Module):
    """Leaves torch for what only Python reads: torch.export goes no further there, and a trace keeps what came of it."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        flat = image.flatten(1)[:, :10]
        return flat * memoryview(image.detach().numpy()).ndim


@pytest.mark.slow
def test_what_only_a_trace_follows_is_kept_with_the_lines_that_it_may_have_frozen(
    linear_digits: tuple[Dataset, Any], tmp_path: Path
) -> None:
    workload, (dataset, _) = load_workload("digits"), linear_digits
    exported = export_module(Peeking(), workload, dataset, tmp_path / "model.onnx", {})
    assert exported.exporter == "torchscript"
    (finding,) = exported.findings
    line = r"test_export.py:\d+ ‘return flat \* memoryview\(image.detach\(\).numpy\(\)\).ndim’"
    assert re.fullmatch(rf"{line} was traced with a fixed value: is it a decision by the data\?", finding)


class Comparing(nn.Module):
    """Decides by what torch tells Python of the data, of which a trace does not warn."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        flat = image.flatten(1)[:, :10]
        return flat * 2 if torch.allclose(flat, torch.full((), 1e9)) else flat * 1.5


@pytest.mark.slow
def test_a_decision_of_which_no_trace_warns_is_a_finding(
    linear_digits: tuple[Dataset, Any], tmp_path: Path
) -> None:
    exported = export_module(
        Comparing(), load_workload("digits"), linear_digits[0], tmp_path / "model.onnx", {}
    )
    (finding,) = exported.findings
    assert "‘return flat * 2 if torch.allclose(flat, " in finding and finding.endswith(
        "a decision by the data?"
    )


@pytest.mark.slow
def test_a_model_that_neither_exporter_takes_is_refused_in_a_sentence_and_prints_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(
        StepError, match=r"does not export to ONNX. dynamo: clicks.py:\d+ .* \| torchscript: "
    ) as caught:
        export_module(*case("clicks.py", tmp_path), tmp_path / "model.onnx", {})
    assert "\n" not in str(caught.value) and "\x1b" not in str(caught.value)
    assert capfd.readouterr().out == "" and not (tmp_path / "model.onnx").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["antialias", "spatial", "cdist", "counter"])
def test_layers_that_exports_are_reported_for_answer_as_torch_does_row_by_row_and_together(
    name: str, tmp_path: Path
) -> None:
    module, workload, dataset = case(f"ops.py:{name}", tmp_path)
    exported = export_module(module, workload, dataset, tmp_path / "model.onnx", {})
    session, inputs = onnxruntime.InferenceSession(exported.path), read_split(dataset, "test").inputs
    for count in (1, 5, 1):
        rows = {key: array[:count] for key, array in inputs.items()}
        expected = next(iter(answers(module, rows).values())).numpy()
        assert expected.shape == (count, 2)
        np.testing.assert_allclose(session.run(["logits"], rows)[0], expected, rtol=1e-4, atol=1e-4)
    assert exported.findings == ()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("maxnorm", r"its model does not export to ONNX. dynamo: .* \| torchscript: its answers for .* differ from torch's"),
        ("nostats", r"its model fails on a row alone, as a server asks it \(image float32\[1, 1, 12, 12\]\): ValueError: "),
    ],
)  # fmt: skip
def test_layers_whose_answers_no_graph_gives_are_refused_in_a_sentence(
    name: str, why: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=f"^Workload {name}: {why}") as caught:
        export_module(*case(f"ops.py:{name}", tmp_path), tmp_path / "model.onnx", {})
    assert "\n" not in str(caught.value) and not (tmp_path / "model.onnx").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rope.py", "turns.py", "turns.py:nothing", "scored.py:other"])
def test_a_module_that_keeps_tensors_or_nests_its_outputs_exports_and_stays_as_it_was(
    name: str, tmp_path: Path
) -> None:
    module, workload, dataset = case(name, tmp_path)
    before = {key: tensor.tolist() for key, tensor in module.state_dict().items()}
    exported = export_module(module, workload, dataset, tmp_path / "model.onnx", {})
    assert before == {key: tensor.tolist() for key, tensor in module.state_dict().items()}
    assert "forward" not in vars(module) and all(getattr(m, "kept", None) is None for m in module.modules())
    assert exported.findings == ()  # rope.py is warned of too, and decides by a shape alone
    names = {
        "turns.py": ["logits", "output_1_0", "output_1_1"],
        "scored.py:other": ["logits", "id_out", "label"],
    }
    assert [output.name for output in exported.outputs] == names.get(name, ["logits"])


@pytest.mark.slow
@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
def test_the_same_weights_give_the_same_bytes_from_another_checkout(
    exporter: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line, its source and its path are what dynamo notes at each node."""
    monkeypatch.setattr("tasks.onnx.exporters.EXPORTERS", {exporter: EXPORTERS[exporter]})
    digests = []
    for place, comment in (("here", ""), ("there", "\n\n# Some lines further down.\n\n")):
        (tmp_path / place).mkdir()
        (tmp_path / place / "mine.py").write_text(comment + (SUPPORT / "cases" / "turns.py").read_text())
        reference = str(tmp_path / place / "mine.py") + ":nothing"
        workload, dataset = load_workload(reference), prepare(reference, Data(), tmp_path / place)
        path = tmp_path / place / "model.onnx"
        exported = export_module(
            build_module(workload, dataset), workload, dataset, path, {"slipway.data": "f"}
        )
        digests.append(exported.sha256)
        assert str(tmp_path).encode() not in path.read_bytes() and b"forward" not in path.read_bytes()
    assert len(set(digests)) == 1


class Spelled(nn.Module):
    """As many answers a row as it has words."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.each = Attentive(), nn.Embedding(20, 2)

    def forward(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.inner(tokens), self.each(tokens)


@pytest.mark.slow
@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
def test_an_output_says_which_of_its_axes_are_free(
    exporter: str, texts: tuple[Workload, Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.onnx.exporters.EXPORTERS", {exporter: EXPORTERS[exporter]})
    module = Spelled() if exporter == "dynamo" else SpelledPlainly()  # it is wrong for the inner part
    shape = export_module(module, *texts, tmp_path / "model.onnx", {}).outputs[1].shape
    assert shape[0] == "batch" and isinstance(shape[1], str) and shape[2] == 2


class SpelledPlainly(Spelled):
    def forward(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.each(tokens).mean(1).repeat(1, 2)[:, :3], self.each(tokens)


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
