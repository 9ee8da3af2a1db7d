"""The models that the compression benchmark is about, as workloads: a CNN, a transformer, a biLSTM and an MLP; and a small residual CNN.

Data: scikit-learn's digits drawn again at 28×28 with shifts, turns and noise; WordNet's noun glosses (Debian's wordnet-base);
700 blood cells by 765 genes (scanpy's pbmc68k_reduced).
"""

import os
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa
import torch
from torch import nn

from tasks.config import Data, Gates, Train
from tasks.workloads.examples.digits import PIXELS, load_frame
from tasks.workloads.workload import Workload

HOME = Path(os.environ.get("SLIPWAY_HOME") or ".slipway") / "bench"
VARIANTS = 14
WORDS, LENGTH, CLASSES = 8192, 24, 10
GLOSSES = 24_000

Arrays = dict[str, np.ndarray[Any, Any]]


def load_images() -> pd.DataFrame:
    """One row a drawing: its original's 64 pixels and number, in an order of chance, and which variant it is."""
    digits = load_frame()
    order = np.random.default_rng(0).permutation(len(digits))
    frame = (
        digits.assign(original=order).loc[np.repeat(np.arange(len(digits)), VARIANTS)].reset_index(drop=True)
    )
    return frame.assign(variant=np.tile(np.arange(VARIANTS), len(digits)))


def draw_images(frame: pd.DataFrame) -> Arrays:
    """{"image": float32[n, 1, 28, 28]}: each original turned, scaled, shifted and made noisy as its numbers say."""
    pixels = torch.from_numpy(frame[PIXELS].to_numpy("float32").reshape(-1, 1, 8, 8) / 16)
    seeds = frame["original"].to_numpy() * VARIANTS + frame["variant"].to_numpy()
    chance = np.stack([np.random.default_rng(seed).uniform(-1, 1, 4) for seed in seeds])
    angle, size = chance[:, 0] * 0.3, 1 + chance[:, 1] * 0.2
    turn = np.stack(
        [np.cos(angle) * size, -np.sin(angle) * size, np.sin(angle) * size, np.cos(angle) * size], 1
    )
    theta = np.concatenate([turn.reshape(-1, 2, 2), chance[:, 2:, None] * 0.3], axis=2).astype("float32")
    parts = []
    for start in range(0, len(pixels), 4096):
        here = slice(start, start + 4096)
        grid = nn.functional.affine_grid(
            torch.from_numpy(theta[here]), [len(theta[here]), 1, 28, 28], align_corners=False
        )
        drawn = nn.functional.grid_sample(pixels[here], grid, mode="bicubic", align_corners=False)
        noise = np.stack(
            [np.random.default_rng([seed, 1]).standard_normal((1, 28, 28)) for seed in seeds[here]]
        )
        parts.append((drawn.numpy() + 0.1 * noise).clip(0, 1).astype("float32"))
    return {"image": np.concatenate(parts)}


class ImageNet(nn.Module):
    """370 thousand parameters, most of them where the convolutions meet the linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(32, 64, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        )
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(64 * 49, 100), nn.ReLU(), nn.Linear(100, 10))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.features(image))
        return logits


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = normed(width, width), normed(width, width)[:2]

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return torch.relu(hidden + self.second(self.first(hidden)))


def normed(taken: int, given: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(taken, given, 3, stride, 1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(given), nn.ReLU())


class SmallNet(nn.Module):
    """47 thousand parameters: a stranger's residual network, in which no layer stands out."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        twice = 2 * width
        self.body = nn.Sequential(
            *(normed(1, width), Residual(width), normed(width, twice, 2)),
            *(Residual(twice), nn.MaxPool2d(2), Residual(twice)),
        )
        self.head = nn.Linear(twice, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.body(image).mean((2, 3)))
        return logits


def load_glosses() -> pd.DataFrame:
    """A definition and what kind of thing it defines: the ten largest of WordNet's classes of nouns."""
    lines = (HOME / "wordnet" / "data.noun").read_text().splitlines()
    rows = [
        (line.split("|")[1].split(";")[0].strip(), int(line.split()[1]))
        for line in lines
        if not line.startswith(" ")
    ]
    frame = pd.DataFrame(rows, columns=["gloss", "kind"])
    frame = frame[frame["kind"].isin(frame["kind"].value_counts().index[:CLASSES])]
    return frame.sample(GLOSSES, random_state=0).reset_index(drop=True)


