"""Workloads that compression is tried on: a padded sequence for a masked transformer, and modules with nothing to do."""

from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa
import torch
from torch import nn

from tasks.config import Gates, Train
from tasks.workloads.workload import Workload

ROWS, LENGTH, WORDS, CLASSES = 1500, 16, 24, 4


def load_sequences() -> pd.DataFrame:
    """Padded word numbers; the class is which of the first four words stands there most often."""
    draw = np.random.default_rng(0)
    lengths = draw.integers(6, LENGTH + 1, ROWS)
    label = draw.integers(0, CLASSES, ROWS)
    rows = np.zeros((ROWS, LENGTH), "int64")
    for row, length, word in zip(rows, lengths, label, strict=True):
        row[:length] = draw.integers(CLASSES + 1, WORDS, length)
        row[draw.choice(length, 3, replace=False)] = word + 1
        row[draw.choice(length, 1)] = draw.integers(1, CLASSES + 1)
    return pd.DataFrame(rows, columns=[f"word_{i}" for i in range(LENGTH)]).assign(label=label)


def to_words(frame: pd.DataFrame) -> dict[str, np.ndarray[Any, Any]]:
    return {"words": frame[[f"word_{i}" for i in range(LENGTH)]].to_numpy("int64")}


class Masked(nn.Module):
    """One attention layer whose padding is masked with −inf, as textbooks have it."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, width)
        self.qkv = nn.Linear(width, 3 * width)
        self.mix = nn.Sequential(nn.Linear(width, 64), nn.GELU(), nn.Linear(64, width))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        hidden = self.embedding(words)
        padding = words == 0
        q, k, v = self.qkv(hidden).chunk(3, dim=-1)
        scores = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5
        attention = scores.masked_fill(padding.unsqueeze(1), float("-inf")).softmax(-1)
        hidden = self.norm(hidden + attention @ v)
        hidden = hidden + self.mix(hidden)
        pooled = hidden.masked_fill(padding.unsqueeze(-1), 0).sum(1) / (~padding).sum(1, keepdim=True)
        logits: torch.Tensor = self.head(pooled)
        return logits


def masked() -> nn.Module:
    return Masked()


class Threshold(nn.Module):
    """No matrix anywhere: three numbers are all it has."""

    def __init__(self) -> None:
        super().__init__()
        self.levels = nn.Parameter(torch.tensor([0.0, 1.0, 2.0, 3.0]))

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        return words.float().mean(1, keepdim=True) - self.levels


schema = pa.DataFrameSchema({"label": pa.Column("int64")})
common = {
    "kind": "classification",
    "load": load_sequences,
    "schema": schema,
    "target": "label",
    "inputs": to_words,
}
train = Train(epochs=8, lr=5e-3, batch_size=64, threads=1)
transformer = Workload(
    name="masked",
    model=masked,
    students={"small": lambda: Masked(8)},
    dynamic={"words": {1: "length"}},
    train=train,
    gates=Gates(max_score_drop=0.02),
    **common,
)
bare = Workload(name="bare", model=Threshold, train=Train(epochs=1, threads=1), **common)
