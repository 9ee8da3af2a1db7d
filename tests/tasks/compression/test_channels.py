"""Structured pruning follows layers whose weights are not one matrix: recurrent ones and attention."""

import warnings
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime as ort
import pytest
import torch
from checkout import SUPPORT
from torch import nn

from tasks.compression.channels import remove_channels
from tasks.compression.masks import bake_masks, mask_smallest
from tasks.compression.method import NotApplicable
from tasks.compression.pruning import count
from tasks.training.optimizer import make_optimizer
from tasks.workloads.catalogue import load_workload

WORDS = {"words": torch.arange(32).reshape(2, 16) % 30}


class Reader(nn.Module):
    """Word numbers to four classes, with something between that reads the sequence."""

    def __init__(self, between: nn.Module, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(30, 32)
        self.before = nn.Linear(32, 32)
        self.between = between
        self.after = nn.Linear(width, 48)
        self.head = nn.Linear(48, 4)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        read = self.between(torch.relu(self.before(self.embedding(words))))
        pooled = (read[0] if isinstance(read, tuple) else read).mean(1)
        return cast(torch.Tensor, self.head(torch.relu(self.after(pooled))))


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(32, 4, batch_first=True)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, hidden + self.attention(hidden, hidden, hidden, need_weights=False)[0])


RECURRENT: dict[str, tuple[Any, int]] = {
    "lstm": (lambda: nn.LSTM(32, 64, batch_first=True), 64),
    "two layers, both directions": (
        lambda: nn.LSTM(32, 64, num_layers=2, bidirectional=True, batch_first=True),
        128,
    ),
}
ATTENTIVE: dict[str, tuple[Any, int]] = {
    "attention": (Attention, 32),
    "encoder layer": (lambda: nn.TransformerEncoderLayer(32, 4, 64, batch_first=True), 32),
}


def pruned(module: nn.Module) -> nn.Module:
    for _ in remove_channels(module, WORDS, 0.5, 1, 4):
        module.train()
        module(**WORDS).sum().backward()
    return module.eval()


@pytest.mark.parametrize("name", [*RECURRENT, *ATTENTIVE])
def test_what_is_left_trains_and_exports_to_the_same_answers(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    make, width = (RECURRENT | ATTENTIVE)[name]
    module = Reader(make(), width)
    before = count(module)
    pruned(module)
    assert count(module) < before
    assert module.after.out_features == 24 and module.head.in_features == 24
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that exporter is to go one day
        torch.onnx.export(
            module, (WORDS["words"],), tmp_path / "m.onnx", dynamo=False, input_names=["words"], opset_version=17,
            dynamic_axes={"words": {0: "n"}},
        )  # fmt: skip
    rows = torch.arange(80).reshape(5, 16) % 30
    with torch.inference_mode():
        expected = module(rows).numpy()
    session = ort.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"words": rows.numpy()})[0], expected, atol=1e-5)


@pytest.mark.parametrize("name", RECURRENT)
def test_a_recurrent_layer_keeps_its_width(name: str) -> None:
    make, width = RECURRENT[name]
    module = pruned(Reader(make(), width))
    layer = cast(nn.LSTM, module.between)
    assert layer.hidden_size == 64 and layer.weight_hh_l0.shape[1] == 64


def test_attention_keeps_a_width_that_its_heads_share() -> None:
    module = pruned(Reader(Attention(), 32))
    layer = cast(Attention, module.between).attention
    assert layer.num_heads == 4 and layer.embed_dim % 4 == 0


def test_what_the_pruner_cannot_follow_is_refused_in_a_sentence() -> None:
    with pytest.raises(NotApplicable, match="structured pruning cannot follow this module"):
        pruned(Reader(nn.GRU(32, 64, batch_first=True), 64))


def test_a_model_of_nothing_but_a_recurrent_layer_is_refused_in_a_sentence() -> None:
    class Only(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(30, 32)
            self.read = nn.LSTM(32, 4, batch_first=True)

        def forward(self, words: torch.Tensor) -> torch.Tensor:
            return cast(torch.Tensor, self.read(self.embedding(words))[0].mean(1))

    with pytest.raises(NotApplicable, match="no layer has channels that could go"):
        pruned(Only())


class Several(nn.Module):
    """Logits, a state that is nested, the class, and nothing for what was not asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Reader(Attention(), 32)

    def forward(self, words: torch.Tensor) -> Any:
        logits = self.inner(words)
        hidden = self.inner.embedding(words)[:, 0]
        return {"logits": logits, "state": (hidden, None), "label": logits.argmax(1)}


def test_a_module_with_several_outputs_is_pruned_and_keeps_the_shape_of_each() -> None:
    module = Several()
    before = count(module)
    for _ in remove_channels(module, WORDS, 0.5, 1, 4):
        pass
    outputs = module(**WORDS)
    assert count(module) < before
    assert outputs["logits"].shape == (2, 4) and outputs["state"][0].shape == (2, 32)


def transferred() -> tuple[nn.Module, dict[str, torch.Tensor]]:
    """A frozen body and a head that learns, with a batch of inputs."""
    workload = load_workload(str(SUPPORT / "cases" / "shapes.py"))
    torch.manual_seed(0)
    rows = workload.inputs(workload.load().head(16))  # type: ignore[operator]
    return workload.builder(None)(), {name: torch.from_numpy(array) for name, array in rows.items()}


def trained_a_step(module: nn.Module, example: dict[str, torch.Tensor]) -> None:
    train = load_workload("digits").train
    optimizer = make_optimizer(module.train(), train)
    module(**example).square().sum().backward()
    optimizer.step()
    optimizer.zero_grad()


@pytest.mark.slow
def test_frozen_layers_stay_frozen_to_the_bit_where_their_channels_are_kept() -> None:
    module, example = transferred()
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    frozen = {name for name, p in module.named_parameters() if not p.requires_grad}
    assert frozen and len(frozen) < len(before)
    for _ in remove_channels(module, example, 0.5, 2, 4):
        trained_a_step(module, example)
    after = dict(module.named_parameters())
    assert {name for name, p in after.items() if not p.requires_grad} == frozen
    assert all(set(after[name].flatten().tolist()) <= set(before[name].flatten().tolist()) for name in frozen)
    assert after["body.0.weight"].shape[0] < 16
    learned = next(name for name in after if name not in frozen)
    assert not set(after[learned].flatten().tolist()) <= set(before[learned].flatten().tolist())


@pytest.mark.slow
def test_masks_leave_frozen_layers_as_they_are() -> None:
    module, example = transferred()
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    assert mask_smallest(module, 0.5)
    trained_a_step(module, example)
    assert bake_masks(module) > 0
    for name, parameter in module.named_parameters():
        assert parameter.requires_grad != name.startswith("body.")
        assert torch.equal(parameter, before[name]) == name.startswith("body.")
