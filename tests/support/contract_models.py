"""Shapes of model that the shipped workloads are not; each is a workload of its own, named as file:attribute."""

from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa
import torch
from torch import Tensor, nn

from tasks.config import Train
from tasks.workloads.workload import Workload

ROWS, LENGTH, WORDS, CLASSES = 240, 5, 16, 3
Arrays = dict[str, np.ndarray[Any, Any]]


def load() -> pd.DataFrame:
    """Numbers, words and flags; the class follows from the first number and the first word."""
    draw = np.random.default_rng(0)
    numbers = draw.normal(size=(ROWS, 4))
    words = draw.integers(1, WORDS, (ROWS, LENGTH))
    frame = pd.DataFrame(numbers, columns=[f"number_{i}" for i in range(4)])
    frame = frame.join(pd.DataFrame(words, columns=[f"word_{i}" for i in range(LENGTH)]))
    frame["flag"] = draw.random(ROWS) > 0.5
    frame["value"] = numbers[:, 0] * 2 + words[:, 0] / WORDS
    frame["label"] = np.digitize(frame["value"], [-0.5, 1.5])
    return frame


def words(frame: pd.DataFrame) -> Arrays:
    return {"words": frame[[f"word_{i}" for i in range(LENGTH)]].to_numpy("int64")}


def numbers(frame: pd.DataFrame) -> Arrays:
    return {"numbers": frame[[f"number_{i}" for i in range(4)]].to_numpy("float32")}


def mixed(frame: pd.DataFrame) -> Arrays:
    """float32[n, 4], int32[n, 5], bool[n], float64[n, 1], uint8[n, 2]."""
    small = {"flag": frame["flag"].to_numpy("bool"), "exact": frame[["number_0"]].to_numpy("float64")}
    octets = frame[["word_0", "word_1"]].to_numpy("uint8")
    return {**numbers(frame), "words": words(frame)["words"].astype("int32"), **small, "octets": octets}


class Mixed(nn.Module):
    """Several inputs of different dtypes."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, 4)
        self.head = nn.Linear(4 + 4 + 1 + 1 + 2, CLASSES)

    def forward(self, numbers: Tensor, words: Tensor, flag: Tensor, exact: Tensor, octets: Tensor) -> Tensor:
        parts = [numbers, self.embed(words).mean(1), flag.float().unsqueeze(1), exact.float(), octets / 255.0]
        logits: Tensor = self.head(torch.cat(parts, dim=1))
        return logits


class Value(nn.Module):
    """Regression, [n], with batch normalisation and dropout: neither may act on a request."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 1)
        )

    def forward(self, numbers: Tensor) -> Tensor:
        values: Tensor = self.layers(numbers)[:, 0]
        return values


class Recurrent(nn.Module):
    """A GRU over as many words as come; and two outputs by place."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, 6)
        self.cell = nn.GRU(6, 8, batch_first=True)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, words: Tensor) -> tuple[Tensor, Tensor]:
        states, last = self.cell(self.embed(words))
        return self.head(states.mean(1)), last[0]


class Tied(nn.Module):
    """One matrix reads the words and scores them: two names for one tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, 8)
        self.score = nn.Linear(8, WORDS, bias=False)
        self.score.weight = self.embed.weight
        self.head = nn.Linear(WORDS, CLASSES)

    def forward(self, words: Tensor) -> Tensor:
        logits: Tensor = self.head(self.score(self.embed(words).mean(1)).tanh())
        return logits


class Centred(nn.Module):
    """Buffers that matter: one from the training inputs, one that training moves, one that is not saved."""

    mean: Tensor
    seen: Tensor
    signs: Tensor

    def __init__(self, inputs: Arrays) -> None:
        super().__init__()
        values = torch.tensor(inputs["numbers"])
        self.register_buffer("mean", values.mean(0))
        self.register_buffer("seen", torch.zeros(4))
        self.register_buffer("signs", values.mean(0).sign(), persistent=False)
        self.head = nn.Linear(4, CLASSES)

    def forward(self, numbers: Tensor) -> Tensor:
        if self.training:
            self.seen = 0.9 * self.seen + 0.1 * numbers.detach().mean(0)
        logits: Tensor = self.head((numbers - self.mean) * self.signs + self.seen)
        return logits


class Frozen(nn.Module):
    """A part that is not to be trained, batch normalisation inside; and two outputs by name."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU()).requires_grad_(False)
        self.head = nn.Linear(8, CLASSES)

    def train(self, mode: bool = True) -> "Frozen":
        super().train(mode)
        self.body.eval()
        return self

    def forward(self, numbers: Tensor) -> dict[str, Tensor]:
        hidden = self.body(numbers)
        return {"logits": self.head(hidden), "embedding": hidden}


def words_and_mask(frame: pd.DataFrame) -> Arrays:
    ids = words(frame)["words"]
    return {"input_ids": ids, "attention_mask": (ids > 2).astype("int64")}


def bert() -> nn.Module:
    """A Hugging Face model from its configuration: nothing is downloaded, its forward returns an object of its own."""
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=WORDS,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=LENGTH + 2,
        num_labels=CLASSES,
    )
    return BertForSequenceClassification(config)


_numbers = ("number_0", "number_1", "number_2", "number_3")
schema = pa.DataFrameSchema({name: pa.Column("float64") for name in _numbers} | {"label": pa.Column("int64")})
_common: dict[str, Any] = {
    "kind": "classification",
    "load": load,
    "schema": schema,
    "target": "label",
    "train": Train(epochs=1, batch_size=16, threads=1),
    "recipes": (),
}
_length = {"words": {1: "length"}}
several_inputs = Workload(name="several-inputs", inputs=mixed, model=Mixed, **_common)
regression_with_batch_norm_and_dropout = Workload(
    name="value", inputs=numbers, model=Value, **{**_common, "kind": "regression", "target": "value"}
)
recurrent_with_two_outputs = Workload(
    name="recurrent", inputs=words, model=Recurrent, dynamic=_length, **_common
)
tied_weights = Workload(name="tied", inputs=words, model=Tied, dynamic=_length, **_common)
buffers_that_matter = Workload(name="centred", inputs=numbers, model=Centred, **_common)
a_frozen_part_and_two_outputs = Workload(name="frozen", inputs=numbers, model=Frozen, **_common)
hugging_face = Workload(
    name="bert",
    inputs=words_and_mask,
    model=bert,
    dynamic={"input_ids": {1: "length"}, "attention_mask": {1: "length"}},
    **_common,
)