def to_words(frame: pd.DataFrame) -> Arrays:
    """{"words": int64[n, 24]}: each word's number by a hash, 0 where a definition has ended."""
    rows = np.zeros((len(frame), LENGTH), "int64")
    for row, gloss in zip(rows, frame["gloss"], strict=True):
        numbers = [1 + zlib.crc32(word.encode()) % (WORDS - 1) for word in gloss.lower().split()[:LENGTH]]
        row[: len(numbers)] = numbers
    return {"words": rows}


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))
        self.mix = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        normed = self.before(hidden)
        q, k, v = (self._split(layer(normed)) for layer in (self.q, self.k, self.v))
        weights = (q @ k.transpose(2, 3) / q.shape[-1] ** 0.5).masked_fill(mask, float("-inf")).softmax(-1)
        hidden = hidden + self.out((weights @ v).transpose(1, 2).flatten(2))
        mixed: torch.Tensor = hidden + self.mix(self.between(hidden))
        return mixed

    def _split(self, values: torch.Tensor) -> torch.Tensor:
        return values.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class Transformer(nn.Module):
    """Two blocks of width 128 and four heads; 1.4 million parameters."""

    def __init__(self, width: int = 128, heads: int = 4, blocks: int = 2) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, width)
        self.position = nn.Parameter(torch.randn(LENGTH, width) * 0.02)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(blocks))
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        ended = words == 0
        hidden = self.dropout(self.embedding(words) + self.position[: words.shape[1]])
        for block in self.blocks:
            hidden = block(hidden, ended[:, None, None, :])
        pooled = hidden.masked_fill(ended.unsqueeze(-1), 0).sum(1) / (~ended).sum(1, keepdim=True)
        logits: torch.Tensor = self.head(pooled)
        return logits


class BiLstm(nn.Module):
    """An LSTM of width 128 in both directions over words of width 64; 0.7 million parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, 64)
        self.lstm = nn.LSTM(64, 128, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(256, CLASSES)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        hidden, _ = self.lstm(self.dropout(self.embedding(words)))
        logits: torch.Tensor = self.head(hidden.amax(1))
        return logits


def load_cells() -> pd.DataFrame:
    """One row a cell: what 765 genes express, scaled, and the cell's type."""
    stored = np.load(HOME / "genes.npz")
    frame = pd.DataFrame(
        stored["genes"].astype("float32"), columns=[f"gene_{i}" for i in range(stored["genes"].shape[1])]
    )
    return frame.assign(type=stored["type"])


def to_genes(frame: pd.DataFrame) -> Arrays:
    """{"genes": float32[n, 765]}"""
    return {"genes": frame.filter(like="gene_").to_numpy("float32")}


def build_mlp() -> nn.Module:
    class Mlp(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(
                *(
                    nn.Linear(765, 512),
                    nn.ReLU(),
                    nn.Dropout(0.3),
                    nn.Linear(512, 256),
                    nn.ReLU(),
                    nn.Dropout(0.3),
                ),
                nn.Linear(256, 10),
            )

        def forward(self, genes: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.layers(genes)
            return logits

    return Mlp()


def schema(target: str) -> pa.DataFrameSchema:
    return pa.DataFrameSchema({target: pa.Column()})


cnn = Workload(
    name="cnn",
    kind="classification",
    load=load_images,
    schema=schema("label"),
    target="label",
    inputs=draw_images,
    model=ImageNet,
    time="original",
    train=Train(epochs=5, lr=2e-3, batch_size=64, threads=1),
    gates=Gates(max_score_drop=0.005),
)
small = replace(cnn, name="small", model=SmallNet, train=cnn.train.model_copy(update={"epochs": 6}))
transformer = Workload(
    name="transformer",
    kind="classification",
    load=load_glosses,
    schema=schema("kind"),
    target="kind",
    inputs=to_words,
    model=Transformer,
    dynamic={"words": {1: "length"}},
    train=Train(epochs=5, lr=1e-3, batch_size=64, threads=1, patience=2),
    gates=Gates(max_score_drop=0.005),
)
large = replace(transformer, name="large", model=lambda: Transformer(width=384, heads=6, blocks=4))
bilstm = Workload(
    name="bilstm",
    kind="classification",
    load=load_glosses,
    schema=schema("kind"),
    target="kind",
    inputs=to_words,
    model=BiLstm,
    dynamic={"words": {1: "length"}},
    train=Train(epochs=4, lr=2e-3, batch_size=64, threads=1, patience=2),
    gates=Gates(max_score_drop=0.005),
)
mlp = Workload(
    name="mlp",
    kind="classification",
    load=load_cells,
    schema=schema("type"),
    target="type",
    inputs=to_genes,
    model=build_mlp,
    data=Data(validation=0.15, test=0.3),
    train=Train(epochs=40, lr=1e-3, batch_size=32, threads=1, patience=15),
    gates=Gates(max_score_drop=0.005),
)
